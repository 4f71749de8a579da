"""Missing targets: NaN in y, left out of loss and gradient with ``missing_targets="ignore"``."""

import numpy as np
from sklearn.utils import check_array

from fastmlp.kernels.spec import loss_row

from .arrays import as_numbers
from .checks import known

ON_MISSING = "raise", "ignore"  # values of ``missing_targets``

NO_CLASS_WEIGHT = (
    "class_weight cannot be combined with missing_targets='ignore': pass a sample_weight of the shape of y instead."
)


def check_missing_targets(given, loss):
    """Return the option if it is valid; 'ignore' is not for a softmax, of which all outputs have one loss."""
    known("missing_targets", given, ON_MISSING)
    if given == "ignore" and loss_row(loss).link == "softmax":
        raise ValueError(
            f"missing_targets='ignore' leaves out single outputs, which the loss {loss!r} cannot: drop the samples "
            "without a label."
        )
    return given


def split_missing(y):
    """(y with 0 in place of missing targets, a mask of the missing ones). What a masked array masks is missing."""
    y = check_array(
        as_numbers(y, "y"), dtype="numeric", ensure_2d=False, ensure_all_finite="allow-nan", input_name="y"
    )  # fmt: skip
    missing = np.isnan(y)
    return np.where(missing, 0, y) if missing.any() else y, missing


def with_missing(y, missing):
    """y of shape (n_samples, n_outputs) with NaN where targets are missing."""
    return np.where(missing.reshape(len(y), -1), np.nan, y) if missing.any() else y


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
        C-contiguous.
    """
    missing = np.isnan(y)
    if not (always or missing.any()):
        return y, weight
    weight = np.ones(len(y), y.dtype) if weight is None else weight
    by_target = weight if weight.ndim == 2 else weight[:, None]
    y, weight = (np.where(missing, 0, array).astype(array.dtype, "C") for array in (y, by_target))
    return y, weight.ravel() if y.shape[1] == 1 else weight


def check_present(y, every_output):
    """Raise ValueError if all targets are missing, or with ``every_output`` all those of a column of y."""
    empty = np.isnan(y).all(axis=0)
    if empty.all():
        raise ValueError("y has no values: every target is missing.")
    if every_output and empty.any():
        raise ValueError(f"y has no values in column {empty.argmax()}, so it cannot be learned: drop the column.")
