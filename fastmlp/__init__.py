"""Train and run multilayer perceptrons fast, from Python.

``MLPClassifier`` and ``MLPRegressor`` are drop-in replacements for scikit-learn's; ``MLP`` is a small model API;
``load`` reads saved models. Submodules are imported on first use, so that ``import fastmlp`` is fast.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from .interpreter import check_interpreter as _check_interpreter

if TYPE_CHECKING:  # for type checkers and editors: at run time names are imported on first use
    from .distributed.data_parallel import DataParallel as DataParallel
    from .estimators.classifier import MLPClassifier as MLPClassifier
    from .estimators.ensemble import MLPEnsembleClassifier as MLPEnsembleClassifier
    from .estimators.ensemble import MLPEnsembleRegressor as MLPEnsembleRegressor
    from .estimators.linear import Adaline as Adaline
    from .estimators.linear import Perceptron as Perceptron
    from .estimators.linear import linear_regression as linear_regression
    from .estimators.linear import logistic_regression as logistic_regression
    from .estimators.linear import softmax_regression as softmax_regression
    from .estimators.many import cross_val_fit as cross_val_fit
    from .estimators.many import fit_many as fit_many
    from .estimators.regressor import MLPRegressor as MLPRegressor
    from .estimators.tabular.classifier import TabularMLPClassifier as TabularMLPClassifier
    from .estimators.tabular.regressor import TabularMLPRegressor as TabularMLPRegressor
    from .export.c import to_c as to_c
    from .export.numpy import to_numpy_source as to_numpy_source
    from .export.onnx import to_onnx as to_onnx
    from .export.skl2onnx_converters import register_skl2onnx_converters as register_skl2onnx_converters
    from .export.sklearn import from_sklearn as from_sklearn
    from .export.sklearn import to_sklearn as to_sklearn
    from .export.torch import from_torch as from_torch
    from .export.torch import to_torch as to_torch
    from .inspection.gradients import check_gradients as check_gradients
    from .inspection.gradients import dead_units as dead_units
    from .inspection.input_gradients import input_gradient as input_gradient
    from .inspection.input_gradients import jacobian as jacobian
    from .inspection.report import training_report as training_report
    from .io.model_files import load as load
    from .model.inputs import Embedding as Embedding
    from .model.inputs import OneHot as OneHot
    from .model.inputs import Periodic as Periodic
    from .model.inputs import PiecewiseLinear as PiecewiseLinear
    from .model.inputs import Plain as Plain
    from .model.layer import Layer as Layer
    from .model.losses import make_loss as make_loss
    from .model.mlp import MLP as MLP
    from .model.optimizers import make_optimizer as make_optimizer
    from .sources.read_blocks import read_blocks as read_blocks
    from .training.callbacks import Callback as Callback
    from .training.callbacks import Checkpoint as Checkpoint
    from .training.callbacks import Progress as Progress
    from .training.schedules import make_schedule as make_schedule

__version__ = "0.1.0"

_check_interpreter()
if find_spec("fastmlp.kernels") is None:
    raise ImportError(
        "fastmlp was imported from its source folder, but is not installed there: start Python in another folder, or "
        "install it for development with 'pip install -e .'"
    )

from .kernels.machine import why_not_this_machine as _why_not_this_machine  # noqa: E402 (there may be no kernels before the check)

if (_reason := _why_not_this_machine()) is not None:
    raise ImportError(_reason)

_HOME = {
    "MLPClassifier": "estimators.classifier",
    "MLPRegressor": "estimators.regressor",
    "TabularMLPClassifier": "estimators.tabular.classifier",
    "TabularMLPRegressor": "estimators.tabular.regressor",
    "MLPEnsembleClassifier": "estimators.ensemble",
    "MLPEnsembleRegressor": "estimators.ensemble",
    "fit_many": "estimators.many",
    "cross_val_fit": "estimators.many",
    "MLP": "model.mlp",
    "Layer": "model.layer",
    "Plain": "model.inputs",
    "OneHot": "model.inputs",
    "Embedding": "model.inputs",
    "Periodic": "model.inputs",
    "PiecewiseLinear": "model.inputs",
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
    "DataParallel": "distributed.data_parallel",
    "load": "io.model_files",
    "read_blocks": "sources.read_blocks",
    "Callback": "training.callbacks",
    "Checkpoint": "training.callbacks",
    "Progress": "training.callbacks",
    "training_report": "inspection.report",
    "to_onnx": "export.onnx",
    "to_c": "export.c",
    "register_skl2onnx_converters": "export.skl2onnx_converters",
    "to_numpy_source": "export.numpy",
    "from_sklearn": "export.sklearn",
    "to_sklearn": "export.sklearn",
    "from_torch": "export.torch",
    "to_torch": "export.torch",
}

__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'fastmlp' has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
