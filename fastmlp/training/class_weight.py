"""Class weights, with the semantics of scikit-learn."""

import numpy as np
from sklearn.utils.class_weight import compute_class_weight, compute_sample_weight

BALANCED_IN_PARTS = (
    "class_weight='balanced' is not supported by partial_fit and fit_stream, which do not see all labels at once: pass "
    "a dict, for example dict(zip(classes, sklearn.utils.class_weight.compute_class_weight('balanced', "
    "classes=classes, y=all_labels)))."
)


def is_balanced(class_weight):
    """Whether class weights are computed from the frequencies of the classes."""
    return isinstance(class_weight, str) and class_weight == "balanced"


def weigh_classes(class_weight, classes, hits, one_label, sample_weight, in_parts=False):
    """Multiply sample weights with class weights.

    Parameters
    ----------
    class_weight : dict, 'balanced', or a list of dicts for multilabel targets
        Classes missing in a dict have weight 1. It may have classes that do not occur if it has all that do, because
        a part of the rows may lack some. 'balanced' is n_samples / (n_classes * samples of the class).
    classes : ndarray of shape (n_classes,)
    hits : ndarray of shape (n_samples, n_classes) or (n_samples, 1)
        Which classes a sample has, or the number of its class.
    one_label : bool
        Whether every sample has exactly one class. Otherwise the weights of all its labels are multiplied.
    sample_weight : ndarray of shape (n_samples,) or (n_samples, n_outputs), or None
    in_parts : bool
        Whether these samples are a part of the data, so that their weights may all be 0.

    Returns
    -------
    ndarray of shape (n_samples,), or that of ``sample_weight``

    Raises
    ------
    ValueError
        If a dict has unknown classes while it lacks others, or the weights are negative, not finite or all 0.
    """
    if one_label:
        of_dict, known = isinstance(class_weight, dict), set(classes.tolist())
        unknown = class_weight.keys() - known if of_dict else ()
        if unknown and not known <= class_weight.keys():
            names = ", ".join(map(repr, sorted(unknown, key=str)))
            raise ValueError(
                f"class_weight has unknown classes {names}: the classes are {', '.join(map(str, classes))}."
            )
        numbers = hits[:, 0].astype(int) if hits.shape[1] == 1 else hits.argmax(axis=1)
        if of_dict:
            of_class = np.array([class_weight.get(label, 1.0) for label in classes.tolist()], float)
            in_parts &= bool(of_class.any())  # if all class weights are 0, so are those of every part
        else:
            present = np.unique(numbers)
            of_class = np.ones(len(classes))
            of_class[present] = compute_class_weight(class_weight, classes=classes[present], y=classes[numbers])
        weights = of_class[numbers]
    elif isinstance(class_weight, str):
        weights = compute_sample_weight(class_weight, hits.astype(int))
    else:
        of_dicts = isinstance(class_weight, list) and all(isinstance(given, dict) for given in class_weight)
        if not of_dicts or len(class_weight) != hits.shape[1]:
            raise ValueError(
                f"class_weight must be a list of {hits.shape[1]} dicts, one per label, got {class_weight!r}."
            )
        weights = np.ones(len(hits))
        for hit, given in zip(hits.T, class_weight):
            weights *= np.where(hit, float(given.get(1, 1)), float(given.get(0, 1)))
    of_classes = weights
    if sample_weight is not None:
        with np.errstate(over="ignore"):  # check_sum_of_weights rejects products that are too large
            weights = weights * sample_weight if sample_weight.ndim == 1 else weights[:, None] * sample_weight
    if not (np.isfinite(of_classes).all() and (of_classes >= 0).all() and (in_parts or weights.any())):
        raise ValueError(f"class weights must be finite, non-negative and not all 0, got {class_weight}.")
    return weights
