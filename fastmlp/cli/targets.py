"""The target column of a table: whether it holds classes or numbers, and whether it can be learned."""

import numpy as np

from .frames import TableError, listed, pd

MAX_CATEGORIES = 200  # a column with more distinct strings holds names or free text
MAX_CLASSES = 20  # integer targets with more distinct values are treated as regression


def looks_like_classes(values):
    """Whether a target has strings, booleans, or integers with few distinct values; other numbers mean regression."""
    if not pd.api.types.is_numeric_dtype(values) or pd.api.types.is_bool_dtype(values):
        return True
    return values.nunique() <= MAX_CLASSES and bool((values == values.round()).all())


def classes_of(values, task, n_rows=None):
    """The sorted classes of a complete target column, or None for regression.

    ``task`` is 'classification', 'regression' or 'auto', which decides by the values; ``n_rows`` is the number of rows
    if ``values`` are only the different ones.

    Raises
    ------
    TableError
        If all values are equal, if there are too many for classes, or if they are no numbers for regression.
    """
    name = values.name
    if values.nunique() < 2:
        raise TableError(
            f"the target {name!r} has the same value in all {n_rows or len(values)} rows: nothing can be learned."
        )
    if task == "classification" or (task == "auto" and looks_like_classes(values)):
        classes = np.unique(values.to_numpy())
        if task == "auto" and len(classes) > MAX_CATEGORIES:
            raise TableError(
                f"the target {name!r} has {len(classes)} distinct values, too many for classes. If they are classes, "
                "pass --task classification."
            )
        return classes
    if not pd.api.types.is_numeric_dtype(values):
        raise TableError(f"the target {name!r} is not numeric, but --task regression needs numbers.")
    return None


def codes_of(values, classes):
    """The numbers of the classes of a target column; TableError for values that are none of the classes."""
    unknown = np.setdiff1d(values.to_numpy(), classes)
    if len(unknown):
        raise TableError(f"{values.name!r} has classes that did not occur in training: {listed(unknown.tolist())}.")
    return np.searchsorted(classes, values)


def check_numbers(values):
    """TableError unless a target column holds numbers, as in training."""
    if not pd.api.types.is_numeric_dtype(values):
        raise TableError(f"the target {values.name!r} was numeric in training, but is not here.")
