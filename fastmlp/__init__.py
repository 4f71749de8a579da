"""Train and run multilayer perceptrons fast, from Python.

``MLPClassifier`` and ``MLPRegressor`` replace scikit-learn's; ``MLP`` is a small model API; ``load`` reads what any
of them has saved. Names are imported when first used, so that ``import fastmlp`` costs next to nothing.
"""

from importlib import import_module
from importlib.util import find_spec

__version__ = "0.1.0"

if find_spec("fastmlp.kernels") is None:
    raise ImportError(
        "this is fastmlp's source folder, not an installed fastmlp: start Python in another folder, or install this "
        "one for development with 'pip install -e .'"
    )

_HOME = {
    "MLPClassifier": "classifier",
    "MLPRegressor": "regressor",
    "MLPEnsembleClassifier": "ensemble",
    "MLPEnsembleRegressor": "ensemble",
    "MLP": "model",
    "Layer": "layered_network",
    "make_optimizer": "choices",
    "make_loss": "choices",
    "make_schedule": "choices",
    "check_gradients": "inspection",
    "dead_units": "inspection",
    "input_gradient": "input_gradients",
    "jacobian": "input_gradients",
    "Perceptron": "classics",
    "Adaline": "classics",
    "linear_regression": "classics",
    "logistic_regression": "classics",
    "softmax_regression": "classics",
    "load": "saving",
    "Callback": "callbacks",
    "Checkpoint": "callbacks",
    "Progress": "callbacks",
    "training_report": "report",
    "to_onnx": "export_onnx",
    "to_c": "export_c",
    "to_numpy_source": "export_numpy",
    "from_sklearn": "convert_sklearn",
    "to_sklearn": "convert_sklearn",
    "from_torch": "convert_torch",
    "to_torch": "convert_torch",
}

__all__ = list(_HOME)


def __getattr__(name):
    if name not in _HOME:
        raise AttributeError(f"module 'fastmlp' has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)


def __dir__():
    return [*globals(), *__all__]
