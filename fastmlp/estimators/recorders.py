"""Recorders of the estimators: attributes and messages of scikit-learn's estimators, and how a fit ends."""

import math
import warnings
from abc import ABC, abstractmethod

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from fastmlp.training.full_batch import is_bayes
from fastmlp.training.outcomes import COMPLETED, DIVERGED, INTERRUPTED, STOPPED, DivergenceError
from fastmlp.training.stopping import ToleranceState
from fastmlp.training.trainer import Recorder

from .architecture import follows
from .restoring import restore

# scikit-learn's message, the state of the estimator, and what to do.
DIVERGED_MESSAGE = (
    "Solver produced non-finite parameter weights. The input data may contain large values and need to be "
    "preprocessed. {where}; the estimator is fitted with the weights of {kept}. Scale inputs and targets "
    "(StandardScaler){more}."
)
CURVES = "loss_curve_", "best_loss_", "validation_scores_", "best_validation_score_"


def start_curves(estimator):
    """Reset the curves of an earlier fit."""
    estimator.loss_, estimator.loss_curve_, estimator._net.progress = np.inf, [], ToleranceState()
    estimator.best_loss_, estimator.validation_scores_, estimator.best_validation_score_ = np.inf, None, None
    if estimator.early_stopping:
        estimator.best_loss_, estimator.validation_scores_, estimator.best_validation_score_ = None, [], -np.inf


def start_monitoring(estimator, evaluation):
    """Reset the scores of an earlier fit if they are not comparable with those of this fit."""
    had_set = vars(estimator).pop("evals_result_", None) is not None
    if evaluation is not None:
        estimator.evals_result_ = evaluation.results
    if estimator.early_stopping and (had_set or evaluation is not None):
        estimator.best_validation_score_, estimator._net.progress = -np.inf, ToleranceState()


def read_best(estimator, by_score):
    """Continue from the estimator's best score or loss, which users and callbacks may have assigned."""
    best = estimator.best_validation_score_ if by_score else -estimator.best_loss_
    estimator._net.progress.best_score = float(best)


class EstimatorRecorder(Recorder, ABC):
    """Base class: sets the attributes of an estimator and prints messages during one FitCall."""

    def __init__(self, estimator, call, stopping):
        self._estimator, self._call, self._stopping = estimator, call, stopping
        self._prints = estimator.verbose and call.fit.leads

    def _note_score(self):
        estimator, best = self._estimator, self._estimator._net.progress.best_score
        if not self._stopping.by_score:
            estimator.best_loss_ = -best
            return
        estimator.validation_scores_.append(self._stopping.score)
        estimator.best_validation_score_ = best
        if self._prints:
            print(f"Validation score: {self._stopping.score:f}")

    def changeable(self):
        own = set(self._estimator.get_params(deep=False)) - {"communicator", "random_state"}
        names = (*own, "t_", "loss_", "best_loss_", "best_validation_score_", "_no_improvement_count", "_initial_rate")
        return {name: name for name in names if hasattr(self._estimator, name)}

    def after_error(self):
        """Keep the current weights, or restore the old attributes if the first epoch of new weights has not ended."""
        estimator = self._estimator
        if self._call.first_pass and not estimator.n_iter_:
            restore(estimator, self._call.before)
            return
        if estimator._net.training is not None:
            estimator._net.training.drop_epoch_in_progress()
        try:
            estimator._net.current_parameters()
        except Exception:  # a callback has assigned something invalid to coefs_
            estimator._net.bind(estimator._net.parameters)
        if estimator.early_stopping and estimator._net.progress.best_parameters is not None:
            self._stopping.restore()

    def after_fit(self, result):
        error, ongoing = None, self._estimator._ongoing
        if ongoing is not None and result.status == INTERRUPTED:
            ongoing.interrupt(second=result.interrupt is not None)
        elif ongoing is not None:
            ongoing.end()
        self._finish(result)
        if result.status == DIVERGED:
            error = self._divergence()
        elif result.status == INTERRUPTED:
            error = self._interruption(result.interrupt)
        else:
            self._warn_unless_converged(result)
        self._stopping.restore()
        return error

    def _interruption(self, interrupt):
        """The KeyboardInterrupt to raise, or None after a warning: as in scikit-learn, fit returns after Ctrl-C."""
        if interrupt is not None and type(interrupt) is not KeyboardInterrupt:
            return interrupt  # a subclass is an error of a callback
        warnings.warn("Training interrupted by user.")
        if self._call.n_epochs is None:
            return None
        return interrupt or KeyboardInterrupt()  # ends a loop around partial_fit too

    @abstractmethod
    def _finish(self, result):
        """Complete the attributes of the estimator."""

    @abstractmethod
    def _divergence(self):
        """The DivergenceError to raise, or None after a warning."""

    @abstractmethod
    def _warn_unless_converged(self, result):
        """Issue a ConvergenceWarning if the solver has not converged."""


class EpochRecorder(EstimatorRecorder):
    """Records epochs of a stochastic solver."""

    def __init__(self, estimator, call, stopping):
        super().__init__(estimator, call, stopping)
        self.acts_on_epochs = follows(estimator, "invscaling")

    def after_epochs(self, losses, n_samples):
        estimator = self._estimator
        estimator.loss_ = losses[-1]
        if self._prints:  # before n_iter_ changes: if print fails in the first epoch, the old weights are restored
            for number, loss in enumerate(losses, estimator.n_iter_ + 1):
                print(f"Iteration {number}, loss = {loss:.8f}")
        estimator.n_iter_ += len(losses)
        estimator.t_ += n_samples * len(losses)
        estimator.loss_curve_ += losses

    def after_scores(self, results):
        self._note_score()
        estimator = self._estimator
        if follows(estimator, "invscaling"):
            estimator._set_learning_rate(estimator._initial_rate / (estimator.t_ + 1) ** estimator.power_t)

    def after_callbacks(self):
        self._estimator._net.current_parameters()  # copies arrays that callbacks have assigned to coefs_
        read_best(self._estimator, self._stopping.by_score)

    def _finish(self, result):
        if result.status == INTERRUPTED:
            self._estimator._net.training.drop_epoch_in_progress()

    def _divergence(self):
        estimator = self._estimator
        where = f"Training diverged in iteration {estimator.n_iter_ + 1}"
        restores = estimator.early_stopping and estimator._net.progress.best_parameters is not None
        message = DIVERGED_MESSAGE.format(
            where=where, kept="its best iteration" if restores else f"the end of iteration {estimator.n_iter_}",
            more=f", or lower the learning rate (now {estimator._net.training.optimizer.learning_rate:g})",
        )  # fmt: skip
        if not restores:
            return DivergenceError(message)
        estimator.n_iter_ += 1  # count the epoch that diverged
        estimator.loss_ = math.nan
        estimator.loss_curve_.append(math.nan)
        estimator.validation_scores_.append(math.nan)
        warnings.warn(message, ConvergenceWarning)
        return None

    def _warn_unless_converged(self, result):
        if result.status == COMPLETED and not self._call.in_parts:
            warnings.warn(
                f"Stochastic Optimizer: Maximum iterations ({self._estimator.max_iter}) reached and the optimization "
                "hasn't converged yet.",
                ConvergenceWarning,
            )


class FullBatchRecorder(EstimatorRecorder):
    """Records iterations of 'lbfgs' and 'lm', with curves if the fit has started them.

    Both overwrite whatever a callback assigns to coefs_.
    """

    def after_epochs(self, losses, n_samples):
        estimator, (loss,) = self._estimator, losses  # of one iteration
        if self._prints:
            print(f"Loss = {loss:.8f}")
        estimator.loss_ = loss
        estimator.n_iter_ += 1
        if hasattr(estimator, "loss_curve_"):
            estimator.loss_curve_.append(loss)

    def after_scores(self, results):
        if hasattr(self._estimator, "loss_curve_"):
            self._note_score()

    def _finish(self, result):
        estimator = self._estimator
        estimator._net.bind(estimator._net.parameters)
        if result.solution is not None:  # it is None after a KeyboardInterrupt
            estimator.n_iter_ = min(result.solution.nit, estimator.max_iter)
            estimator.loss_ = float(result.solution.fun)
        if result.solution is not None and is_bayes(estimator.alpha):
            estimator.alpha_, estimator.effective_parameters_ = result.solution.evidence

    def _divergence(self):
        n_iter, solver = self._estimator.n_iter_, self._estimator.solver
        where, kept = f"{solver} diverged in iteration {n_iter + 1}", f"the end of iteration {n_iter}"
        return DivergenceError(DIVERGED_MESSAGE.format(where=where, kept=kept, more=""))

    def _warn_unless_converged(self, result):
        estimator, solution = self._estimator, result.solution
        if solution.status == 0 or result.status == STOPPED:
            return
        more = f" Increase max_iter (now {estimator.max_iter})." if estimator.n_iter_ == estimator.max_iter else ""
        message = (
            f"{estimator.solver} failed to converge after {estimator.n_iter_} iteration(s) (status={solution.status}): "
            f"{solution.message}.{more} You might also want to scale the data (StandardScaler)."
        )
        warnings.warn(message, ConvergenceWarning)
