"""Convert the X, y and weights that a user passes to an MLP to Samples in the model's dtype."""

from contextlib import contextmanager

import numpy as np
from scipy.sparse import issparse
from sklearn.utils import check_array

from fastmlp.backends.device_arrays import check_device_rows, is_on_gpu
from fastmlp.kernels.spec import loss_row
from fastmlp.training.class_weight import weigh_classes
from fastmlp.training.problem import Samples
from fastmlp.validation.arrays import as_numbers, frame_values, plain_rows
from fastmlp.validation.checks import check_sum_of_weights, check_targets, check_weights
from fastmlp.validation.missing import NO_CLASS_WEIGHT, check_present, split_missing, with_missing, without_missing
from fastmlp.validation.sklearn_compat import check_feature_names

from .activations import name_of
from .array_checks import SPARSE_WITH_INPUTS


def checked_inputs(model, X):
    """X in the model's dtype, C-contiguous or CSR, or on the GPU if the backend reads it there.

    Raises
    ------
    ValueError
        For values that are not finite numbers, and for the wrong columns.
    """
    model.check_feature_names(X)
    X = frame_values(X)  # which is then checked as a whole, not column by column
    if model._is_staged() and issparse(X):
        raise ValueError(SPARSE_WITH_INPUTS)
    if is_on_gpu(X) and model._backend.kernels.DEVICE:
        X = check_device_rows(X, model.dtype)
    elif (plain := plain_rows(X, model.dtype)) is not None:
        X = plain
    else:
        X = as_numbers(X, "X")
        with np.errstate(over="ignore"):  # check_array rejects values that overflow to infinity
            X = check_array(X, accept_sparse="csr", dtype=model.dtype, order="C", input_name="X")
    if model._state is not None and X.shape[1] != model.network.n_columns:
        raise ValueError(f"X has {X.shape[1]} columns, but the network has {model.network.n_columns} inputs.")
    return X


def checked_samples(model, X, y, sample_weight, class_weight=None, in_parts=False, for_fit=False):
    """Validated Samples in the model's dtype, whose missing targets are 0 with the weight 0.

    ``in_parts``: whether they are a part of the training data; ``for_fit``: whether each output needs a target.
    """
    X, missing = checked_inputs(model, X), None
    if model.missing_targets == "ignore":
        y, missing = split_missing(y)
    y = check_targets(y, model.loss, model.layers[-1].units, X, model.dtype, model._loss_options)
    if missing is not None:
        y = with_missing(y, missing)
        if not in_parts:
            check_present(y, for_fit)
    sample_weight = check_weights(sample_weight, X, y, model.loss, model.dtype, in_parts)
    if class_weight is not None:
        sample_weight = _class_weighted(model, y, sample_weight, class_weight, in_parts)
    if missing is not None:
        y, sample_weight = without_missing(y, sample_weight, always=in_parts)
    if sample_weight is not None:
        check_sum_of_weights(sample_weight, in_parts)
    return Samples(X, y, sample_weight)


def _class_weighted(model, y, sample_weight, class_weight, in_parts):
    """Sample weights times class weights."""
    if model.missing_targets == "ignore":
        raise ValueError(NO_CLASS_WEIGHT)
    if not model._is_classifier():
        raise ValueError(f"class_weight requires a classification loss, got {name_of(model.loss)!r}.")
    link, n_outputs = loss_row(model.loss).link, model.layers[-1].units
    one_label = link == "softmax" or n_outputs == 1
    hits = y if link == "softmax" else y > 0.5
    sample_weight = weigh_classes(class_weight, np.arange(max(n_outputs, 2)), hits, one_label, sample_weight, in_parts)
    with np.errstate(over="ignore"):  # checked_samples rejects infinite weights
        return sample_weight.astype(model.dtype)


@contextmanager
def names_from(model, X):
    """Set ``feature_names_in_`` from X unless the model has been trained; it is removed after an error."""
    fresh = not (model._is_trained() or hasattr(model, "feature_names_in_"))
    if fresh:
        check_feature_names(model, X, reset=True)
    try:
        yield
    except BaseException:
        if fresh:
            vars(model).pop("feature_names_in_", None)
        raise
