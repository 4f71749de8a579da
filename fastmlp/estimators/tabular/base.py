"""Base class of the table estimators: preprocessing, members, folds and predictions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from copy import copy
from itertools import pairwise
from typing import Any, Self

import numpy as np
from sklearn.inspection import permutation_importance
from sklearn.utils.validation import check_is_fitted

from fastmlp.distributed.data_parallel import check_communicator
from fastmlp.distributed.fits import fit_of
from fastmlp.estimators.checkpoint_folder import checked_folder
from fastmlp.model.exclusive import one_at_a_time
from fastmlp.model.precision import check_precision
from fastmlp.model.settings import columns_and_classes
from fastmlp.tables import TableEncoder
from fastmlp.tables.frames import as_table
from fastmlp.training.problem import Samples
from fastmlp.typing import ArrayLike, Callbacks, MatmulPrecision, RandomState, StrPath
from fastmlp.validation.checks import (
    check_flags,
    check_integer,
    check_memory,
    check_n_jobs,
    check_real,
    check_seed,
    check_weights,
)

from .members import Options, Rows, mean_outputs, outputs_of_folds, train, trained
from .plan import check_weights_of_folds, folds_of, parts_of, plan_for
from .recipe import Task, epochs_for, new_member
from .resuming import MemberFiles
from .saving import OF_FOLDS, SavableTabular

MIN_FREQUENCY = 5  # of a category, in tables with many rows
ROWS_FOR_RARE = 1000


class BaseTabular(SavableTabular, ABC):
    """Base class of TabularMLPClassifier and TabularMLPRegressor, which document parameters and attributes."""

    hidden_layer_sizes: Any
    epochs: int | None
    n_members: int
    n_folds: int | None
    time_limit: float | None
    n_jobs: int | None
    random_state: RandomState
    progress: bool
    matmul_precision: MatmulPrecision
    communicator: Any

    # Subclasses define the targets.

    @abstractmethod
    def _fit_targets(self, y, weight):
        """Learn the targets. Returns (targets for the network, labels for stratified folds or None)."""

    @abstractmethod
    def _encode_targets(self, y):
        """Targets for the network."""

    @abstractmethod
    def _member_settings(self):
        """(Kind, loss, number of outputs) of a member."""

    @abstractmethod
    def _decode(self, outputs):
        """Predictions from the mean outputs of the members."""

    @abstractmethod
    def _weigh(self, y, weight):
        """Weights of the samples."""

    @abstractmethod
    def _score(self, y, prediction, weight):
        """The score of a prediction."""

    @abstractmethod
    def _out_of_fold(self, outputs, y, weight):
        """The value of ``oof_prediction_`` for the outputs for rows that were not trained on."""

    @one_at_a_time
    def fit(
        self,
        X: Any,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        eval_X: Any = None,
        eval_y: ArrayLike | None = None,
        callbacks: Callbacks | None = None,
        checkpoints: StrPath | None = None,
    ) -> Self:
        """Learn the columns of a table, and train the members.

        Parameters
        ----------
        X : frame or array of shape (n_samples, n_features)
            A frame of pandas, polars or another library that narwhals supports, an Arrow table, an array or a list of
            rows: numbers, booleans, strings, categories and dates, with missing values.
        y : array-like of shape (n_samples,), or for a regressor (n_samples, n_outputs)
            Targets, without missing values.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples in the loss.
        eval_X, eval_y : table and targets, default=None
            Rows that are not trained on: each member keeps the weights of its best epoch on them, by accuracy, or by
            the loss of a regressor. Without them all epochs count, which is usually better than to give up rows.
        callbacks : fastmlp.Callback, function (model, epoch, results), or a list, default=None
            Called after each epoch of each member, with the member (an MLP); return True to stop its training. Members
            are trained in threads at the same time.
        checkpoints : str or Path, default=None
            Folder for the plan of the fit and a file for each member, written every 30 seconds and at the end of its
            training. To resume a fit, run it again: members go on with the same bits, those that are done are not
            trained again, and neither are the trials of the recipe. A folder of other data or parameters is refused.
            Needs an integer as ``random_state``. With a ``time_limit`` the plan of the first run is kept. Not with a
            ``communicator``.

        Returns
        -------
        self : object
            After Ctrl-C, with a warning, the members as far as they are trained. There are no ``oof_prediction_`` and
            ``score_`` then if a fold has no trained member.

        Raises
        ------
        ValueError
            If a parameter or the input is invalid, or training diverges. The estimator is then unchanged.
        """
        fitted = copy(self)  # while it is fitted, and if that fails, this estimator predicts as before
        fit = fit_of(check_communicator(self.communicator))
        with fit.training(type(self).__name__):
            X, y, sample_weight = fit.given(X, y, sample_weight)
            eval_X, eval_y = fit.broadcast((eval_X, eval_y))
            random_state = fit.generator(self.random_state)
            with fit.agreement():
                self._check_parameters()
                if checkpoints is not None and fit.parallel is not None:
                    raise ValueError("checkpoints is not available with a communicator.")
                if y is None:
                    raise ValueError(f"{type(self).__name__} requires y to be passed, but the target y is None.")
                if (eval_X is None) != (eval_y is None):
                    raise ValueError("eval_X and eval_y must be given together.")
                fit.check_independent(type(self).__name__, time_limit=self.time_limit is not None)
                random_state = check_seed(random_state)
                given = fitted._encoded(X, y, sample_weight, eval_X, eval_y, random_state)
            names, rows = ("epochs", "n_members", "n_folds", "matmul_precision"), given[0]
            settings = {name: getattr(self, name) for name in names} | {"hidden_layer_sizes": self._hidden_sizes()}
            fit.check_same(
                lambda: settings | columns_and_classes(fitted), Samples(rows.matrix, rows.targets, rows.weight)
            )
            files = None
            if checkpoints is not None:
                settings |= {"time_limit": self.time_limit, "random_state": self.random_state, "loss": given[3].loss}
                files = MemberFiles(checked_folder(checkpoints, self.random_state), type(self), settings, given[:2])
            fitted._train(y, given, callbacks, fit, random_state, files)
        for name in ("feature_names_in_", *OF_FOLDS):
            self.__dict__.pop(name, None)
        parameters = self.get_params(deep=False)
        self.__dict__.update({name: value for name, value in vars(fitted).items() if name not in parameters})
        return self

    def _hidden_sizes(self):
        return np.atleast_1d(np.asarray(self.hidden_layer_sizes, object)).tolist()

    def _check_parameters(self):
        for size in self._hidden_sizes():
            check_integer("each of hidden_layer_sizes", size, 1)
        check_memory(sum(a * b for a, b in pairwise([1, *self._hidden_sizes(), 1])), np.float32)
        if self.epochs is not None:
            check_integer("epochs", self.epochs, 1)
        check_integer("n_members", self.n_members, 1)
        if self.n_folds is not None:
            check_integer("n_folds", self.n_folds, 2)
        if self.time_limit is not None:
            check_real("time_limit", self.time_limit, 0, open_low=True)
        check_n_jobs(self.n_jobs)
        check_seed(self.random_state)
        check_flags(progress=self.progress)
        check_precision(self.matmul_precision)

    def _encoded(self, X, y, sample_weight, eval_X, eval_y, random_state):
        """(Rows, encoded validation rows or None, the rows of each fold, Task)"""
        rows = self._fit_rows(X, y, sample_weight)
        validation = None if eval_X is None else (self.encoder_.transform(eval_X), self._encode_targets(eval_y))
        folds = []
        if self.n_folds is not None:
            folds = folds_of(self.n_folds, rows.targets, rows.labels, random_state.randint(2**31))
            check_weights_of_folds(folds, rows.weight)
        return rows, validation, folds, self._task(len(rows.matrix))

    def _train(self, y, given, callbacks, fit, random_state, files):
        """Choose the variants of the recipe, and train the members on what ``_encoded`` has given."""
        rows, validation, folds, task = given
        options = Options(validation, callbacks, self.n_jobs, self.progress and fit.leads, fit, files)
        n_epochs = epochs_for(task.n_rows) if self.epochs is None else self.epochs

        def make():
            plan = plan_for(task, rows, folds, n_epochs, self.n_members, self.time_limit, options, random_state)
            return plan, [random_state.randint(2**31) for _ in plan.variants]

        plan, seeds = make() if files is None else files.planned(make, parts_of(task.n_rows, folds))
        members = [new_member(task, variant, plan.n_epochs, seed) for variant, seed in zip(plan.variants, seeds)]
        train(members, rows, plan, options)
        self.members_ = trained(members)
        if not self.members_:
            raise KeyboardInterrupt
        self._set_scores(y, rows, outputs_of_folds(members, folds, rows.matrix) if folds else None)

    def _fit_rows(self, X, y, sample_weight):
        """Learn the columns and the targets. Returns them encoded."""
        min_frequency = MIN_FREQUENCY if as_table(X).shape[0] >= ROWS_FOR_RARE else 1
        encoder = TableEncoder(min_frequency=min_frequency)
        matrix = encoder.fit_transform(X)
        self._set_encoder(encoder)
        weight = check_weights(sample_weight, matrix, y, "squared_error", matrix.dtype, False)
        targets, labels = self._fit_targets(y, weight)
        if len(targets) != len(matrix):
            raise ValueError(
                f"Found input variables with inconsistent numbers of samples: {[len(matrix), len(targets)]}"
            )
        return Rows(matrix, targets, labels, weight, self._weigh(targets, weight))

    def _task(self, n_rows):
        kind, loss, n_outputs = self._member_settings()
        return Task(
            self.encoder_.encoded, kind, loss, self._hidden_sizes(), n_outputs, n_rows, self.n_jobs,
            self.matmul_precision,
        )  # fmt: skip

    def _set_scores(self, y, rows, outputs):
        """Set the attributes of a fit with folds from outputs for held-out rows, or remove them for None."""
        for name in OF_FOLDS:
            vars(self).pop(name, None)
        if outputs is not None:
            self.oof_prediction_ = self._out_of_fold(outputs, y, rows.sample_weight)
            self.score_ = self._score(y, self._decode(outputs), rows.sample_weight)

    def _outputs(self, X):
        check_is_fitted(self)
        return mean_outputs(self.members_, self.encoder_.transform(X))

    def importances(
        self, X: Any, y: ArrayLike, *, n_repeats: int = 5, random_state: RandomState = None
    ) -> dict[str, tuple[float, float]]:
        """Permutation importances: how much the score drops if a column is shuffled (Breiman 2001).

        Parameters
        ----------
        X, y : table and targets
            Rows that were not trained on.
        n_repeats : int, default=5
            Number of shuffles of each column.
        random_state : int, RandomState or None, default=None

        Returns
        -------
        dict of str to (float, float)
            For each column, the most important first, the mean of the drop and its standard deviation.
        """
        check_is_fitted(self)
        if isinstance(X, Mapping):
            raise TypeError("importances need rows that can be shuffled: pass a frame or an array instead of a dict.")
        found = permutation_importance(self, X, y, n_repeats=n_repeats, random_state=random_state)
        names = self.encoder_.names_in(X)
        order = np.argsort(-found.importances_mean, kind="stable")
        return {
            names[i]: (float(found.importances_mean[i]), float(found.importances_std[i])) for i in order
        }  # fmt: skip

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = tags.input_tags.categorical = True
        return tags
