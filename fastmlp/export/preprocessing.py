"""The preprocessing of the table estimators as steps, which each format writes in its own way."""

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import numpy as np
from sklearn.utils.validation import check_is_fitted

from fastmlp.estimators.tabular.base import BaseTabular
from fastmlp.prediction.network import PredictionNetwork
from fastmlp.tables import NumberTargets, TableEncoder
from fastmlp.tables.cells import BOOLEANS, DATES, SECOND, TEXTS

from .network import checked

SCALED, SCORE, MISSING, FLAG, CODE = "scaled", "score", "missing", "flag", "code"


class Step(NamedTuple):
    """How a column x of a table becomes a column of the matrix of a TableEncoder.

    ========  ===========================================================================================
    SCALED    z / sqrt(1 + (z / 3)^2) for z = (x - median) / scale within +-LIMIT; 0 for a missing x
    SCORE     linear interpolation between ``numbers``, which have ``scores``; 0 for a missing x
    MISSING   1 for a missing x, otherwise -1
    FLAG      1 for True, -1 for False, 0 for a missing x
    CODE      the position of a text in ``values``, or -1; the code ``of_missing`` for a missing x
    ========  ===========================================================================================

    Attributes
    ----------
    operator : str
        One of these.
    column : NumberColumn, FlagColumn, CategoryColumn or DateColumn
    part : str or None
        x is this part of a date (``fastmlp.tables.dates.PARTS``).
    arguments : tuple
        (median, scale), (numbers, scores) or (values, of_missing), otherwise ().
    """

    operator: str
    column: Any
    part: str | None = None
    arguments: tuple = ()


class TablePredictor(NamedTuple):
    """A fitted table estimator for export.

    Attributes
    ----------
    encoder : TableEncoder
    columns : dict of int to record
        The columns of the table that are used, by their place in it.
    steps : list of Step
        One for each column of the matrix.
    networks : list of PredictionNetwork
        Their mean output is the prediction for the matrix.
    targets : NumberTargets or None
        Of a regressor.
    classes : ndarray or None
        Labels of a classifier. A single one has two outputs, of which the first counts.
    """

    encoder: TableEncoder
    columns: dict[int, Any]
    steps: list[Step]
    networks: list[PredictionNetwork]
    targets: NumberTargets | None
    classes: np.ndarray | None

    @property
    def n_outputs(self):
        """Number of predicted numbers or of classes."""
        return self.networks[0].sizes[-1] if self.classes is None else len(self.classes)

    def decode(self, outputs):
        """Predictions of mean outputs, of shape (rows, n_outputs)."""
        if self.classes is None:
            return self.targets.decode(outputs).reshape(len(outputs), -1)
        return outputs if self.n_outputs > 1 else np.ones_like(outputs[:, :1])

    def __str__(self):
        kind = "regressor" if self.classes is None else "classifier"
        count = f"mean of {len(self.networks)} times " if len(self.networks) > 1 else ""
        return f"{kind} of tables, {count}{self.networks[0]}"


def table_predictor(model):
    """The TablePredictor of a model, or None if it is not a table estimator.

    Raises
    ------
    ValueError
        If it is not fitted or its networks cannot be exported.
    """
    if not isinstance(model, BaseTabular):
        return None
    check_is_fitted(model)
    classes = getattr(model, "classes_", None)
    meaning = {"kind": "outputs" if classes is None else "multiclass", "classes": classes}
    networks = [checked(member.prediction_network()._replace(**meaning)) for member in model.members_]
    columns = {i: column for i, column in enumerate(model.encoder_.columns_) if column.encoded}
    steps = [step for column in columns.values() for step in _steps(column)]
    targets = model._targets if classes is None else None
    return TablePredictor(model.encoder_, columns, steps, networks, targets, classes)


def _steps(column):
    """The steps of a column, in the order of ``column.encoded``."""
    missing = [Step(MISSING, column)] if column.n_missing else []
    if column.kind == TEXTS:
        of_missing = len(column.values) if column.missing_is_value else -1
        return [Step(CODE, column, None, (column.values, of_missing))]
    if column.kind == BOOLEANS:
        return ([Step(FLAG, column)] if column.varies else []) + missing
    if column.kind == DATES:
        return [Step(SCALED, column, part, tuple(scaling)) for part, scaling in column.scalings.items()] + missing
    scaled = [Step(SCALED, column, None, tuple(column.scaling))] if column.scaling else []
    scores = [Step(SCORE, column, None, tuple(column.scores))] if column.ranked else []
    return scaled + scores + missing


def checked_texts(step, language):
    """(values, of_missing) of a CODE step; ValueError for categories that a string of C or ONNX cannot be.

    Strings are in UTF-8, and those of C end at the first null character.
    """
    for value in step.arguments[0]:
        if any("\ud800" <= letter <= "\udfff" for letter in value) or (language == "C" and "\0" in value):
            raise ValueError(
                f"column {step.column.name!r} has the category {value!r}, which cannot be a string in {language}: "
                "replace it and fit again."
            )
    return step.arguments


def earliest_second(column):
    """The first date of a column in fit, in seconds since 1970."""
    return float(seconds_of(np.datetime64(column.earliest)))


def seconds_of(dates):
    """datetime64 as floating-point seconds since 1970; NaT becomes NaN."""
    return (dates - np.datetime64(0, "s")) / SECOND


class Term(ABC):
    """A number or tensor in a file; operators add the calculation to the file."""

    @abstractmethod
    def of(self, operator, *others):
        """The result of an operator of ONNX for this term and others, or numbers."""

    def __add__(self, other):
        return self.of("Add", other)

    def __sub__(self, other):
        return self.of("Sub", other)

    def __mul__(self, other):
        return self.of("Mul", other)

    def __truediv__(self, other):
        return self.of("Div", other)


def floor(x):
    """The largest whole number that is not larger than a Term or a number."""
    return x.of("Floor") if isinstance(x, Term) else np.floor(x)


def date_parts(seconds, earliest):
    """The parts of a date (``fastmlp.tables.dates.PARTS``) from floating-point seconds since 1970.

    ``seconds`` is a Term or an array. Years are counted from March, so that a leap day is the last of its year (Hinnant
    2014, "chrono-compatible low-level date algorithms").
    """
    days = floor(seconds / 86400)
    era = floor((days + 719468) / 146097)  # of 400 years, the first from 0000-03-01
    day = days + 719468 - era * 146097
    year = floor((day - floor(day / 1460) + floor(day / 36524) - floor(day / 146096)) / 365)
    day_of_year = day - year * 365 - floor(year / 4) + floor(year / 100)
    month = floor((day_of_year * 5 + 2) / 153)  # 0 is March
    after = floor(month / 10)  # whether it is January or February
    return {
        "year": era * 400 + year + after,
        "month": month + 3 - after * 12,
        "day of week": days + 3 - floor((days + 3) / 7) * 7,
        "hour": (seconds - days * 86400) / 3600,
        "days": (seconds - earliest) / 86400,
    }
