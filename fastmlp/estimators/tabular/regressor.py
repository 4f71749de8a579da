"""TabularMLPRegressor."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from fastmlp.docstrings import with_texts
from fastmlp.model.exclusive import reads
from fastmlp.model.losses import check_loss
from fastmlp.prediction.scores import d2_pinball, r2
from fastmlp.tables import NumberTargets
from fastmlp.typing import ArrayLike, FloatArray, LossSpec, MatmulPrecision, RandomState
from fastmlp.validation.arrays import as_numbers
from fastmlp.validation.checks import check_real, check_weights, for_levels, levels_of

from .base import BaseTabular
from .parameters import ATTRIBUTES, COMMUNICATOR, PARAMETERS
from .recipe import NUMBERS

LOSSES = "squared_error", "mean_squared_error", "absolute_error", "huber", "quantile"  # of outputs in any unit


@with_texts(PARAMETERS=PARAMETERS, ATTRIBUTES=ATTRIBUTES, COMMUNICATOR=COMMUNICATOR)
class TabularMLPRegressor(RegressorMixin, BaseTabular):
    """Regressor for tables as they are: numbers, strings, categories and dates, with missing values.

    Columns are encoded by ``fastmlp.tables.TableEncoder``, targets are standardised, and the network and its training
    follow a recipe that needs no search (``help(fastmlp.estimators.tabular.recipe)``). Predictions stay within the
    range of y in ``fit``.

    Parameters
    ----------
    {PARAMETERS}
    loss : {'squared_error', 'absolute_error', 'huber'} or the result of ``fastmlp.make_loss``, default='squared_error'
        ``make_loss("quantile", quantile=[0.1, 0.5, 0.9])`` predicts a column for each level.
    {COMMUNICATOR}

    Attributes
    ----------
    {ATTRIBUTES}
    oof_prediction_ : ndarray of the shape of y
        With ``n_folds``: predictions for each row by the members that were not trained on it.
    score_ : float
        With ``n_folds``: the R^2 of these, or for quantiles the fraction of the pinball loss that they explain.

    Examples
    --------
    >>> import numpy as np
    >>> from fastmlp import TabularMLPRegressor
    >>> rng = np.random.RandomState(0)
    >>> table = {"shop": rng.choice(["Bern", "Rome"], 300), "size": rng.uniform(0, 10, 300)}
    >>> price = 1000 * table["size"] + 500 * (table["shop"] == "Rome")
    >>> model = TabularMLPRegressor(random_state=0).fit(table, price)
    >>> bool(abs(model.predict({"shop": ["Rome"], "size": [5.0]})[0] - 5500) < 300)
    True
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
        loss: LossSpec = "squared_error",
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
        self.loss = loss
        self.communicator = communicator

    def _check_parameters(self):
        name, _ = check_loss(self.loss)
        if name not in LOSSES:
            raise ValueError(f"loss must be one of {', '.join(map(repr, LOSSES))}, got {self.loss!r}.")
        super()._check_parameters()

    def _fit_targets(self, y, weight):
        self._targets = NumberTargets.fit(y, weight)
        return self._encode_targets(y), None

    def _encode_targets(self, y):
        return self._targets.encode(y)

    def _restore_targets(self, saved):
        self._targets = NumberTargets(**saved).checked()

    @property
    def _trained_loss(self):
        """The options of the loss of the last fit; the parameter may have been changed since."""
        return self.members_[0]._loss_options

    def _levels(self):
        return levels_of(self._trained_loss)

    def _n_outputs(self):
        return len(self._levels()) or len(self._targets.mean)

    def _member_settings(self):
        levels, n_targets = levels_of(check_loss(self.loss)[1]), len(self._targets.mean)
        if levels and n_targets > 1:
            raise ValueError(f"a list of quantiles is for one target, got {n_targets}.")
        return NUMBERS, self.loss, len(levels) or n_targets

    def _weigh(self, targets, weight):
        return weight

    def _decode(self, outputs):
        return self._targets.decode(outputs)

    def _out_of_fold(self, outputs, y, weight):
        prediction = self._decode(outputs)
        if not self._levels():
            errors = np.abs(np.asarray(y, float) - prediction)
            self._oof_errors = errors if weight is None else errors[weight.reshape(len(errors), -1).any(axis=1)]
        return prediction

    def _score(self, y, prediction, weight):
        check_consistent_length(y, prediction)
        y = np.asarray(y, float).reshape(len(prediction), -1)
        prediction = prediction.reshape(len(prediction), -1)
        levels = self._levels()
        if levels:
            return d2_pinball(for_levels(y, self._trained_loss), prediction, levels, weight)
        return r2(y, prediction, weight)

    @reads
    def predict(self, X: Any) -> FloatArray:
        """Predict targets: the mean over the members, in the units of y.

        Parameters
        ----------
        X : table with the columns of ``fit``, in any order

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs)
        """
        return self._decode(self._outputs(X))

    @reads
    def predict_interval(self, X: Any, coverage: float = 0.9) -> tuple[FloatArray, FloatArray]:
        """Predict intervals that contain the targets of new rows with a given probability.

        The half width is a quantile of the errors of ``oof_prediction_``: "jackknife+ without the plus" of Barber et
        al. (2021). It is the same for all rows; ``make_loss("quantile", ...)`` makes widths that differ.

        Parameters
        ----------
        X : table with the columns of ``fit``, in any order
        coverage : float in (0, 1), default=0.9

        Returns
        -------
        low, high : ndarrays of the shape of ``predict``

        Raises
        ------
        ValueError
            If the estimator was fitted without ``n_folds``, or for quantiles.
        """
        check_is_fitted(self)
        check_real("coverage", coverage, 0, 1, open_low=True, open_high=True)
        if self._levels():
            raise ValueError("predict_interval is not for a list of quantiles: predict returns these.")
        if not hasattr(self, "_oof_errors"):
            raise ValueError("predict_interval needs errors on held-out rows: fit with n_folds, for example n_folds=5.")
        n = len(self._oof_errors)
        level = min(1.0, np.ceil((n + 1) * coverage) / n)
        width = np.quantile(self._oof_errors, level, axis=0, method="higher")
        middle = self.predict(X)
        return middle - width, middle + width

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    @reads
    def score(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Compute the R^2 of the predictions for X, or for quantiles the explained fraction of the pinball loss."""
        y, prediction = as_numbers(y, "y"), self.predict(X)
        return self._score(y, prediction, check_weights(sample_weight, prediction, y, "squared_error", np.float64))
