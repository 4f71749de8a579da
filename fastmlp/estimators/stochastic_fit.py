"""Epochs of 'sgd' and 'adam' with scikit-learn's rules: when to stop, what to hold out, how the rate falls."""

import math
import warnings
from functools import partial

import numpy as np
from scipy.sparse import issparse
from sklearn.base import is_classifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split

from fastmlp.backends import registry
from fastmlp.backends.cost_model import Work
from fastmlp.model.layered_network import choose_for
from fastmlp.training.epochs import Diverged, DivergenceError, Epochs, Interrupted
from fastmlp.training.state import TrainingState
from fastmlp.training.stopping import NOTHING_WATCHED
from fastmlp.training.streams import StreamedEpochs

from .architecture import optimizer_of, penalty_of
from .sklearn_optimizer import ScikitOptimizer

# scikit-learn's message, then what is left and what to do.
DIVERGED_MESSAGE = (
    "Solver produced non-finite parameter weights. The input data may contain large values and need to be "
    "preprocessed. {where}; the estimator is fitted with the weights of {kept}. Scale inputs and targets "
    "(StandardScaler){more}."
)


class StochasticFit:
    """Mixin of the estimators: the fit of a stochastic solver, and the curves that it leaves behind."""

    @property
    def _optimizer(self):
        """The learning rates of the last fit, where scikit-learn's estimators have them."""
        if getattr(self, "_training", None) is None:
            raise AttributeError(f"{type(self).__name__} has no '_optimizer' before a fit, or after one by 'lbfgs'.")
        return ScikitOptimizer(self)

    def _start_curves(self):
        self.loss_, self.loss_curve_ = np.inf, []
        self._no_improvement_count = 0
        self.best_loss_, self.validation_scores_, self.best_validation_score_ = np.inf, None, None
        if self.early_stopping:
            self.best_loss_, self.validation_scores_, self.best_validation_score_ = None, [], -np.inf

    def _follows(self, schedule):
        """Whether the rate follows one of scikit-learn's schedules: they are not for Adam."""
        solver = self.solver[0] if isinstance(self.solver, tuple) else self.solver
        return self.learning_rate == schedule and solver != "adam"

    def _fit_stochastic(
        self, kernels, X, y, sample_weight, held_out, epochs, interruption, callbacks, evaluation, stream
    ):  # fmt: skip
        """``epochs``: of partial_fit, or None for as many as it takes. ``stream``: what gives the rows, or None.

        Returns the error of a fit that diverged, or None.
        """
        incremental = epochs is not None
        if self._training is None or not incremental:
            self._training = TrainingState.start(self._parameters, optimizer_of(self, self._network))
            self._initial_rate = self._training.optimizer.learning_rate
        if self._noise is not None and not self._training.seed:
            self._training.seed = int(self._random_state.randint(2**63 - 1, dtype=np.int64))
        if not hasattr(self, "loss_curve_") or self.early_stopping != (self.best_loss_ is None):
            self._start_curves()  # an earlier fit had another solver or rule for stopping
        run = self._learning(kernels, X, y, sample_weight, epochs or self.max_iter, interruption, stream)
        if not incremental:
            self._begin_watching(evaluation)
        self.n_iter_, error = 0, None
        tells = bool(callbacks)
        try:
            for _ in range(epochs if incremental else self.max_iter):
                if tells:
                    callbacks.before_epoch()
                self.loss_ = run.run()
                if self.verbose:  # before the epoch counts: after an error in the first one the old weights return
                    print(f"Iteration {self.n_iter_ + 1}, loss = {self.loss_:.8f}")
                self.n_iter_ += 1
                self.t_ += run.rows_of_epoch
                self.loss_curve_.append(self.loss_)
                if evaluation is not None:
                    evaluation.note()
                self._watch(held_out, evaluation)
                if self._follows("invscaling"):
                    self._set_learning_rate(self._initial_rate / (self.t_ + 1) ** self.power_t)
                if tells:
                    ends = callbacks.after_epoch({"loss": self.loss_} | (evaluation.last() if evaluation else {}))
                    self._current_parameters()  # with what they have put into coefs_
                    if ends:
                        break
                if self._no_improvement_count > self.n_iter_no_change and self._is_over() and not incremental:
                    break
            else:
                if not incremental and stream is None:
                    message = f"Stochastic Optimizer: Maximum iterations ({self.max_iter}) reached and the optimization"
                    warnings.warn(f"{message} hasn't converged yet.", ConvergenceWarning)
            if interruption.requested:  # in the last moment
                raise Interrupted
        except Diverged:
            error = self._diverged()
        except (Interrupted, KeyboardInterrupt):
            self._training.drop_epoch_in_progress()
            warnings.warn("Training interrupted by user.")
            if incremental:  # a loop of partial_fit must end too
                raise KeyboardInterrupt from None
        self._restore_best()
        return error

    def _diverged(self):
        """The error of a fit that has just diverged. Where early stopping has weights to restore only a warning."""
        where, kept = f"Training diverged in iteration {self.n_iter_ + 1}", f"the end of iteration {self.n_iter_}"
        restores = self.early_stopping and self._best_parameters is not None
        message = DIVERGED_MESSAGE.format(
            where=where, kept="its best iteration" if restores else kept,
            more=f", or lower the learning rate (now {self._training.optimizer.learning_rate:g})",
        )  # fmt: skip
        if not restores:
            return DivergenceError(message)
        self.n_iter_ += 1  # the best one is before it
        self.loss_ = math.nan
        self.loss_curve_.append(math.nan)
        self.validation_scores_.append(math.nan)
        warnings.warn(message, ConvergenceWarning)
        return None

    def _learning(self, kernels, X, y, sample_weight, epochs, interruption, stream):
        """The Epochs or StreamedEpochs of a fit, on the backend that is chosen for them."""
        n_rows, batch_size = X.shape[0], 200 if self.batch_size == "auto" else int(self.batch_size)
        if stream is not None:
            n_rows = stream.n_rows or n_rows
        else:
            if self.batch_size != "auto" and batch_size > n_rows:
                warnings.warn("Got `batch_size` less than 1 or larger than sample size. It is going to be clipped")
            batch_size = min(batch_size, n_rows)
        if self.backend == "auto":
            work = Work(self._network, batch_size, -(-n_rows // batch_size) * epochs)
            self.backend_, kernels, self.backend_reason_ = choose_for(work, self._parameters)
        self.backend_reason_ += registry.kernels_of(
            self.backend_, self._network, self._training.optimizer, self._parameters.dtype, batch_size,
            penalty_of(self), self._noise, sample_weight is not None,
        )  # fmt: skip
        learner = kernels, self._network, self._training
        options = {
            "batch_size": batch_size, "alpha": float(self.alpha), "penalty": penalty_of(self),
            "noise": self._noise and self._noise._replace(seed=self._training.seed), "interruption": interruption,
        }  # fmt: skip
        if stream is None:
            return Epochs(*learner, X, y, sample_weight, shuffle=self._shuffled if self.shuffle else None, **options)
        permutation = self._random_state.permutation if self.shuffle else None
        pieces = partial(stream.pieces, batch_size, permutation, self._checked_block)
        return StreamedEpochs(*learner, pieces, n_rows=stream.n_rows, **options)

    def _restore_best(self):
        """Put back the weights that early stopping found the best, if it did."""
        if not self.early_stopping:
            return
        if self._best_parameters is not None:
            self._parameters[...] = self._best_parameters
        elif self.n_iter_ and np.isnan(self.validation_scores_[-self.n_iter_ :]).all():
            warnings.warn(NOTHING_WATCHED)

    def _keep_weights(self):
        """End a fit that an error cuts short with the weights so far, or the best ones."""
        if self._training is not None:
            self._training.drop_epoch_in_progress()
        try:
            self._current_parameters()
        except Exception:  # a callback has put something else into coefs_
            self._bind(self._parameters)
        if self.early_stopping and self._best_parameters is not None:
            self._parameters[...] = self._best_parameters

    def _shuffled(self, order):
        """scikit-learn's: each epoch permutes the order of the last."""
        return order[self._random_state.permutation(len(order))]

    def _hold_out(self, X, y, sample_weight):
        """Split off the validation set, stratified for classes. Returns (X, y, weights, (X, y, weights) held out)."""
        # As booleans, which scikit-learn's estimator has here too and shows in the errors of the split.
        stratify = y > y.min() if is_classifier(self) and self.n_outputs_ == 1 else None
        arrays = (X, y) if sample_weight is None else (X, y, sample_weight)
        try:
            parts = train_test_split(
                *arrays, random_state=self._random_state, test_size=self.validation_fraction, stratify=stratify
            )
        except ValueError as error:
            shows_bool = "'True'" in str(error) or "'False'" in str(error)
            if shows_bool and self.classes_.dtype != bool:
                labels = " and ".join(map(repr, self.classes_.tolist()))
                raise ValueError(f"{error} (False and True stand for the labels {labels} of y.)") from error
            raise
        train, validation = [*parts[0::2], None][:3], [*parts[1::2], None][:3]
        if validation[0].shape[0] < 2:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' or the size of your dataset."
            )
        X, y = (train[0] if issparse(X) else np.ascontiguousarray(train[0])), np.ascontiguousarray(train[1])
        return X, y, train[2], validation

    def _begin_watching(self, evaluation):
        """Forget the scores of an earlier fit, if they were of other rows, or other scores."""
        had_set = vars(self).pop("evals_result_", None) is not None
        if evaluation is not None:
            self.evals_result_ = evaluation.results
        if self.early_stopping and (had_set or evaluation is not None):
            self.best_validation_score_, self._best_parameters, self._no_improvement_count = -np.inf, None, 0

    def _watch(self, held_out, evaluation):
        """Keep weights that early stopping finds the best so far."""
        score = None  # early stopping watches the loss where it is off
        if self.early_stopping:
            score = evaluation.watched if held_out is None else self._score_of_held_out(*held_out)
        if self._note_progress(score):
            self._best_parameters = self._parameters.copy()

    def _score_of_held_out(self, X, y, sample_weight):
        return -self._mean_loss(X, y, sample_weight) if self._watches_loss() else self._score(X, y, sample_weight)

    def _note_progress(self, score):
        """Count epochs without improvement. True where the validation score is the best so far."""
        if score is None:
            improved = self.loss_ <= self.best_loss_ - self.tol
            self.best_loss_ = min(self.best_loss_, self.loss_)
            is_best = False
        else:
            self.validation_scores_.append(score)
            if self.verbose:
                print(f"Validation score: {score:f}")
            improved = not score < self.best_validation_score_ + self.tol
            is_best = score > self.best_validation_score_
            self.best_validation_score_ = score if is_best else self.best_validation_score_
        self._no_improvement_count = 0 if improved else self._no_improvement_count + 1
        return is_best

    def _is_over(self):
        """No more improvement: stop, unless an adaptive learning rate can still be lowered."""
        what = "Validation score" if self.early_stopping else "Training loss"
        message = f"{what} did not improve more than tol={self.tol:f} for {self.n_iter_no_change} consecutive epochs."
        rate = self._training.optimizer.learning_rate
        adaptive = self._follows("adaptive")
        stop = not adaptive or rate <= 1e-6
        if stop:
            message += " Learning rate too small. Stopping." if adaptive else " Stopping."
        else:
            self._set_learning_rate(rate / 5)
            self._no_improvement_count = 0
            message += f" Setting learning rate to {rate / 5:f}"
        if self.verbose:
            print(message)
        return stop

    def _set_learning_rate(self, rate):
        self._training.optimizer = self._training.optimizer._replace(learning_rate=rate)
