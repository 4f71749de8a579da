"""Fits of the estimators by scikit-learn's rules: stopping, learning rates, recorded attributes and messages."""

import math
import warnings
from functools import partial
from typing import NamedTuple

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from fastmlp.backends.cost_model import Work
from fastmlp.model.layered_network import choose_backend
from fastmlp.training.callbacks import NO_CALLBACKS, CombinedCallbacks
from fastmlp.training.epochs import Epochs
from fastmlp.training.lbfgs import Limits
from fastmlp.training.outcomes import DivergenceError
from fastmlp.training.state import TrainingState
from fastmlp.training.stopping import NoStopping, Tolerance, ToleranceState
from fastmlp.training.streams import Stream, StreamedEpochs
from fastmlp.training.trainer import COMPLETED, DIVERGED, INTERRUPTED, STOPPED, Recorder, Trainer

from .evaluation import Evaluation, HeldOut
from .samples import block

# scikit-learn's message, the state of the estimator, and what to do.
DIVERGED_MESSAGE = (
    "Solver produced non-finite parameter weights. The input data may contain large values and need to be "
    "preprocessed. {where}; the estimator is fitted with the weights of {kept}. Scale inputs and targets "
    "(StandardScaler){more}."
)
CURVES = "loss_curve_", "best_loss_", "validation_scores_", "best_validation_score_"


class FitCall(NamedTuple):
    """Arguments of a call of ``fit``, ``partial_fit`` or ``fit_stream``.

    Attributes
    ----------
    first_pass : bool
        Whether new weights are drawn.
    before : dict
        Attributes of the estimator before the call.
    n_epochs, classes
        Arguments of ``partial_fit``; ``n_epochs`` is None in other calls.
    stream : Stream or None
        The blocks of ``fit_stream``.
    evaluation : Evaluation or None
        Evaluation sets.
    callbacks : CombinedCallbacks
    """

    first_pass: bool
    before: dict
    n_epochs: int | None = None
    classes: np.ndarray | None = None
    stream: Stream | None = None
    evaluation: Evaluation | None = None
    callbacks: CombinedCallbacks = NO_CALLBACKS

    @property
    def in_parts(self):
        """Whether the samples at hand are only a part of the training data."""
        return self.n_epochs is not None or self.stream is not None


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


def follows(estimator, schedule):
    """Whether the learning rate follows this scikit-learn schedule; they do not apply to Adam."""
    solver = estimator.solver
    solver = solver[0] if isinstance(solver, tuple) else getattr(solver, "name", solver)
    return estimator.learning_rate == schedule and solver != "adam"


class EpochRecorder(Recorder):
    """Sets the attributes and prints the messages of scikit-learn's estimators, for stochastic solvers."""

    def __init__(self, estimator, call, stopping):
        self._estimator, self._call, self._stopping = estimator, call, stopping

    def after_epoch(self, loss, n_samples):
        estimator = self._estimator
        estimator.loss_ = loss
        if estimator.verbose:  # before n_iter_ changes: if print fails in the first epoch, the old weights are restored
            print(f"Iteration {estimator.n_iter_ + 1}, loss = {loss:.8f}")
        estimator.n_iter_ += 1
        estimator.t_ += n_samples
        estimator.loss_curve_.append(loss)

    def after_scores(self, results):
        self._note_score()
        estimator = self._estimator
        if follows(estimator, "invscaling"):
            estimator._set_learning_rate(estimator._initial_rate / (estimator.t_ + 1) ** estimator.power_t)

    def _note_score(self):
        estimator, best = self._estimator, self._estimator._net.progress.best_score
        if not self._stopping.by_score:
            estimator.best_loss_ = -best
            return
        estimator.validation_scores_.append(self._stopping.score)
        estimator.best_validation_score_ = best
        if estimator.verbose:
            print(f"Validation score: {self._stopping.score:f}")

    def after_callbacks(self):
        self._estimator._net.current_parameters()  # copies arrays that callbacks have assigned to coefs_

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
        best = estimator._net.progress.best_parameters
        if estimator.early_stopping and best is not None:
            estimator._net.parameters[...] = best

    def after_fit(self, result):
        estimator, error = self._estimator, None
        if result.status == DIVERGED:
            error = self._divergence()
        elif result.status == INTERRUPTED:
            estimator._net.training.drop_epoch_in_progress()
            warnings.warn("Training interrupted by user.")
            if self._call.n_epochs is not None:  # ends a loop around partial_fit too
                return KeyboardInterrupt()
        elif result.status == COMPLETED and not self._call.in_parts:
            message = f"Stochastic Optimizer: Maximum iterations ({estimator.max_iter}) reached and the optimization"
            warnings.warn(f"{message} hasn't converged yet.", ConvergenceWarning)
        self._stopping.restore()
        return error

    def _divergence(self):
        """The DivergenceError to raise, or None after a warning if early stopping has weights to restore."""
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


class LbfgsRecorder(EpochRecorder):
    """Sets the attributes after iterations of L-BFGS, which has curves only if there are evaluation sets."""

    def after_epoch(self, loss, n_samples):
        estimator = self._estimator
        if estimator.verbose:
            print(f"Loss = {loss:.8f}")
        estimator.loss_ = loss
        estimator.n_iter_ += 1
        if self._call.evaluation is not None:
            estimator.loss_curve_.append(loss)

    def after_scores(self, results):
        if self._call.evaluation is not None:
            self._note_score()

    def after_callbacks(self):
        """Do nothing: L-BFGS overwrites whatever a callback assigns to coefs_."""

    def after_fit(self, result):
        estimator, solution, error = self._estimator, result.solution, None
        estimator._net.bind(estimator._net.parameters)
        if solution is not None:  # it is None if a second Ctrl-C came at once
            estimator.n_iter_ = min(solution.nit, estimator.max_iter)
            estimator.loss_ = float(solution.fun)
        if result.status == INTERRUPTED:
            warnings.warn("Training interrupted by user.")
        elif result.status == DIVERGED:
            kept = f"the end of iteration {estimator.n_iter_}"
            where = f"lbfgs diverged in iteration {estimator.n_iter_ + 1}"
            error = DivergenceError(DIVERGED_MESSAGE.format(where=where, kept=kept, more=""))
        elif solution.status != 0 and result.status != STOPPED:
            more = f" Increase max_iter (now {estimator.max_iter})." if estimator.n_iter_ == estimator.max_iter else ""
            message = (
                f"lbfgs failed to converge after {estimator.n_iter_} iteration(s) (status={solution.status}): "
                f"{solution.message}.{more} You might also want to scale the data (StandardScaler)."
            )
            warnings.warn(message, ConvergenceWarning)
        self._stopping.restore()
        return error


def restore(estimator, before):
    """Restore the attributes that an estimator had before a call."""
    vars(estimator).clear()
    vars(estimator).update(before)


def lbfgs_fit(estimator, call, problem, samples):
    """Prepare a fit by L-BFGS. Returns a function without arguments that runs it."""
    for name in CURVES:  # set by an earlier fit
        vars(estimator).pop(name, None)
    estimator._net.progress, estimator.n_iter_, stopping = ToleranceState(), 0, NoStopping()
    state = TrainingState.without_optimizer(estimator._net.parameters)
    if call.evaluation is not None:
        start_curves(estimator)
    start_monitoring(estimator, call.evaluation)
    if call.evaluation is not None:
        stopping = Tolerance(
            state, estimator._net.progress, estimator.tol, estimator.n_iter_no_change,
            by_score=estimator.early_stopping, stops=estimator.early_stopping,
        )  # fmt: skip
    trainer = Trainer(
        problem, state, LbfgsRecorder(estimator, call, stopping), stopping=stopping, scorer=call.evaluation,
        callbacks=call.callbacks, n_jobs=estimator.n_jobs,
    )  # fmt: skip
    return partial(trainer.minimise, samples, Limits(estimator.max_iter, estimator.max_fun, estimator.tol))


def stochastic_fit(estimator, call, plan, problem, samples, held_out):
    """Prepare a fit by gradient descent. Returns a function without arguments that runs it.

    ``held_out`` are the validation Samples of early stopping, or None.
    """
    is_partial_fit = call.n_epochs is not None
    if estimator._net.training is None or not is_partial_fit:
        estimator._net.training = TrainingState.start(estimator._net.parameters, plan.optimizer)
        estimator._initial_rate = plan.optimizer.learning_rate
    state = estimator._net.training
    if problem.noise is not None:
        if not state.seed:
            state.seed = int(estimator._random_state.randint(2**63 - 1, dtype=np.int64))
        problem = problem._replace(noise=problem.noise._replace(seed=state.seed))
    if not hasattr(estimator, "loss_curve_") or estimator.early_stopping != (estimator.best_loss_ is None):
        start_curves(estimator)  # an earlier fit had another solver or stopping rule
    problem, new_epochs = _epochs(estimator, call, problem, samples)
    if not is_partial_fit:
        start_monitoring(estimator, call.evaluation)
    estimator.n_iter_ = 0
    stopping = Tolerance(
        state, estimator._net.progress, estimator.tol, estimator.n_iter_no_change, by_score=estimator.early_stopping,
        lower_rate=follows(estimator, "adaptive"), stops=not is_partial_fit, log=print if estimator.verbose else None,
    )  # fmt: skip
    scorer = call.evaluation if held_out is None else HeldOut(estimator, held_out)
    trainer = Trainer(
        problem, state, EpochRecorder(estimator, call, stopping), stopping=stopping, scorer=scorer,
        callbacks=call.callbacks, n_jobs=estimator.n_jobs,
    )  # fmt: skip
    return partial(trainer.descend, new_epochs, call.n_epochs or estimator.max_iter)


def _epochs(estimator, call, problem, samples):
    """(problem with the chosen backend, function that makes its Epochs)"""
    state, stream, n_samples = estimator._net.training, call.stream, samples.X.shape[0]
    batch_size = 200 if estimator.batch_size == "auto" else int(estimator.batch_size)
    if stream is not None:
        n_samples = stream.n_samples or n_samples
    else:
        if estimator.batch_size != "auto" and batch_size > n_samples:
            warnings.warn("Got `batch_size` less than 1 or larger than sample size. It is going to be clipped")
        batch_size = min(batch_size, n_samples)
    if estimator.backend == "auto":
        n_steps = -(-n_samples // batch_size) * (call.n_epochs or estimator.max_iter)
        found = choose_backend(Work(problem.network, batch_size, n_steps), estimator._net.parameters)
        estimator.backend_, kernels, estimator.backend_reason_ = found
        problem = problem._replace(kernels=kernels)
    steps = problem.kernels.describe(
        problem.network, state.optimizer, estimator._net.parameters.dtype, batch_size, problem.penalty, problem.noise,
        samples.weight is not None,
    )  # fmt: skip
    estimator.backend_reason_ += f"; {steps}" if steps else ""
    if stream is None:
        shuffled = estimator._shuffled if estimator.shuffle else None
        return problem, partial(Epochs, problem, state, batch_size, samples, shuffled)
    permutation = estimator._random_state.permutation if estimator.shuffle else None
    parts = partial(stream.parts, batch_size, permutation, partial(block, estimator))
    return problem, partial(StreamedEpochs, problem, state, batch_size, parts, stream.n_samples)
