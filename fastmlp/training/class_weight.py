"""Weights of rows by their class, as scikit-learn has them."""

import numpy as np
from sklearn.utils.class_weight import compute_class_weight, compute_sample_weight

BALANCED_IN_PARTS = (
    "class_weight='balanced' is not for partial_fit and fit_stream, which do not see all labels at once: take a dict, "
    "for instance dict(zip(classes, sklearn.utils.class_weight.compute_class_weight('balanced', classes=classes, "
    "y=all_labels)))."
)


def weigh_classes(class_weight, classes, hits, one_label, sample_weight, in_parts=False):
    """Weights of rows times those of their classes.

    Parameters
    ----------
    class_weight : dict, 'balanced', or a list of dicts for several labels per row
        A class that a dict leaves out weighs 1. 'balanced': rows / (classes x rows of the class).
    classes : ndarray of shape (n_classes,)
    hits : bool ndarray of shape (n_rows, n_classes), or (n_rows, 1) for two classes
        Which classes a row has.
    one_label : bool
        Whether each row has one of the classes; otherwise the weights of its labels' yes or no are multiplied.
    sample_weight : ndarray of shape (n_rows,) or None
    in_parts : bool
        Whether there are other rows, so that the weights of these may all be 0.

    Raises
    ------
    ValueError
        For a dict with other classes, and other things that scikit-learn refuses.
    """
    if one_label:
        if isinstance(class_weight, dict) and (unknown := set(class_weight) - set(classes.tolist())):
            names = ", ".join(map(repr, sorted(unknown, key=str)))
            raise ValueError(f"class_weight names {names}, not among the classes: {', '.join(map(str, classes))}.")
        numbers = hits[:, 0].astype(int) if hits.shape[1] == 1 else hits.argmax(axis=1)
        if isinstance(class_weight, dict):
            of_class = np.array([class_weight.get(label, 1.0) for label in classes.tolist()], float)
            in_parts &= bool(of_class.any())  # then no part weighs anything
        else:
            present = np.unique(numbers)
            of_class = np.ones(len(classes))
            of_class[present] = compute_class_weight(class_weight, classes=classes[present], y=classes[numbers])
        weights = of_class[numbers]
    elif isinstance(class_weight, str):
        weights = compute_sample_weight(class_weight, hits.astype(int))
    else:
        if not isinstance(class_weight, list) or len(class_weight) != hits.shape[1]:
            raise ValueError(f"class_weight must be a list of {hits.shape[1]} dicts, one for each label of a row.")
        weights = np.ones(len(hits))
        for hit, given in zip(hits.T, class_weight):
            weights *= np.where(hit, float(given.get(1, 1)), float(given.get(0, 1)))
    of_classes = weights
    if sample_weight is not None:
        with np.errstate(over="ignore"):  # check_sum_of_weights refuses products that are too large
            weights = weights * sample_weight
    if not (np.isfinite(of_classes).all() and (of_classes >= 0).all() and (in_parts or weights.any())):
        raise ValueError(f"weights of classes must be finite, not negative, and not all 0, got {class_weight}.")
    return weights
