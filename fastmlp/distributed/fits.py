"""How a fit is run: by this process alone, or together with other ranks."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial

import numpy as np
from scipy.sparse import issparse

from fastmlp.training.in_memory import Epochs
from fastmlp.training.problem import Samples
from fastmlp.training.scaling import scalings_of, summary_of
from fastmlp.training.streamed_epochs import StreamedEpochs
from fastmlp.training.trainer import Trainer
from fastmlp.training.windows import stacked

from .communication import Ranks
from .digests import digest_of
from .epochs import MemoryEpochs, RankStreamEpochs
from .lbfgs import LbfgsOfRanks
from .leader import LeadersCallbacks, LeadersScorer, LeadersStopping, synchronise
from .shares import parts_of

NEEDS_ALL = "{} needs all samples on every rank: use DataParallel with rows='all'."


class Alone:
    """A fit by this process alone.

    Attributes
    ----------
    leads : bool
        Whether this is rank 0, which shows progress.
    n_ranks : int
    place : (int, int)
        (r, n): of each n blocks of a stream this rank takes number r.
    parallel : DataParallel or None
    has_own_rows : bool
        Whether each rank has samples of its own.
    """

    leads, n_ranks, place, parallel, has_own_rows = True, 1, (0, 1), None, False

    def training(self, what, method="fit"):
        """Context manager of the whole fit of a model; ``what`` and ``method`` name it in errors."""
        return nullcontext()

    def agreement(self):
        """Context manager of checks that may fail on some ranks. Ranks must not communicate in it."""
        return nullcontext()

    def check(self, kernels, solver, batch_size, needs_all, is_streamed):
        """Raise ValueError for what several ranks cannot do.

        ``kernels`` are None if the backend is yet to be chosen, ``solver`` is the name of a full-batch solver or "",
        and ``needs_all`` is {name of what needs all samples on one rank: whether it is used}.
        """

    def decide(self, function):
        """What a function returns on rank 0, which alone calls it."""
        return function()

    def shared_out(self, tasks):
        """This rank's part of a list of independent tasks."""
        return tasks

    def collect_results(self, tasks, done):
        """Put the results of all ranks into ``tasks``; ``done`` are those of this rank."""

    def check_independent(self, name, time_limit):
        """Raise ValueError for what an estimator of several networks cannot do with several ranks."""

    def given(self, *arguments):
        """Arguments of ``fit``, which rank 0 may have to give to the others."""
        return arguments

    def broadcast(self, argument):
        """The argument that rank 0 has passed."""
        return argument

    def allgather(self, argument):
        """The arguments of all ranks, a list."""
        return [argument]

    def gathered(self, samples):
        """The Samples of all ranks on rank 0, which alone needs them."""
        return samples

    def scalings(self, parts, inputs, targets):
        """What ``scalings_of`` returns for the samples of all ranks."""
        return scalings_of(parts, inputs, targets)

    def generator(self, random_state):
        """A ``random_state`` that draws the same numbers on all ranks: the one that is given, or that of rank 0."""
        return random_state

    def check_same(self, settings, samples, is_streamed=False):
        """Raise ValueError unless all ranks have the same settings, and the same Samples if each has all of them.

        ``settings`` is a function that returns {name in error messages: value}. Of a stream, ``samples`` are the first
        block.
        """

    def begin(self, state, random_state):
        """Start from the state of rank 0."""

    def check_weights(self, samples, every_column):
        """Raise ValueError if the weights are 0 on all ranks, or with ``every_column`` those of a column of y."""

    def count(self, samples):
        """The number of Samples in all."""
        return samples.X.shape[0]

    def trainer(self, *arguments, **options):
        """The Trainer of the fit."""
        return Trainer(*arguments, **options)

    def epochs(self, problem, state, batch_size, samples, shuffle):
        """Function that makes the epochs over samples in memory."""
        return partial(Epochs, problem, state, batch_size, samples, shuffle)

    def streamed(self, problem, state, windows, n_samples, weighted):
        """Function that makes the epochs over the Windows of a stream, in which samples have weights or not."""
        return partial(StreamedEpochs, problem, state, windows, n_samples)

    def solver(self, solve):
        """The full-batch solver."""
        return solve

    def end(self, state):
        """Make sure that all ranks end with the same state."""


class Together(Alone):
    """A fit by all ranks of a DataParallel."""

    def __init__(self, parallel):
        self._ranks = ranks = Ranks(parallel)
        self.leads, self.n_ranks, self.parallel = ranks.leads, ranks.n_ranks, parallel
        self.has_own_rows = parallel.has_own_rows
        self.place = (0, 1) if parallel.rows == "own" else (ranks.rank, ranks.n_ranks)
        self.training, self.agreement = ranks.training, ranks.agreement
        self.decide, self.broadcast, self.allgather = ranks.decide, ranks.broadcast, ranks.allgather

    def shared_out(self, tasks):
        return tasks[self._ranks.rank :: self.n_ranks]

    def collect_results(self, tasks, done):
        for rank, found in enumerate(self._ranks.allgather(done)):
            if rank != self._ranks.rank:
                tasks[rank :: self.n_ranks] = found

    def check(self, kernels, solver, batch_size, needs_all, is_streamed):
        if kernels is not None and kernels.DEVICE is not None:
            raise ValueError(
                "communicator requires a backend for the CPU: set backend to 'auto', 'cython', 'numba' or 'numpy'."
            )
        if solver == "lm":
            raise ValueError("'lm' cannot be used with a communicator: use 'lbfgs' or 'adam'.")
        if solver and (self.parallel.local_steps > 1 or self.parallel.compression):
            raise ValueError(f"local_steps and compression are not for {solver!r}: use an optimizer such as 'adam'.")
        if batch_size is not None and batch_size < self.n_ranks and (self.has_own_rows or is_streamed):
            raise ValueError(f"batch_size {batch_size} is less than {self.n_ranks}, the number of ranks.")
        used = [name for name, is_used in needs_all.items() if is_used]
        if used and self.has_own_rows:
            raise ValueError(NEEDS_ALL.format(used[0]))

    def check_independent(self, name, time_limit):
        if self.has_own_rows:
            raise ValueError(NEEDS_ALL.format(name))
        if time_limit:
            raise ValueError("time_limit is not available with a communicator: set epochs and n_members.")

    def given(self, *arguments):
        if self.parallel.rows == "scattered":
            return self._ranks.scatter(arguments, parts_of)
        return arguments if self.has_own_rows else self._ranks.broadcast_samples(*arguments)

    def gathered(self, samples):
        if not self.has_own_rows:
            return samples
        found = self._ranks.gather(samples)
        return samples if found is None else Samples(*map(stacked, zip(*found)))

    def scalings(self, parts, inputs, targets):
        with self.agreement():
            own = summary_of(parts, inputs, targets)
        found = self.allgather(own)
        with self.agreement():
            return scalings_of([one for one in found if one is not None], inputs, targets)

    def generator(self, random_state):
        found = self._ranks.broadcast(np.random.mtrand._rand if random_state is None else random_state)
        return random_state if self.leads else found

    def check_same(self, settings, samples, is_streamed=False):
        own = {name: getattr(self.parallel, name) for name in ("local_steps", "compression")}
        own["weights of targets"] = samples.weight is not None and samples.weight.ndim == 2
        self._ranks.check_same(settings() | own)
        if self.parallel.rows == "all" or (is_streamed and self.parallel.rows == "scattered"):
            X, *others = samples
            self._ranks.check_samples(digest_of([*((X.data, X.indices, X.indptr) if issparse(X) else (X,)), *others]))

    def begin(self, state, random_state):
        synchronise(self._ranks, state)
        random_state.set_state(self.broadcast(random_state.get_state()))

    def check_weights(self, samples, every_column):
        if samples.weight is None or not self.has_own_rows:
            return
        found = self._ranks.sum(samples.weight.any(axis=0))
        if not found.any():
            self._ranks.fail("sample weights (times class weights) are 0 on all ranks.")
        if every_column and not found.all():
            self._ranks.fail(
                f"y has no values in column {found.argmin()} on any rank, so it cannot be learned: drop the column."
            )

    def count(self, samples):
        n_rows = samples.X.shape[0]
        return sum(self._ranks.allgather(n_rows)) if self.has_own_rows else n_rows

    def trainer(self, problem, state, recorder, *, stopping, scorer, callbacks, **options):
        ranks = self._ranks
        return Trainer(
            problem, state, recorder, stopping=LeadersStopping(ranks, stopping, state),
            scorer=None if scorer is None else LeadersScorer(ranks, scorer),
            callbacks=LeadersCallbacks(ranks, callbacks, state, recorder.changeable()), on_any=ranks.any,
            finish=ranks.finish, **options,
        )  # fmt: skip

    def epochs(self, problem, state, batch_size, samples, shuffle):
        return partial(MemoryEpochs, self._ranks, problem, state, batch_size, samples, shuffle)

    def streamed(self, problem, state, windows, n_samples, weighted):
        if self.parallel.rows == "own" and n_samples is not None:
            n_samples = sum(self._ranks.allgather(n_samples))
        return partial(RankStreamEpochs, self._ranks, problem, state, windows, n_samples, weighted)

    def solver(self, solve):
        return LbfgsOfRanks(self._ranks)

    def end(self, state):
        synchronise(self._ranks, state)


ALONE = Alone()


def fit_of(parallel):
    """How to run a fit with this DataParallel, or with None."""
    return ALONE if parallel is None else Together(parallel)
