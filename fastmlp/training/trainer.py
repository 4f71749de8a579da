"""Trainer, the training loop of all models: epochs of gradient descent or iterations of a full-batch solver."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from scipy.optimize import OptimizeResult

from fastmlp.backends.threads import ThreadLimit

from .callbacks import NO_CALLBACKS, CombinedCallbacks, NoBar
from .epochs import BaseEpochs
from .full_batch import Limits
from .interruption import Interruption
from .outcomes import COMPLETED, DIVERGED, INTERRUPTED, STOPPED, Diverged, Interrupted
from .problem import Problem, Samples
from .state import TrainingState
from .stopping import NoStopping, Patience, Tolerance


class Result(NamedTuple):
    """Result of a fit.

    Attributes
    ----------
    status : str
        COMPLETED, STOPPED, INTERRUPTED or DIVERGED (training/outcomes.py).
    losses : list of float
        Training loss of each epoch.
    solution : OptimizeResult or None
        The result of a full-batch solver.
    interrupt : KeyboardInterrupt or None
        What a callback raised, or a second Ctrl-C, which ends a native call at once.
    """

    status: str
    losses: list[float]
    solution: OptimizeResult | None = None
    interrupt: KeyboardInterrupt | None = None


class Scorer:
    """Base class of what computes scores after each epoch, on validation data or evaluation sets."""

    def score(self) -> tuple[dict[str, float], float]:
        """({name: score}, score to monitor)"""
        raise NotImplementedError

    def record(self, results: dict[str, float]) -> None:
        """Keep scores that another process has computed, as ``score`` keeps its own."""


class Recorder:
    """Base class of recorders, which store the results of a fit in a model. The hooks are called in this order.

    ``acts_on_epochs``: whether ``after_epoch`` reads or changes weights or optimizer, so that epochs run one by one.
    """

    acts_on_epochs = False

    def after_epochs(self, losses: list[float], n_samples: int) -> None:
        """Record epochs of ``n_samples`` samples each, or with 0 an iteration of a full-batch solver."""

    def after_scores(self, results: dict[str, float]) -> None:
        """Record the scores of an epoch, after the stopping rule has processed them."""

    def after_callbacks(self) -> None:
        """Apply changes that callbacks have made to the model."""

    def changeable(self) -> dict[str, str]:
        """{attribute of the model that callbacks may change: attribute to set in another process}"""
        return {}

    def after_error(self) -> None:
        """Leave the model usable after an error, such as one of a callback."""

    def after_fit(self, result: Result) -> BaseException | None:
        """Finish the model and issue warnings. Returns the exception to raise, or None."""


def finish_alone(recorder: Recorder, result: Result) -> BaseException | None:
    """What ``after_fit`` of a recorder returns."""
    return recorder.after_fit(result)


class Trainer:
    """Runs one fit of a network.

    Parameters
    ----------
    problem : Problem
    state : TrainingState
        Parameters and optimizer, changed in place.
    recorder : Recorder
    stopping : NoStopping, Patience or Tolerance
    scorer : Scorer, default=None
        ``score()`` returns ({name: score}, score to monitor) after an epoch.
    callbacks : CombinedCallbacks
    n_jobs : int or None
    bar : NoBar or tqdm
        Counts samples, or iterations of a full-batch solver.
    on_any : callable
        Whether something that is true in this process, or not, is true in any process that takes part in the fit.
    finish : callable
        ``finish(recorder, result)`` returns what the recorder's ``after_fit`` does.
    """

    def __init__(
        self,
        problem: Problem,
        state: TrainingState,
        recorder: Recorder,
        *,
        stopping: NoStopping | Patience | Tolerance | None = None,
        scorer: Scorer | None = None,
        callbacks: CombinedCallbacks = NO_CALLBACKS,
        n_jobs: int | None = None,
        bar: Any = None,
        on_any: Callable[[bool], bool] = bool,
        finish: Callable[[Recorder, Result], BaseException | None] = finish_alone,
    ) -> None:
        self.problem, self.state, self.recorder = problem, state, recorder
        self.stopping = NoStopping() if stopping is None else stopping
        self.scorer, self.callbacks, self.n_jobs, self.on_any = scorer, callbacks, n_jobs, on_any
        self.finish = finish
        self.bar = NoBar() if bar is None else bar
        self.losses: list[float] = []

    def descend(self, new_epochs: Callable[..., BaseEpochs], max_epochs: int) -> Result:
        """Train by gradient descent. Returns the Result.

        ``new_epochs(interruption=..., on_samples=...)`` returns Epochs or StreamedEpochs.
        """

        def on_samples(n_samples):
            self.bar.update(n_samples)
            self.callbacks.within_epoch(self.state)

        def run(interruption):
            epochs, left = new_epochs(interruption=interruption, on_samples=on_samples), max_epochs
            while left:
                self.callbacks.before_epoch()
                for losses in epochs.run(int(min(left, self._unwatched_epochs()))):
                    left -= len(losses)
                    if self._after_epochs(losses, epochs.n_samples):
                        return Result(STOPPED, self.losses)
            return Result(COMPLETED, self.losses)

        return self._train(run)

    def minimise(self, solve: Callable[..., tuple[str, OptimizeResult]], samples: Samples, limits: Limits) -> Result:
        """Train by a full-batch solver (training/full_batch.py). Returns the Result."""

        def on_iteration(loss):
            self.state.epoch += 1
            self.state.readable = self.state.parameters.copy()
            self.bar.update(1)
            return self._after_epochs([loss], 0)

        def run(interruption):
            with self.state.rewriting():
                status, solution = solve(
                    self.problem, self.state.parameters, samples, limits, interruption, on_iteration
                )  # fmt: skip
            return Result(status, self.losses, solution)

        return self._train(run, uses_blas=True)

    def _unwatched_epochs(self) -> float:
        """Number of epochs after which a callback, scorer, recorder or the stopping rule may need to run."""
        if self.callbacks or self.scorer is not None or self.recorder.acts_on_epochs:
            return 1
        return self.stopping.fewest_epochs()

    def _after_epochs(self, losses: list[float], n_samples: int) -> bool:
        """Record epochs, compute scores and call the callbacks. Returns whether to stop."""
        self.losses += losses
        self.recorder.after_epochs(losses, n_samples)
        results, monitored = ({}, None) if self.scorer is None else self.scorer.score()
        for loss in losses:
            self.stopping.after_epoch(loss, monitored)
        self.recorder.after_scores(results)
        if self.callbacks:
            self.callbacks.after_epoch({"loss": losses[-1], **results})
            self.recorder.after_callbacks()
        return self.callbacks.stop or self.stopping.is_over()

    def _train(self, run: Callable[[Interruption], Result], uses_blas: bool = False) -> Result:
        """Call ``run(interruption)`` and finish the fit, also after an error or Ctrl-C."""
        limit = ThreadLimit(self.n_jobs, self.problem.kernels, uses_blas)
        with self.bar, Interruption() as interruption, limit, self.callbacks:
            try:
                result = self._result_of(run, interruption)
                error = self.finish(self.recorder, result)
            except BaseException:  # a callback may raise SystemExit
                self.recorder.after_error()
                raise
            if error is not None:
                raise error
        return result

    def _result_of(self, run: Callable[[Interruption], Result], interruption: Interruption) -> Result:
        if self.stopping.was_over():
            return Result(STOPPED, self.losses)
        try:
            result = run(interruption)
            if self.on_any(interruption.requested):  # after the last chunk
                result = result._replace(status=INTERRUPTED)
        except Diverged:
            result = Result(DIVERGED, self.losses)
        except Interrupted:
            result = Result(INTERRUPTED, self.losses)
        except KeyboardInterrupt as interrupt:  # possibly between a chunk and its bookkeeping
            self.state.drop_epoch_in_progress()
            result = Result(INTERRUPTED, self.losses, interrupt=interrupt)
        return result
