"""Fits of the estimators by scikit-learn's rules: stopping, learning rates and batches."""

import warnings
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from fastmlp.backends.cost_model import Work
from fastmlp.distributed.fits import ALONE, Alone
from fastmlp.kernels.spec import is_by_target
from fastmlp.model.backend_choice import choose_backend
from fastmlp.model.exclusive import note_state
from fastmlp.model.settings import columns_and_classes, network_settings
from fastmlp.training.callbacks import NO_CALLBACKS, CombinedCallbacks
from fastmlp.training.full_batch import Limits, solver_of
from fastmlp.training.shuffling import Shuffle
from fastmlp.training.state import TrainingState
from fastmlp.training.stopping import NoStopping, Tolerance, ToleranceState
from fastmlp.training.streams import Stream
from fastmlp.training.windows import Windows

from .architecture import follows
from .evaluation import Evaluation, HeldOut
from .recorders import CURVES, EpochRecorder, FullBatchRecorder, read_best, start_curves, start_monitoring
from .resuming import SavedFit
from .samples import block

FLOAT64 = "float64, because X is not float32: training with dtype='float32' is up to twice as fast"


class FitCall(NamedTuple):
    """Arguments of a call of ``fit``, ``partial_fit`` or ``fit_stream``.

    Attributes
    ----------
    first_pass : bool
        Whether new weights are drawn.
    before : dict
        Attributes of the estimator before the call.
    n_epochs : int or None
        Argument of ``partial_fit``.
    classes : array-like or None
        Every possible label, if the samples at hand may lack some.
    stream : Stream or None
        The blocks of ``fit_stream``.
    evaluation : Evaluation or None
        Evaluation sets.
    callbacks : CombinedCallbacks
    fit : Alone or Together
        How the fit is run: by this process alone, or with other ranks.
    random_state : int, RandomState or None
        That of the estimator, or with ``random_state=None`` in several processes that of rank 0.
    checkpoint : SavedFit or None
        The fit that this one resumes.
    """

    first_pass: bool
    before: dict
    n_epochs: int | None = None
    classes: np.ndarray | None = None
    stream: Stream | None = None
    evaluation: Evaluation | None = None
    callbacks: CombinedCallbacks = NO_CALLBACKS
    fit: Alone = ALONE
    random_state: Any = None
    checkpoint: SavedFit | None = None

    @classmethod
    def of(cls, estimator, **given):
        """A call of an estimator's method with these arguments, from the state that the estimator has now."""
        continues = estimator._net is not None and (estimator.warm_start or given.get("n_epochs") is not None)
        return cls(not continues, dict(vars(estimator)), random_state=estimator.random_state, **given)

    @property
    def in_parts(self):
        """Whether the samples at hand are only a part of the training data."""
        return self.n_epochs is not None or self.stream is not None or self.fit.has_own_rows


def full_batch_fit(estimator, call, problem, samples, held_out):
    """Prepare a fit by 'lbfgs' or 'lm'. Returns a function without arguments that runs it.

    ``held_out`` are the validation Samples of early stopping, or None. As in scikit-learn, 'lbfgs' has no curves
    without evaluation sets.
    """
    for name in CURVES:  # set by an earlier fit
        vars(estimator).pop(name, None)
    estimator._net.progress, estimator.n_iter_, stopping = ToleranceState(), 0, NoStopping()
    state = TrainingState.without_optimizer(estimator._net.parameters)
    scorer = _scorer(estimator, call, held_out)
    has_curves = scorer is not None or estimator.solver != "lbfgs"
    if has_curves:
        start_curves(estimator)
    start_monitoring(estimator, call.evaluation)
    if has_curves:
        stopping = Tolerance(
            state, estimator._net.progress, estimator, by_score=estimator.early_stopping,
            stops=estimator.early_stopping,
        )  # fmt: skip
    note_state(estimator, state)
    call.fit.begin(state, estimator._random_state)
    trainer = call.fit.trainer(
        problem, state, FullBatchRecorder(estimator, call, stopping), stopping=stopping, scorer=scorer,
        callbacks=call.callbacks, n_jobs=estimator.n_jobs,
    )  # fmt: skip
    limits = Limits(estimator.max_iter, estimator.max_fun, estimator.tol)
    return partial(trainer.minimise, call.fit.solver(solver_of(estimator.solver, estimator.alpha)), samples, limits)


def _scorer(estimator, call, held_out):
    """What is scored after each epoch: evaluation sets, held-out Samples, or None."""
    return call.evaluation if held_out is None else HeldOut(estimator, call.fit.gathered(held_out))


def settings_of(estimator, call, plan, problem, samples):
    """What must be the same on all ranks, by its name in error messages."""
    names = "max_iter", "batch_size", "shuffle", "early_stopping", "backend", "scale", "class_weight"
    own = {name: getattr(estimator, name) for name in names if hasattr(estimator, name)} | {
        "dtype": str(estimator._net.parameters.dtype), "optimizer": plan.optimizer or estimator.solver,
        "penalties": problem.penalty, "target_values": getattr(estimator, "_targets", None),
        "sparse y": getattr(estimator, "_sparse_labels", False),
        "noise": problem.noise and problem.noise._replace(seed=0), "sample weights": samples.weight is not None,
        "epochs": call.n_epochs, "evaluation sets": call.evaluation and call.evaluation.names(),
        "a fitted network": not call.first_pass, **columns_and_classes(estimator),
    }  # fmt: skip
    return network_settings(problem.network) | own | ({} if call.stream is None else call.stream.settings())


def stochastic_fit(estimator, call, plan, problem, samples, held_out):
    """Prepare a fit by gradient descent. Returns a function without arguments that runs it.

    ``held_out`` are the validation Samples of early stopping, or None.
    """
    is_partial_fit = call.n_epochs is not None
    if estimator._net.training is None or not is_partial_fit:
        estimator._net.training = TrainingState.start(estimator._net.parameters, plan.optimizer)
        estimator._initial_rate = plan.optimizer.learning_rate
    if call.checkpoint is not None:
        call.checkpoint.take_state(estimator)
    state = estimator._net.training
    if problem.noise is not None and not state.seed:
        state.seed = int(estimator._random_state.randint(2**63 - 1, dtype=np.int64))
    note_state(estimator, state)
    call.fit.begin(state, estimator._random_state)
    if problem.noise is not None:
        problem = problem._replace(noise=problem.noise._replace(seed=state.seed))
    if not hasattr(estimator, "loss_curve_") or estimator.early_stopping != (estimator.best_loss_ is None):
        start_curves(estimator)  # an earlier fit had another solver or stopping rule
    problem, new_epochs = _epochs(estimator, call, problem, samples)
    if not is_partial_fit:
        start_monitoring(estimator, call.evaluation)
    estimator.n_iter_ = 0
    if call.checkpoint is not None:
        call.checkpoint.take_results(estimator, call)
    read_best(estimator, estimator.early_stopping)
    stopping = Tolerance(
        state, estimator._net.progress, estimator, by_score=estimator.early_stopping,
        lower_rate=follows(estimator, "adaptive"), stops=not is_partial_fit,
        log=print if estimator.verbose and call.fit.leads else None,
    )  # fmt: skip
    if call.checkpoint is not None and estimator.n_iter_:
        stopping.resume(call.checkpoint.place.stopped)
    scorer = _scorer(estimator, call, held_out)
    trainer = call.fit.trainer(
        problem, state, EpochRecorder(estimator, call, stopping), stopping=stopping, scorer=scorer,
        callbacks=call.callbacks, n_jobs=estimator.n_jobs,
    )  # fmt: skip
    return partial(trainer.descend, new_epochs, call.n_epochs or estimator.max_iter - estimator.n_iter_)


def _epochs(estimator, call, problem, samples):
    """(problem with the chosen backend, function that makes its Epochs)"""
    state, stream = estimator._net.training, call.stream
    batch_size = 200 if estimator.batch_size == "auto" else int(estimator.batch_size)
    if stream is not None:
        n_samples = stream.n_samples or samples.X.shape[0]
    else:
        n_samples = call.fit.count(samples)
        if estimator.batch_size != "auto" and batch_size > n_samples:
            with call.fit.agreement():  # a filter may make an error of it
                warnings.warn("Got `batch_size` less than 1 or larger than sample size. It is going to be clipped")
        batch_size = min(batch_size, n_samples)
    if estimator.backend == "auto":
        n_steps = -(-n_samples // batch_size) * (call.n_epochs or estimator.max_iter)
        needs_cpu = is_by_target(problem.network.loss_options, samples.weight)
        needs_cpu = needs_cpu or call.fit.parallel is not None
        work = Work(problem.network, -(-batch_size // call.fit.n_ranks), n_steps)
        found = call.checkpoint and call.checkpoint.backend()
        found = found or choose_backend(work, estimator._net.parameters, needs_cpu)
        estimator.backend_, kernels, estimator.backend_reason_ = found
        problem = problem._replace(kernels=kernels)
    dtype = estimator._net.parameters.dtype
    steps = problem.kernels.describe(
        problem.network, state.optimizer, dtype, batch_size, problem.penalty, problem.noise, samples.weight is not None
    )  # fmt: skip
    precision = FLOAT64 if estimator.dtype is None and dtype == np.float64 else ""
    estimator.backend_reason_ = "; ".join(filter(None, (estimator.backend_reason_, steps, precision)))
    if stream is None:
        shuffled = Shuffle(estimator._random_state, from_scratch=False) if estimator.shuffle else None
        if estimator._ongoing is not None:
            estimator._ongoing.shuffle = shuffled
        if shuffled is not None and call.checkpoint is not None:
            shuffled.last = call.checkpoint.place.order
        return problem, call.fit.epochs(problem, state, batch_size, samples, shuffled)
    random_state = estimator._random_state if estimator.shuffle else None
    windows = Windows(stream, batch_size, random_state, partial(block, estimator))
    return problem, call.fit.streamed(problem, state, windows, stream.n_samples, samples.weight is not None)
