"""The time of a step that several ranks share, from what one machine was measured to take and from a network's speed.

A step of p ranks takes

    rows x gradient + update + rest + allreduce(p, n),

where n are the bytes of the gradient. ``allreduce`` is the faster of two algorithms, with the costs of Thakur,
Rabenseifner and Gropp, "Optimization of collective communication operations in MPICH", International Journal of High
Performance Computing Applications 19 (2005), pages 49-66. The second one sends 2 (p - 1) / p n bytes, which no
algorithm can do with less: Patarasu and Yuan, "Bandwidth optimal all-reduce algorithms for clusters of workstations",
Journal of Parallel and Distributed Computing 69 (2009), pages 117-124.

The model leaves out that ranks wait for the slowest one, and that messages share links and switches.
"""

from itertools import pairwise
from typing import NamedTuple

MOST_RANKS = 1000


class Link(NamedTuple):
    """A network: seconds before a message begins to arrive, and for each byte of it.

    ``adding``: seconds of a rank to add a byte of a float32 array to another one.
    """

    latency: float
    per_byte: float
    adding: float = 0.0

    def with_adding(self, seconds):
        return self._replace(adding=seconds)


# Latencies are assumptions, for TCP and for RDMA.
LINKS = {
    "10 Gbit/s, 20 us": Link(20e-6, 8 / 10e9),
    "100 Gbit/s, 2 us": Link(2e-6, 8 / 100e9),
}


class Step(NamedTuple):
    """What was measured of a step of a work.

    Attributes
    ----------
    alone : float
        Seconds of a step of one process alone, while the other cores are as busy.
    gradient : float
        Seconds of the gradient of one row of a rank's part of a batch.
    update, rest : float
        Seconds of an update, and of what a step takes besides the gradient, the allreduce and the update.
    rows : int
        Rows of a rank in a batch.
    n_bytes : float
        Of the gradient.
    n_slots : int
        Arrays of the optimizer, each as large as the gradient.
    """

    alone: float
    gradient: float
    update: float
    rest: float
    rows: int
    n_bytes: float
    n_slots: int


def recursive_doubling(n_ranks, n_bytes, link):
    """Seconds of an allreduce in which pairs of ranks exchange all numbers, lg p times."""
    return rounds(n_ranks) * (link.latency + n_bytes * (link.per_byte + link.adding))


def halving_and_doubling(n_ranks, n_bytes, link):
    """Seconds of a reduce-scatter by recursive halving, and an allgather by recursive doubling."""
    sent = n_bytes * (n_ranks - 1) / n_ranks
    return 2 * rounds(n_ranks) * link.latency + sent * (2 * link.per_byte + link.adding)


def rounds(n_ranks):
    """lg p, rounded up."""
    return (n_ranks - 1).bit_length()


def allreduce(n_ranks, n_bytes, link):
    """Seconds of an allreduce by the faster algorithm."""
    return min(algorithm(n_ranks, n_bytes, link) for algorithm in (recursive_doubling, halving_and_doubling))


def communication(step, n_ranks, link, local_steps=1):
    """Seconds of communication for each step.

    With local steps, parameters and slots are averaged after so many: they are multiplied by a rank's share, and added.
    """
    if local_steps == 1:
        return allreduce(n_ranks, step.n_bytes, link)
    arrays = [step.n_bytes, step.n_slots * step.n_bytes][: 1 + bool(step.n_slots)]
    return sum(allreduce(n_ranks, n_bytes, link) + n_bytes * link.adding for n_bytes in arrays) / local_steps


def computing(step, local_steps=1, rows=None):
    """Seconds that a rank computes for each step, with so many rows of each batch; those of the step by default."""
    more = ((step.rows if rows is None else rows) - step.rows) * step.gradient
    if local_steps > 1:  # steps of one process, but for Python between the averages
        return step.alone + step.rest / local_steps + more
    return step.rows * step.gradient + step.update + step.rest + more


def step_seconds(step, n_ranks, link, local_steps=1, rows=None):
    """Seconds of a step of so many ranks."""
    if n_ranks == 1:
        return step.alone + (0 if rows is None else (rows - step.rows) * step.gradient)
    return computing(step, local_steps, rows) + communication(step, n_ranks, link, local_steps)


def efficiency(step, n_ranks, link, local_steps=1, rows=None):
    """Rows a second of each rank, relative to one process alone that has as many rows of a batch."""
    return step_seconds(step, 1, link, rows=rows) / step_seconds(step, n_ranks, link, local_steps, rows)


def crossover(step, link, local_steps=1):
    """The least number of ranks that communicate for as long as they compute, or None up to MOST_RANKS."""
    limit = computing(step, local_steps)
    numbers = range(2, MOST_RANKS + 1)
    return next((n for n in numbers if communication(step, n, link, local_steps) >= limit), None)


def balanced_rows(step, n_ranks, link):
    """Rows of a rank in a batch with which it computes for as long as it communicates; at least 1."""
    per_step = step.update + step.rest
    return max(1.0, (communication(step, n_ranks, link) - per_step) / step.gradient)


def later_bytes(sizes):
    """The share of the gradient that belongs to layers after the first one."""
    weights = [(fan_in + 1) * fan_out for fan_in, fan_out in pairwise(sizes)]
    return 1 - weights[0] / sum(weights)


def most_hidden(sizes, step, n_ranks, link):
    """The most seconds that an allreduce layer by layer could hide behind the gradient, from the last layer back.

    Nothing is left to hide behind when the gradient of the first layer is ready, which comes last. What the other
    layers send fits at most beside the backward pass, whose products are 4 of 6 (2 of 4 in the first layer, which has
    no dLoss/dX).
    """
    products = [fan_in * fan_out for fan_in, fan_out in pairwise(sizes)]
    backward = (4 * sum(products) - 2 * products[0]) / (6 * sum(products) - 2 * products[0])
    return min(later_bytes(sizes) * communication(step, n_ranks, link), backward * step.rows * step.gradient)
