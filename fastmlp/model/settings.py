"""Settings by which the processes that train a model together find out whether they agree."""

import numpy as np

from .activations import name_of

POINTS = (-2.0, 0.75), (-0.5, 0.25), (0.5, 1.0), (1.5, 0.0)  # arguments of custom functions


def network_settings(network):
    """What must be the same in all processes that train a Network, by its name in error messages."""
    names = "sizes", "skips", "matmul_precision", "inputs"
    values = [_values(row, 1) for row in network.activations if not isinstance(row, str)]
    values += [_values(network.loss, 2)] if not isinstance(network.loss, str) else []
    return {name: getattr(network, name) for name in names} | {
        "activations": list(map(name_of, network.activations)), "loss": name_of(network.loss),
        "loss options": network.loss_options, "values of custom functions": values,
    }  # fmt: skip


def columns_and_classes(model):
    """The columns and classes that a model has learned, by their names in error messages."""
    return {
        "columns": list(getattr(model, "feature_names_in_", ())),
        "classes": np.asarray(getattr(model, "classes_", ())).tolist(),
    }


def _values(row, n_arguments):
    """What the functions of a custom Activation or Loss return, which depends on variables that they have captured."""
    return [_value(function, point[:n_arguments]) for function in row[:2] for point in POINTS]


def _value(function, arguments):
    try:
        return f"{function(*arguments):.6g}"  # the last digits depend on the machine
    except Exception:
        return "an error"  # where compiled code has NaN
