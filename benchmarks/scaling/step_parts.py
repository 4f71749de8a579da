"""The parts of a step of each rank: gradient, waiting for the others, sum, update; and the whole step of a fit,
together and alone.

The functions are called as a fit calls them, with a barrier before the sum, so that waiting is not counted as
communication. What a whole step takes beyond that is Python between the parts.
"""

import statistics
import time

import numpy as np
from step_times import MOST_EPOCHS, model_of, work_of

SECONDS = 0.5  # of a round, for each of: the parts of steps, fits together, fits alone
PARTS = "gradient", "wait", "sum", "update"


def parts_of_step(name):
    """A function that returns a rank's mean seconds of each part, and of a step of a fit, together and alone.

    All ranks fit alone at the same time.
    """
    from mpi4py import MPI

    from fastmlp import DataParallel
    from fastmlp.backends import registry
    from fastmlp.distributed.communication import Ranks
    from fastmlp.kernels.spec import Batches, Network, Part, aligned_zeros, new_slots, optimizer

    ranks, work = MPI.COMM_WORLD, work_of(name)
    model, X, y = model_of(work, communicator=DataParallel(ranks, rows="own"))
    alone, *_ = model_of(work)
    output, loss = {
        "classes": ("softmax", "categorical_cross_entropy"), "values": ("identity", "squared_error")
    }[work.task]  # fmt: skip
    network = Network(work.sizes, (*[work.activation] * (len(work.sizes) - 2), output), loss)
    parameters = aligned_zeros(network.n_parameters, np.dtype("f4"))
    parameters[:] = np.random.RandomState(0).uniform(-0.05, 0.05, parameters.size)
    rule, slots = optimizer(work.solver), new_slots(work.solver, parameters.size, parameters.dtype)
    kernels, rows = registry.choose().kernels, work.batch * ranks.size
    team = Ranks(DataParallel(ranks))
    update, step = kernels.prepare_update(network, rule, parameters, slots), 0
    batch_part, clock = Part(ranks.rank * work.batch, float(rows)), time.perf_counter

    def epoch(times, adds, of_part):
        nonlocal step
        for order in np.random.RandomState(step).permutation(work.rows).reshape(-1, work.batch):
            started = clock()
            of_part(Batches(X, y, order, work.batch), step, batch_part)
            computed = clock()
            ranks.Barrier()
            together = clock()
            total = adds.total()
            added = clock()
            update(total, step)
            times.append((computed - started, together - computed, added - together, clock() - added))
            step += 1

    def step_of(model, n_epochs, batch_size):
        ranks.Barrier()
        start = clock()
        model.fit(X, y, epochs=n_epochs, batch_size=batch_size)
        return (clock() - start) / (n_epochs * (work.rows // work.batch))

    def answer(n_rounds):
        of_fits = {"step": (model, rows), "alone": (alone, work.batch)}
        n_epochs, found = {}, {name: [] for name in of_fits}
        for name, (one, batch_size) in of_fits.items():
            step_of(one, 1, batch_size)
            seconds = step_of(one, 1, batch_size) * (work.rows // work.batch)
            n_epochs[name] = ranks.bcast(min(MOST_EPOCHS, max(1, round(SECONDS / seconds))))
        parts = []
        for _ in range(n_rounds):
            times = []
            with team.training("this benchmark"):
                adds = team.sum_of(parameters.size, parameters.dtype)
                of_part = kernels.prepare_part(network, parameters, adds.part, work.batch)
                for _ in range(n_epochs["step"]):
                    epoch(times, adds, of_part)
                del adds, of_part  # before the memory is released
            parts.append(np.mean(times, axis=0))  # a step waits for the slower rank: the median would leave that out
            for name, (one, batch_size) in of_fits.items():
                found[name].append(step_of(one, n_epochs[name], batch_size))
        return dict(zip(PARTS, np.median(parts, axis=0))) | {name: statistics.median(of) for name, of in found.items()}

    return answer


def measure(name, start, n_rounds):
    """Means over two ranks of the seconds of each part of a step ("step", "alone": of a whole one)."""
    found = start(("step_parts", "parts_of_step"), {"name": name}, 2).ask(n_rounds)
    return {part: statistics.mean(times[part] for times in found) for part in found[0]}
