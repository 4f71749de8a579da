"""TableModel: an MLP together with the columns of a table, as saved by the command line."""

import math
from types import SimpleNamespace
from typing import Any

import numpy as np

from fastmlp.io.model_files import Savable
from fastmlp.model.layer import Layer
from fastmlp.model.mlp import MLP
from fastmlp.prediction.network import HasPredictionNetwork
from fastmlp.training.scaling import folded
from fastmlp.validation.checks import check_real
from fastmlp.validation.entries import check_entries
from fastmlp.validation.sklearn_compat import check_feature_names, get_feature_names

from .column_encoder import ColumnEncoder, mean_and_std
from .frames import TableError, pd
from .tables import check_complete, check_kinds, check_present, read_table
from .targets import check_numbers, classes_of, codes_of

OLD_KEYS = {"deviation": "std"}
ENTRIES: dict[str, Any] = {
    "columns": list[dict[str, Any]],
    "target": str,
    "classes": np.ndarray | None,
    "missing": list[str] | tuple[str, ...],
    "decimal": str | None,
}


class TableModel(HasPredictionNetwork, Savable):
    """An MLP with an encoder of its input columns, which predicts the target column in its original units.

    ``classes`` holds the class labels; None means regression, with a target standardised by ``mean`` and ``std``.
    ``missing`` are the strings that were read as missing values, ``decimal`` is the decimal mark of the file or None.
    """

    def __init__(self, encoder, model, target, classes=None, mean=0.0, std=1.0, missing=(), decimal=None):
        self.encoder, self.model, self.target = encoder, model, target
        self.classes, self.mean, self.std = classes, mean, std
        self.missing, self.decimal = missing, decimal

    @classmethod
    def create(cls, frame, target, *, task="auto", hidden=(100,), activation="relu", dtype="float32", **options):
        """Make an untrained model for the columns of ``frame``; ``options`` are passed to MLP.

        Raises
        ------
        TableError
            If the target column is missing or constant, or if values are missing.
        """
        check_present(frame, [target])
        check_kinds(frame, list(frame.columns))
        check_complete(frame, list(frame.columns))
        values = frame[target]
        encoder = ColumnEncoder.fit(frame.drop(columns=target))
        classes = classes_of(values, task)
        scaling = (0.0, 1.0) if classes is not None else mean_and_std(values)
        return cls.new(
            encoder, target, classes, scaling, hidden=hidden, activation=activation, dtype=dtype, **options
        )  # fmt: skip

    @classmethod
    def new(cls, encoder, target, classes, scaling, *, hidden, activation, dtype, **options):
        """Make an untrained model; ``scaling`` is (mean, standard deviation) of the target of a regression."""
        hidden = [Layer(units, activation) for units in hidden]
        if classes is not None:
            model = MLP([*hidden, Layer(len(classes), "softmax")], "categorical_cross_entropy", dtype=dtype, **options)
            return cls(encoder, model, target, classes)
        model = MLP([*hidden, Layer(1, "identity")], "squared_error", dtype=dtype, **options)
        return cls(encoder, model, target, None, *scaling)

    def read(self, source, encoding=None, *, with_target):
        """Read a table with the types of the columns that the model was trained on, and of its target."""
        texts, numbers = self.encoder.texts, self.encoder.numbers
        if with_target:
            labels = [] if self.classes is None else self.classes.tolist()
            (texts if any(isinstance(label, str) for label in labels) else numbers).append(self.target)
        return read_table(
            source, self.target, encoding=encoding, missing=self.missing, texts=texts, numbers=numbers,
            decimal=self.decimal,
        ).frame  # fmt: skip

    def arrays(self, frame):
        """(X, y) encoded for the network."""
        check_complete(frame, [self.target])
        X = self.encoder.transform(frame, self.model.dtype)
        if self.classes is not None:
            return X, codes_of(frame[self.target], self.classes)
        check_numbers(frame[self.target])
        return X, (frame[self.target].to_numpy() - self.mean) / self.std

    def predict(self, frame):
        """Predicted labels or numbers."""
        output = self.model.predict(self.encoder.transform(frame, self.model.dtype))
        if self.classes is None:
            return output[:, 0].astype(np.float64) * self.std + self.mean  # float32 has too few digits for a large mean
        return self.classes[output.argmax(axis=1)]

    def predict_proba(self, frame):
        """Frame with the probability of each class."""
        if self.classes is None:
            raise TableError("this is a regression model: it has no class probabilities.")
        return pd.DataFrame(self.model.predict(self.encoder.transform(frame, self.model.dtype)), columns=self.classes)

    def evaluate(self, frame):
        """{score: value} for the rows of a frame, and their number."""
        X, y = self.arrays(frame)
        return {"rows": len(X)} | self.model.evaluate(X, y)

    def prediction_network(self):
        """The PredictionNetwork; the scaling of inputs and target is folded into the first and last layer's weights."""
        found = self.model.prediction_network()
        inputs = self.encoder.outputs
        scaling = np.array([[mean, std] for _, mean, std in inputs]).T
        targets = None if self.classes is not None else (np.array([self.mean]), np.array([self.std]))
        parameters = folded(found.network, found.parameters, scaling, targets)
        kind = "numbers" if self.classes is None else "multiclass"
        return found._replace(parameters=parameters, kind=kind, classes=self.classes, inputs=inputs)

    def check_feature_names(self, X):
        """Raise, or warn, where X has column names other than those of the encoded columns; arrays have none."""
        if get_feature_names(X) is not None:
            names = np.array([name for name, *_ in self.encoder.outputs], object)
            check_feature_names(SimpleNamespace(feature_names_in_=names), X, reset=False)

    def saved_state(self):
        """The content of a model file."""
        return {
            "columns": self.encoder.columns,
            "model": self.model.saved_state(),
            "target": self.target,
            "classes": self.classes,
            "mean": self.mean,
            "std": self.std,
            "missing": list(self.missing),
            "decimal": self.decimal,
        }

    @classmethod
    def from_saved_state(cls, saved):
        """The model of ``saved_state``."""
        check_entries(saved, ENTRIES)
        # Older files say "deviation".
        columns = [{OLD_KEYS.get(key, key): value for key, value in column.items()} for column in saved["columns"]]
        encoder, model, classes = ColumnEncoder(columns), MLP.from_saved_state(saved["model"]), saved["classes"]
        encoder.check()
        sizes = (encoder.n_outputs, (1,) if classes is None else classes.shape)
        if sizes != (saved["model"]["n_inputs"] or sizes[0], (model.layers[-1].units,)):
            raise ValueError(f"{sizes[0]} encoded columns and classes of shape {sizes[1]} do not fit the network")
        mean = check_real("mean", saved["mean"], -math.inf)
        std = check_real("std", saved["std"] if "std" in saved else saved["deviation"], 0, open_low=True)
        return cls(encoder, model, saved["target"], classes, mean, std, saved.get("missing", ()), saved.get("decimal"))
