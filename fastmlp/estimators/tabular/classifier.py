"""TabularMLPClassifier."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin

from fastmlp.docstrings import with_texts
from fastmlp.estimators.scoring import weights_to_score
from fastmlp.model.exclusive import reads
from fastmlp.prediction.scores import accuracy
from fastmlp.tables import LabelTargets
from fastmlp.training.class_weight import weigh_classes
from fastmlp.typing import ArrayLike, ClassWeight, FloatArray, MatmulPrecision, NDArray, RandomState
from fastmlp.validation.arrays import as_labels

from .base import BaseTabular
from .parameters import ATTRIBUTES, COMMUNICATOR, PARAMETERS
from .recipe import CLASSES, class_loss


@with_texts(PARAMETERS=PARAMETERS, ATTRIBUTES=ATTRIBUTES, COMMUNICATOR=COMMUNICATOR)
class TabularMLPClassifier(ClassifierMixin, BaseTabular):
    """Classifier for tables as they are: numbers, strings, categories and dates, with missing values.

    Columns are encoded by ``fastmlp.tables.TableEncoder``, the network and its training follow a recipe that needs no
    search (``help(fastmlp.estimators.tabular.recipe)``).

    Parameters
    ----------
    {PARAMETERS}
    class_weight : dict {label: weight}, 'balanced' or None, default=None
        Weights of the classes in the loss, as in scikit-learn.
    {COMMUNICATOR}

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels.
    {ATTRIBUTES}
    oof_prediction_ : ndarray of shape (n_samples, n_classes)
        With ``n_folds``: class probabilities of each row, by the members that were not trained on it.
    score_ : float
        With ``n_folds``: the accuracy of these, weighted by ``sample_weight``.

    Examples
    --------
    >>> from fastmlp import TabularMLPClassifier
    >>> table = {"colour": ["red", "blue", None, "blue"] * 50, "size": [1.0, 2.0, 3.0, None] * 50}
    >>> model = TabularMLPClassifier(epochs=20, random_state=0).fit(table, ["A", "B", "A", "A"] * 50)
    >>> model.predict({"size": [2.0], "colour": ["blue"]}).tolist()
    ['B']
    """

    def __init__(
        self,
        *,
        hidden_layer_sizes: Any = (128, 128, 128),
        epochs: int | None = None,
        n_members: int = 1,
        n_folds: int | None = None,
        time_limit: float | None = None,
        n_jobs: int | None = None,
        random_state: RandomState = None,
        progress: bool = False,
        matmul_precision: MatmulPrecision = "highest",
        class_weight: ClassWeight | None = None,
        communicator: Any = None,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.epochs = epochs
        self.n_members = n_members
        self.n_folds = n_folds
        self.time_limit = time_limit
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.progress = progress
        self.matmul_precision = matmul_precision
        self.class_weight = class_weight
        self.communicator = communicator

    def _check_parameters(self):
        given = self.class_weight
        if not (given is None or isinstance(given, dict) or (isinstance(given, str) and given == "balanced")):
            raise ValueError(f"class_weight must be a dict, 'balanced' or None, got {given!r}.")
        super()._check_parameters()

    def _fit_targets(self, y, weight):
        self._targets = LabelTargets.fit(y)
        self.classes_ = self._targets.classes
        codes = self._targets.encode(y)
        return codes, codes

    def _encode_targets(self, y):
        return self._targets.encode(y)

    def _restore_targets(self, saved):
        self._targets = LabelTargets(**saved).checked()
        self.classes_ = self._targets.classes

    def _member_settings(self):
        return CLASSES, class_loss(), self._n_outputs()

    def _n_outputs(self):
        return max(2, len(self.classes_))  # a softmax has at least two outputs

    def _weigh(self, codes, weight):
        if self.class_weight is None:
            return weight
        return weigh_classes(self.class_weight, self.classes_, codes[:, None], True, weight).astype(np.float32)

    def _decode(self, outputs):
        return self._targets.decode(self._probabilities(outputs).argmax(axis=1))

    def _probabilities(self, outputs):
        return outputs if len(self.classes_) > 1 else np.ones_like(outputs[:, :1])

    def _out_of_fold(self, outputs, y, weight):
        return self._probabilities(outputs)

    def _score(self, y, prediction, weight):
        return accuracy(self._targets.encode(y) == self._targets.encode(prediction), weight)

    @reads
    def predict(self, X: Any) -> NDArray:
        """Predict the most probable class of each row.

        Parameters
        ----------
        X : table with the columns of ``fit``, in any order

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        return self._decode(self._outputs(X))

    @reads
    def predict_proba(self, X: Any) -> FloatArray:
        """Predict the probability of each class: the mean over the members.

        Parameters
        ----------
        X : table with the columns of ``fit``, in any order

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
        """
        return self._probabilities(self._outputs(X))

    @reads
    def score(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Compute the accuracy of the predictions for X."""
        return super().score(X, as_labels(y, "y"), weights_to_score(X, y, sample_weight))
