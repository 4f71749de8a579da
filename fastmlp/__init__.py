"""Train and run multilayer perceptrons fast, from Python.

``MLPClassifier`` and ``MLPRegressor`` are drop-in replacements for scikit-learn's; ``MLP`` is a small model API;
``load`` reads saved models. Submodules are imported on first use, so that ``import fastmlp`` is fast.
"""

from importlib import import_module
from importlib.util import find_spec

__version__ = "0.1.0"

if find_spec("fastmlp.kernels") is None:
    raise ImportError(
        "fastmlp was imported from its source folder, but is not installed there: start Python in another folder, or "
        "install it for development with 'pip install -e .'"
    )

_HOME = {
    "MLPClassifier": "estimators.classifier",
    "MLPRegressor": "estimators.regressor",
    "MLPEnsembleClassifier": "estimators.ensemble",
    "MLPEnsembleRegressor": "estimators.ensemble",
    "MLP": "model.mlp",
    "Layer": "model.layer",
    "make_optimizer": "model.optimizers",
    "make_loss": "model.losses",
    "make_schedule": "training.schedules",
    "check_gradients": "inspection.gradients",
    "dead_units": "inspection.gradients",
    "input_gradient": "inspection.input_gradients",
    "jacobian": "inspection.input_gradients",
    "Perceptron": "estimators.linear",
    "Adaline": "estimators.linear",
    "linear_regression": "estimators.linear",
    "logistic_regression": "estimators.linear",
    "softmax_regression": "estimators.linear",
    "load": "io.model_files",
    "Callback": "training.callbacks",
    "Checkpoint": "training.callbacks",
    "Progress": "training.callbacks",
    "training_report": "inspection.report",
    "to_onnx": "export.onnx",
    "to_c": "export.c",
    "to_numpy_source": "export.numpy",
    "from_sklearn": "export.sklearn",
    "to_sklearn": "export.sklearn",
    "from_torch": "export.torch",
    "to_torch": "export.torch",
}

__all__ = list(_HOME)


def __getattr__(name):
    if name not in _HOME:
        raise AttributeError(f"module 'fastmlp' has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)


def __dir__():
    return [*globals(), *__all__]
