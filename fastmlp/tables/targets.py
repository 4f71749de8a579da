"""Targets of a table: labels of any kind as class numbers, numbers as standardised ones, and back."""

from typing import NamedTuple

import numpy as np
from sklearn.utils import assert_all_finite
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d

from fastmlp.training.scaling import scaled, scalings_of
from fastmlp.validation.arrays import as_labels, as_numbers
from fastmlp.validation.checks import check_dtype
from fastmlp.validation.entries import checked_record

from .cells import is_missing
from .kinds import listing


class LabelTargets(NamedTuple):
    """Labels of any kind, as numbers from 0.

    Attributes
    ----------
    classes : ndarray of shape (n_classes,)
        The labels, sorted, in the dtype of y.
    """

    classes: np.ndarray

    @classmethod
    def fit(cls, y):
        """The labels of y: an array, a series of any frame library or a list, without missing values."""
        return cls(np.unique(_labels(y)))

    def encode(self, y):
        """The class number of each label; ValueError for labels that did not occur in fit."""
        labels = _labels(y)
        unknown = np.setdiff1d(labels, self.classes)
        if unknown.size:
            raise ValueError(
                f"y has labels that did not occur in fit: {listing(map(repr, unknown.tolist()))}. Known: "
                f"{listing(map(repr, self.classes.tolist()))}"
            )
        return np.searchsorted(self.classes, labels)

    def checked(self):
        """Itself, from a file; ValueError unless the classes are sorted and differ."""
        checked_record(self)
        if self.classes.ndim != 1 or not self.classes.size or not np.array_equal(np.unique(self.classes), self.classes):
            raise ValueError("the classes are not a sorted list of different labels")
        return self

    def decode(self, numbers):
        """The labels of class numbers."""
        return self.classes[numbers]


class NumberTargets(NamedTuple):
    """Numbers of one or several outputs, standardised. Decoded ones are limited to the range of y in fit.

    Attributes
    ----------
    mean, std, low, high : ndarray of shape (n_outputs,)
        The standard deviation of a constant output is 1.
    one_dimensional : bool
        Whether y had one dimension, as decoded values then have.
    """

    mean: np.ndarray
    std: np.ndarray
    low: np.ndarray
    high: np.ndarray
    one_dimensional: bool

    @classmethod
    def fit(cls, y, sample_weight=None):
        """The weighted mean and standard deviation of y. Samples with the weight 0 do not count.

        Parameters
        ----------
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Without missing values.
        sample_weight : ndarray of shape (n_samples,) or None
        """
        y = _numbers(y)
        columns = y.reshape(len(y), -1)
        _, (mean, std) = scalings_of([(None, columns, sample_weight)], inputs=False, targets=True)
        counted = columns if sample_weight is None else columns[sample_weight > 0]
        return cls(mean, std, counted.min(axis=0), counted.max(axis=0), y.ndim == 1)

    def encode(self, y, dtype=np.float32):
        """Standardised targets of shape (n_samples, n_outputs)."""
        y = _numbers(y)
        columns = y.reshape(len(y), -1)
        if columns.shape[1] != len(self.mean):
            raise ValueError(f"y has {columns.shape[1]} columns, but had {len(self.mean)} in fit.")
        return np.ascontiguousarray(scaled(columns, (self.mean, self.std)), check_dtype(dtype))

    def checked(self):
        """Itself, from a file; ValueError unless the numbers are valid."""
        checked_record(self)
        numbers = np.array(self[:4], np.float64)  # ValueError if the lengths differ
        valid = numbers.ndim == 2 and numbers.size and np.isfinite(numbers).all()
        if not (valid and (self.std > 0).all() and (self.low <= self.high).all()):
            raise ValueError("the targets have an invalid mean, standard deviation or range")
        return self

    def decode(self, outputs):
        """Outputs of the network in the units of y, as float64."""
        y = np.clip(np.asarray(outputs, np.float64) * self.std + self.mean, self.low, self.high)
        return y.ravel() if self.one_dimensional and y.shape[1] == 1 else y


def _labels(y):
    y = _complete(as_labels(y, "y"))
    check_classification_targets(y)
    return column_or_1d(y, warn=True)


def _numbers(y):
    y = as_numbers(_complete(as_labels(y, "y")), "y")  # missing targets are said first
    if y.ndim not in (1, 2) or not y.size:
        raise ValueError(f"y must be numbers of shape (n_samples,) or (n_samples, n_outputs), got shape {y.shape}.")
    if y.dtype.kind == "c":
        raise ValueError("Complex data not supported: y has complex numbers. Take their real parts.")
    try:
        y = y.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"y must be numbers, got {y.dtype}: {error}") from error
    assert_all_finite(y, input_name="y")
    return y


def _complete(y):
    """Targets as an array; ValueError if some are missing, with their number and rows."""
    y = np.asarray(y)
    missing = np.zeros(y.shape, bool)
    if y.dtype.kind == "O":
        missing.flat = [is_missing(value) for value in y.flat]
    elif y.dtype.kind in "fmM":
        missing = y != y  # NaN and NaT
    if missing.any():
        rows = np.flatnonzero(missing.reshape(len(y), -1).any(axis=1))
        raise ValueError(
            f"Input y contains NaN: targets are missing in {len(rows)} of {len(y)} rows ({listing(map(str, rows))}, "
            "counted from 0). Drop these rows from X and y."
        )
    return y
