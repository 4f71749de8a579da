"""Several epochs of a small network in one call of one thread, each in a new random order.

Compiled twice, like engine/products.py.
"""

from __future__ import annotations

from .epoch import train_epoch
from .online import train_epoch_online
from .primitives import Doubles, Integers, Number, Vector, at, bint, copy, random_integer
from .records import Epochs, Layout, Run, Worker


def shuffle(order: Integers, n: int, draw: int, generator: int) -> None:
    """Shuffle in place, with the draws and the result of ``numpy.random.RandomState.shuffle``.

    That is the algorithm of Fisher and Yates; a number above its bound is drawn again.
    """
    mask = 1
    while mask < n - 1:
        mask = 2 * mask + 1
    for last in range(n - 1, 0, -1):
        while mask // 2 >= last:
            mask = mask // 2
        chosen = random_integer(draw, generator) & mask
        while chosen > last:
            chosen = random_integer(draw, generator) & mask
        number = order[chosen]
        order[chosen] = order[last]
        order[last] = number


def begin_epoch(run: Run) -> None:
    """Keep the parameters, and shuffle the samples."""
    epochs: Epochs = run.epochs
    layout: Layout = run.layout
    copy(run.parameters, layout.n_parameters, epochs.start)
    if epochs.draw == 0:
        return
    order: Integers = run.order
    if epochs.from_scratch:
        for i in range(run.n_rows):
            order[i] = i
    shuffle(order, run.n_rows, epochs.draw, epochs.generator)


def end_epoch(run: Run) -> bint:
    """Store the results of an epoch. Returns whether it is the last: a number is not finite or a parameter is large."""
    epochs: Epochs = run.epochs
    layout: Layout = run.layout
    results: Doubles = run.results
    losses: Doubles = at(epochs.losses, 2 * epochs.n_done)
    losses[0] = results[0]
    losses[1] = results[1]
    epochs.n_done += 1
    if run.scheduled:
        run.rates = at(run.rates, epochs.n_batches)
    results[0] = 0.0
    results[1] = 0.0
    parameters: Vector = run.parameters
    T = type(parameters[0])
    largest: Number = T(epochs.largest)
    loss: float = losses[0] + losses[1]
    n_bad = 0 if loss - loss == 0 else 1  # infinity and NaN
    for i in range(layout.n_parameters):
        n_bad += 0 if abs(parameters[i]) <= largest else 1
    return n_bad > 0


def train(worker: Worker) -> None:
    """Run one thread's part of an epoch, or in one thread several epochs."""
    run: Run = worker.run
    epochs: Epochs = run.epochs
    if not run.repeated:
        train_epoch(worker)
        return
    for _ in range(epochs.n_epochs):
        begin_epoch(run)
        train_epoch(worker)
        if end_epoch(run):
            break


def train_online(run: Run) -> None:
    """Run one or several epochs of steps of one row each."""
    epochs: Epochs = run.epochs
    if not run.repeated:
        train_epoch_online(run)
        return
    for _ in range(epochs.n_epochs):
        begin_epoch(run)
        train_epoch_online(run)
        if end_epoch(run):
            break
