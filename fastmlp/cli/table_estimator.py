"""TableEstimator: an estimator for tables together with its target's name, as saved by the command line."""

import warnings
from typing import NamedTuple

import numpy as np
from sklearn.metrics import log_loss, root_mean_squared_error

from fastmlp.estimators.tabular.classifier import TabularMLPClassifier
from fastmlp.estimators.tabular.regressor import TabularMLPRegressor
from fastmlp.io.model_files import Savable
from fastmlp.prediction.scores import accuracy, r2

from .frames import TableError, pd
from .tables import check_present, holds_texts, incomplete_rows, read_table
from .targets import check_numbers, codes_of

ESTIMATORS = {found.__name__: found for found in (TabularMLPClassifier, TabularMLPRegressor)}


class Reading(NamedTuple):
    """How to read files with the columns of the training file.

    Attributes
    ----------
    texts : list of str
        Columns that are read as strings from every kind of file.
    csv_texts : list of str
        Columns of strings and dates, which are read as strings from CSV files; the target, too, if it is one of them.
    numbers : list of str
        Columns of numbers; the target, too, if it is one of them.
    missing : list of str
        Strings that are missing values.
    decimal : str or None
        Decimal mark of the training file.
    """

    texts: list[str]
    csv_texts: list[str]
    numbers: list[str]
    missing: list[str]
    decimal: str | None

    @classmethod
    def of(cls, table, texts, missing):
        """The Reading of a Table."""
        frame, kinds = table.frame, pd.api.types
        strings = [name for name in frame if holds_texts(frame[name]) or kinds.is_datetime64_any_dtype(frame[name])]
        numbers = [
            name for name in frame if kinds.is_numeric_dtype(frame[name]) and not kinds.is_bool_dtype(frame[name])
        ]
        return cls(list(texts), strings, numbers, list(missing), table.decimal)


class TableEstimator(Savable):
    """A TabularMLPClassifier or TabularMLPRegressor, the name of its target, and how to read files.

    The estimator is the attribute ``estimator``, the name of the target ``target``.
    """

    def __init__(self, estimator, target, reading):
        self.estimator, self.target, self.reading = estimator, target, reading

    @property
    def classes(self):
        """The class labels, or None for regression."""
        return getattr(self.estimator, "classes_", None)

    def read(self, source, encoding=None, *, with_target):
        """Read a table with the types of the columns that the model was trained on, and of its target."""
        reading = self.reading
        skipped = set() if with_target else {self.target}
        return read_table(
            source, self.target, encoding=encoding, missing=reading.missing, texts=reading.texts,
            csv_texts=set(reading.csv_texts) - skipped, numbers=set(reading.numbers) - skipped, decimal=reading.decimal,
        ).frame  # fmt: skip

    def features(self, frame):
        """The columns of a frame without the target."""
        return frame.drop(columns=self.target, errors="ignore")

    def predict(self, frame):
        """Predicted labels or numbers."""
        return self.estimator.predict(self.features(frame))

    def predict_proba(self, frame):
        """Frame with the probability of each class."""
        if self.classes is None:
            raise TableError("this is a regression model: it has no class probabilities.")
        return pd.DataFrame(self.estimator.predict_proba(self.features(frame)), columns=self.classes)

    def outputs(self, frame):
        """Class probabilities or predicted numbers, as in ``oof_prediction_``."""
        predict = self.estimator.predict if self.classes is None else self.estimator.predict_proba
        return predict(self.features(frame))

    def scores(self, frame, outputs):
        """{score: value} of ``outputs`` for the rows of a frame."""
        targets = frame[self.target]
        if self.classes is None:
            check_numbers(targets)
            return {"r2": r2(targets, outputs), "rmse": float(root_mean_squared_error(targets, outputs))}
        codes = codes_of(targets, self.classes)
        outputs = outputs.astype(np.float64)
        outputs /= outputs.sum(axis=1, keepdims=True)  # float32 has too few digits for log_loss
        loss = log_loss(codes, outputs, labels=range(len(self.classes)))
        return {"accuracy": accuracy(outputs.argmax(axis=1) == codes), "log_loss": float(loss)}

    def evaluate(self, frame):
        """{score: value} for the rows of a frame, and their number. Those without a target do not count."""
        check_present(frame, [self.target])
        known = frame[~incomplete_rows(frame[[self.target]])]
        if not len(known):
            raise TableError(f"no row has a value of the target {self.target!r}.")
        if len(known) < len(frame):
            warnings.warn(f"{len(frame) - len(known):,} of {len(frame):,} rows have no {self.target!r}: not counted.")
        return {"rows": len(known)} | self.scores(known, self.outputs(known))

    def saved_state(self):
        """The content of a model file."""
        return {
            "class": type(self.estimator).__name__,
            "estimator": self.estimator.saved_state(),
            "target": self.target,
            "reading": self.reading._asdict(),
        }

    @classmethod
    def from_saved_state(cls, saved):
        """The model of ``saved_state``."""
        estimator, reading = (
            ESTIMATORS[saved["class"]].from_saved_state(saved["estimator"]),
            Reading(**saved["reading"]),
        )
        names = [saved["target"], *(name for names in reading[:4] for name in names)]
        are_lists = all(isinstance(names, list) for names in reading[:4])
        if not (are_lists and all(isinstance(name, str) for name in names) and reading.decimal in (None, ".", ",")):
            raise ValueError(f"the target is {saved['target']!r}, and files are read by {reading}")
        return cls(estimator, saved["target"], reading)
