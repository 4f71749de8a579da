"""L-BFGS by several ranks: rank 0 runs SciPy's optimizer, and all of them compute losses and gradients."""

import numpy as np

from fastmlp.prediction.predict import take_rows
from fastmlp.training.lbfgs import fit_lbfgs, loss_and_gradient_in_blocks
from fastmlp.training.outcomes import Interrupted
from fastmlp.training.problem import Samples

EVALUATE, ITERATION, END = range(3)  # what rank 0 asks the others to do


class LbfgsOfRanks:
    """Function like ``fit_lbfgs`` on ``ranks``, called with the samples of this rank or, with rows='all', with all."""

    def __init__(self, ranks):
        self._ranks = ranks

    def __call__(self, problem, parameters, samples, limits, interruption, on_iteration):
        ranks, self._interruption = self._ranks, interruption
        samples = samples if ranks.parallel.has_own_rows else own_part(samples, ranks)
        weight = float(len(samples.y) if samples.weight is None else samples.weight.sum())
        weights = ranks.allgather(weight)
        if ranks.rank != next(rank for rank, one in enumerate(weights) if one):  # penalties on weights count once
            problem = problem._replace(penalty=problem.penalty.of_activity())
        self._share, self._requested = weight / sum(weights), False  # by Ctrl-C on any rank
        if not ranks.leads:
            return self._follow(problem, parameters, samples, on_iteration)

        def value_and_gradient(problem, x, samples, interruption):
            if self._requested:
                raise Interrupted
            ranks.broadcast((EVALUATE, None))
            return self._joint(problem, x, samples)

        def next_iteration(loss):
            ranks.broadcast((ITERATION, loss))
            ranks.broadcast_into(parameters)
            return on_iteration(loss)

        status, solution = fit_lbfgs(
            problem, parameters, samples, limits, interruption, next_iteration, value_and_gradient
        )  # fmt: skip
        solution.pop("hess_inv", None)  # ten vectors that nobody uses
        ranks.broadcast((END, (status, solution)))
        ranks.broadcast_into(parameters)
        return status, solution

    def _follow(self, problem, parameters, samples, on_iteration):
        """Do what rank 0 asks for."""
        ranks, x = self._ranks, np.empty(parameters.shape)
        while True:
            what, given = ranks.broadcast(None)
            if what == EVALUATE:
                self._joint(problem, x, samples)
                continue
            ranks.broadcast_into(parameters)
            if what == END:
                return given
            on_iteration(given)

    def _joint(self, problem, x, samples):
        """(loss, gradient) over all samples at the parameters ``x`` of rank 0."""
        self._ranks.broadcast_into(x)
        loss, gradient = 0.0, np.zeros_like(x)
        if self._share:
            with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
                loss, gradient = loss_and_gradient_in_blocks(problem, x, samples)
        requested = self._interruption is not None and self._interruption.requested
        total = self._ranks.sum(np.concatenate([gradient * self._share, [loss * self._share, requested]]))
        self._requested = total[-1] > 0
        return float(total[-2]), total[:-2]


def own_part(samples, ranks):
    """This rank's part of Samples that all ranks have."""
    n_rows = len(samples.y)
    rows = slice(n_rows * ranks.rank // ranks.n_ranks, n_rows * (ranks.rank + 1) // ranks.n_ranks)
    weight = None if samples.weight is None else samples.weight[rows]
    return Samples(take_rows(samples.X, rows), samples.y[rows], weight)
