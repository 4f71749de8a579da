"""The state of an MLP in model files, and what a model needs after pickling."""

from typing import Any

import numpy as np

from fastmlp.backends import registry
from fastmlp.kernels.spec import Penalty, aligned_copy
from fastmlp.training.squared_errors import Evidence
from fastmlp.training.state import TrainingState
from fastmlp.validation.checks import check_integer, check_real
from fastmlp.validation.entries import check_entries

from .precision import HIGHEST

ENTRIES: dict[str, Any] = {  # those that the constructor does not check
    "backend": str,
    "penalty": tuple[float, float, float],
    "history": dict[str, list[float | tuple[float, ...]]],
    "feature_names_in_": np.ndarray | None,
    "training": dict | None,
}


def state_of(model):
    """The state of a model as stored in a model file, a dict."""
    return {
        "layers": model.layers,
        "loss": (model.loss, model._loss_options),
        "optimizer": model.optimizer,
        "alpha": model.alpha,
        "evidence": tuple(model._evidence),
        "penalty": model._penalty[:3],  # without alpha
        "input_dropout": model.input_dropout,
        "input_noise": model.input_noise,
        "inputs": model.inputs,
        "input_scale": model.input_scale,
        "init": model.init,
        "dtype": str(model.dtype),
        "matmul_precision": model.matmul_precision,
        "backend": model._requested_backend,
        "n_jobs": model.n_jobs,
        "random_state": model._random_state,
        "missing_targets": model.missing_targets,
        "history": model.history,
        "best_epoch": model.best_epoch,
        "feature_names_in_": getattr(model, "feature_names_in_", None),
        "n_inputs": None if model._state is None else model._network.n_columns,
        "training": None if model._state is None else model._state.to_dict(),
    }


def model_of(cls, saved):
    """A model of class ``cls`` from the result of ``state_of``."""
    check_entries(saved, ENTRIES)
    if (saved["n_inputs"] is None) != (saved["training"] is None):
        raise ValueError("a network needs both a number of inputs and weights, or neither")
    same = ("alpha", "input_dropout", "input_noise", "init", "n_jobs", "random_state")
    backend = saved["backend"] if registry.works(saved["backend"]) else "auto"
    dtype, precision = saved["dtype"], saved.get("matmul_precision", HIGHEST)  # missing in files of earlier versions
    if dtype == "bfloat16":  # in files of earlier versions
        dtype, precision = "float32", "medium"
    model = cls(
        saved["layers"], saved["loss"], saved["optimizer"], backend=backend, dtype=dtype, matmul_precision=precision,
        # The next are missing in files of earlier versions.
        missing_targets=saved.get("missing_targets", "raise"), inputs=saved.get("inputs"),
        input_scale=saved.get("input_scale"),
        **dict(zip(Penalty._fields, saved["penalty"])), **{name: saved[name] for name in same},
    )  # fmt: skip
    if saved["n_inputs"] is not None:
        model._network = model._network_for(saved["n_inputs"])
        model._state = TrainingState.from_dict(saved["training"], model._network, model.dtype)
    names = saved.get("feature_names_in_")  # missing in files of earlier versions
    if names is not None:
        model.feature_names_in_ = check_saved_names(names, saved["n_inputs"])
    model.history = {"loss": []} | {
        name: [check_history(value) for value in curve] for name, curve in saved["history"].items()
    }
    model._evidence = check_evidence(saved.get("evidence", ()))  # missing in files of earlier versions
    if saved.get("best_epoch") is not None:
        model.best_epoch = check_integer("best_epoch", saved["best_epoch"], 1)
    return model


def reconnect(model):
    """Find the backend of an unpickled model, or another one if it does not work here, and align the parameters."""
    works = registry.works(model._requested_backend)
    model._backend, model._used_kernels = registry.choose(model._requested_backend if works else "auto"), ""
    if model._state is not None:
        model._state.parameters = aligned_copy(model._state.parameters)


def check_history(value):
    """Convert a value of ``history``, a number or one number per layer, to float."""
    return tuple(map(float, value)) if isinstance(value, tuple) else float(value)


def check_evidence(saved):
    """Return an Evidence read from a file. Raises ValueError unless it has two numbers, of which one may be None."""
    found = Evidence(*saved)
    check_real("alpha", found.alpha, 0)
    if found.effective_parameters is not None:
        check_real("effective_parameters", found.effective_parameters, 0)
    return found


def check_saved_names(names, n_inputs):
    """Return feature names read from a file. Raises ValueError unless they are strings, one per input."""
    if names.shape != (n_inputs,) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"feature names are {names!r} for {n_inputs} inputs")
    return names
