"""Missing targets: NaN in y, left out of loss and gradient with ``missing_targets="ignore"``."""

import numpy as np
from sklearn.utils import check_array

from .arrays import as_numbers

MISSING_TARGETS = "raise", "ignore"

MISSING_TARGETS_TEXT = """\
missing_targets : {'raise', 'ignore'}, default='raise'
    Whether NaN in y raises an error, or is left out of loss, gradient and scores."""


def split_missing(y):
    """(y with 0 in place of missing targets, a mask of the missing ones)"""
    y = check_array(
        as_numbers(y, "y"), dtype="numeric", ensure_2d=False, ensure_all_finite="allow-nan", input_name="y"
    )  # fmt: skip
    missing = np.isnan(y)
    return np.where(missing, 0, y) if missing.any() else y, missing


def with_missing(y, missing):
    """The inverse of ``split_missing``, for a mask of the size of y."""
    return np.where(missing.reshape(y.shape), np.nan, y) if missing.any() else y


def without_missing(y, weight, always=False):
    """Give missing targets the weight 0 and the value 0.

    Parameters
    ----------
    y : ndarray of shape (n_samples, n_outputs)
    weight : ndarray of shape (n_samples,) or (n_samples, n_outputs), or None
    always : bool, default=False
        Whether to make weights of single targets if none is missing too, for data that come in parts.

    Returns
    -------
    (y, weight)
    """
    missing = np.isnan(y)
    if not (always or missing.any()):
        return y, weight
    weight = np.ones(len(y), y.dtype) if weight is None else weight
    weight = np.where(missing, 0, weight if weight.ndim == 2 else weight[:, None]).astype(weight.dtype, copy=False)
    return np.where(missing, 0, y).astype(y.dtype, copy=False), weight.ravel() if y.shape[1] == 1 else weight


def check_every_output(y):
    """Raise ValueError if the targets of a column of y are all missing."""
    empty = np.flatnonzero(np.isnan(y).all(axis=0))
    if len(empty):
        raise ValueError(
            f"y has no values in {'any column' if len(empty) == y.shape[1] else f'column {empty[0]}'}, so there is "
            "nothing to train this output on: drop the column."
        )
