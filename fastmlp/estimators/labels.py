"""Class labels of a classifier, and the targets that its network learns for them."""

import math
from typing import NamedTuple

import numpy as np
from sklearn.preprocessing import LabelBinarizer

from fastmlp.model.losses import Loss
from fastmlp.validation.arrays import SMALL, is_listing


class Labels(NamedTuple):
    """The labels of a classifier, and the targets and outputs of its network for them.

    Attributes
    ----------
    classes : ndarray of shape (n_classes,)
    kind : str
        'binary', 'multiclass' or 'multilabel-indicator', as scikit-learn calls it.
    sparse : bool
        Whether multilabel y is a sparse matrix.
    targets : (low, high) or None
        Targets of logistic outputs for False and True, if the loss is no cross-entropy.
    """

    classes: np.ndarray
    kind: str
    sparse: bool = False
    targets: tuple[float, float] | None = None

    @classmethod
    def of(cls, y):
        """Those of y."""
        binarizer = LabelBinarizer().fit(y)
        return cls(binarizer.classes_, binarizer.y_type_, binarizer.sparse_input_)

    @property
    def multilabel(self):
        return self.kind.startswith("multilabel")

    @property
    def n_outputs(self):
        """Number of outputs of the network."""
        return 1 if self.kind == "binary" else len(self.classes)

    def binarizer(self):
        """The fitted LabelBinarizer, which converts between labels and columns of 0 and 1."""
        binarizer = LabelBinarizer()
        binarizer.classes_, binarizer.y_type_, binarizer.sparse_input_ = self[:3]
        return binarizer

    def check(self, classes, in_parts):
        """Raise ValueError if a later fit has new classes, or if ``fit`` with ``warm_start`` lacks some."""
        if not in_parts and set(classes) != set(self.classes):
            raise ValueError(
                "warm_start can only be used where `y` has the same classes as in the previous call to fit. "
                f"Previously got {self.classes}, `y` has {classes}"
            )
        if len(np.setdiff1d(classes, self.classes, assume_unique=True)):
            raise ValueError(
                f"`y` has classes not in `self.classes_`. `self.classes_` has {self.classes}. 'y' has {classes}."
            )

    def are(self, classes):
        """Whether an array holds the same labels, in order."""
        same_kind = type(classes) is np.ndarray and classes.dtype.kind == self.classes.dtype.kind
        return same_kind and np.array_equal(classes, self.classes)

    def encode(self, y):
        """Targets of shape (n_samples, n_outputs)."""
        return self.in_range(self.binarizer().transform(y))

    def in_range(self, hits):
        """Targets for a matrix of 0 and 1."""
        if self.targets is None:
            return hits
        low, high = self.targets
        return low + (high - low) * hits

    def encode_plain(self, y, dtype):
        """Targets, 0 and 1, for a small array of one label per sample, or None if it needs the general way."""
        labels = self.classes
        given = type(y) is np.ndarray and y.ndim == 1 and 0 < y.size <= SMALL and y.dtype.kind in "biU"
        if self.multilabel or self.sparse or self.targets is not None:
            return None
        if not (given and y.dtype.kind == labels.dtype.kind and y.dtype.isnative):
            return None
        numbers = np.searchsorted(labels, y)
        if numbers.max() == len(labels) or not (labels[numbers] == y).all():
            return None
        return one_column_each(numbers, len(labels), dtype)

    def cross_entropy(self):
        """The loss, and the activation of the output layer, of a usual classifier."""
        if self.kind == "multiclass":
            return "categorical_cross_entropy", "softmax"
        return "binary_cross_entropy", "logistic"

    def smoothed_cross_entropy(self, given, options):
        """The same for a given cross-entropy with options. For two classes the two are the same function."""
        loss, output = self.cross_entropy()
        if given != loss and self.kind != "binary":
            kind = "several classes" if self.kind == "multiclass" else "multilabel y"
            raise ValueError(f"loss {given!r} cannot be used for {kind}: use make_loss({loss!r}, ...).")
        return Loss(loss, options), output

    def decode(self, output):
        """Predicted labels for outputs of the network."""
        return self.likely(output if self.kind == "multiclass" else self._confidence(output))

    def likely(self, confidence):
        """The labels of a probability for each output of the network."""
        if self.multilabel:
            return self.binarizer().inverse_transform(confidence)
        number = (confidence[:, 0] > 0.5).astype(int) if confidence.shape[1] == 1 else confidence.argmax(axis=1)
        return self.classes[np.minimum(number, len(self.classes) - 1)]  # there may be only one class

    def probabilities(self, output):
        """The probability of each class, of shape (n_samples, n_classes), for outputs of the network."""
        output = self._confidence(output)
        if len(self.classes) == 1:
            return np.ones_like(output)
        return np.hstack([1 - output, output]) if output.shape[1] == 1 else output

    def _confidence(self, output):
        """Outputs as probabilities, which sum to 1 for multiclass problems."""
        if self.targets is None:
            return output
        low, high = self.targets
        probability = np.clip((output - low) / (high - low), 0, 1)
        if self.kind != "multiclass":
            return probability
        total = probability.sum(axis=1, keepdims=True)
        return np.where(total > 0, probability / np.where(total > 0, total, 1), 1 / probability.shape[1])


def target_range(target_values):
    """Two floats from ``target_values``; ValueError unless they are valid."""
    try:
        low, high = map(float, target_values)
    except (TypeError, ValueError):
        low = high = math.nan
    if not 0 <= low < high <= 1:
        raise ValueError(f"target_values must be two numbers, 0 <= low < high <= 1, got {target_values!r}.")
    return low, high


def check_listed_classes(classes):
    """Raise ValueError unless ``classes`` is None or a list of labels."""
    if classes is None:
        return
    try:
        labels = np.unique(np.asarray(classes)) if is_listing(classes) else np.array([])
        good = labels.size > 0 and (labels.dtype.kind != "f" or np.all(labels == np.floor(labels)))
    except TypeError:  # labels that cannot be sorted
        good = False
    if not good:
        raise ValueError(
            f"classes must be a list of every possible label, either all whole numbers or all strings, got {classes!r}."
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
