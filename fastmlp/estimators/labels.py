"""Class labels of a classifier and the targets that a network learns for them."""

import numpy as np

from fastmlp.validation.arrays import is_listing


def check_listed_classes(classes):
    """Raise ValueError unless ``classes`` is None or a list of labels."""
    if classes is None:
        return
    try:
        good = is_listing(classes) and np.unique(np.asarray(classes)).size > 0
    except TypeError:  # labels that cannot be sorted
        good = False
    if not good:
        raise ValueError(
            f"classes must be a list of every possible label, either all numbers or all strings, got {classes!r}."
        )


def clean_labels(y):
    """(classes, the class number of each sample) for an array of integers, booleans or strings, otherwise None.

    Also None if there is only one class, or so many that scikit-learn would warn.
    """
    if type(y) is not np.ndarray or y.ndim != 1 or y.dtype.kind not in "biU" or not y.dtype.isnative:
        return None
    classes, numbers = np.unique(y, return_inverse=True)
    if not 2 <= len(classes) <= len(y) // 2:
        return None
    return np.array(classes.tolist()) if y.dtype.kind == "U" else classes, numbers  # as short as the strings allow


def one_column_each(numbers, n_classes, dtype):
    """Targets: 1 in the column of each sample's class, or a single column for up to two classes."""
    if n_classes <= 2:
        return numbers[:, None].astype(dtype)
    targets = np.zeros((len(numbers), n_classes), dtype)
    targets[np.arange(len(numbers)), numbers] = 1
    return targets
