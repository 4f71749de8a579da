"""The parts of a step of each rank: gradient, waiting for the others, and applying all gradients; the wait and the
update of steps without an exchange; and the whole step of a fit, together and alone.

The functions are called as a fit calls them, with a barrier after the gradient, so that waiting is not counted as
communication. What a whole step takes beyond that is Python between the parts.
"""

import statistics
import time

import numpy as np
from step_times import MOST_EPOCHS, model_of, work_of

SECONDS = 0.5  # of a round, for each of: the parts of steps, fits together, fits alone
PARTS = "gradient", "wait", "apply"


def parts_of_step(name):
    """A function that returns a rank's mean seconds of each part, and of an update and a step of a fit, as named above.

    All ranks fit alone at the same time.
    """
    from mpi4py import MPI

    from fastmlp import DataParallel
    from fastmlp.backends import registry
    from fastmlp.distributed.communication import Ranks
    from fastmlp.kernels.spec import NO_PENALTY, Batches, Network, Part, aligned_zeros, optimizer
    from fastmlp.training.problem import Problem
    from fastmlp.training.state import TrainingState

    ranks, work = MPI.COMM_WORLD, work_of(name)
    model, X, y = model_of(work, communicator=DataParallel(ranks, rows="own"))
    alone, *_ = model_of(work)
    output, loss = {
        "classes": ("softmax", "categorical_cross_entropy"), "values": ("identity", "squared_error")
    }[work.task]  # fmt: skip
    network = Network(work.sizes, (*[work.activation] * (len(work.sizes) - 2), output), loss)
    parameters = aligned_zeros(network.n_parameters, np.dtype("f4"))
    parameters[:] = np.random.RandomState(0).uniform(-0.05, 0.05, parameters.size)
    state = TrainingState.start(parameters, optimizer(work.solver))
    kernels, rows = registry.choose().kernels, work.batch * ranks.size
    team, problem = Ranks(DataParallel(ranks)), Problem(kernels, network, NO_PENALTY, None)
    own_update = kernels.prepare_update(network, state.optimizer, parameters, state.slots)
    batch_part, clock = Part(ranks.rank * work.batch, float(rows)), time.perf_counter

    def epoch(parameters, gradient, update):
        """(n_steps, 3) seconds of the parts."""
        of_part, times = kernels.prepare_part(network, parameters, gradient, work.batch), []
        for order in np.random.RandomState(state.step).permutation(work.rows).reshape(-1, work.batch):
            started = clock()
            of_part(Batches(X, y, order, work.batch), state.step, batch_part)
            computed = clock()
            ranks.Barrier()
            together = clock()
            update(state.step, None)
            times.append((computed - started, together - computed, clock() - together))
            state.step += 1
        return times

    def step_of(model, n_epochs, batch_size):
        ranks.Barrier()
        start = clock()
        model.fit(X, y, epochs=n_epochs, batch_size=batch_size)
        return (clock() - start) / (n_epochs * (work.rows // work.batch))

    def answer(n_rounds):
        of_fits = {"step": (model, rows), "alone": (alone, work.batch)}
        n_epochs, found = {}, {name: [] for name in (*of_fits, "update", "bare wait")}
        for name, (one, batch_size) in of_fits.items():
            step_of(one, 1, batch_size)
            seconds = step_of(one, 1, batch_size) * (work.rows // work.batch)
            n_epochs[name] = ranks.bcast(min(MOST_EPOCHS, max(1, round(SECONDS / seconds))))
        parts, gradient = [], aligned_zeros(parameters.size, parameters.dtype)
        for _ in range(n_rounds):
            times = []
            with team.training("this benchmark"):
                update = team.updates.of(problem, state)
                for _ in range(n_epochs["step"]):
                    times += epoch(update.parameters, update.gradient, update)
                update.store()
                del update  # before the memory is released
            parts.append(np.mean(times, axis=0))  # a step waits for the slower rank: the median would leave that out
            alone_times = epoch(parameters, gradient, lambda step, rate: own_update(gradient, step, rate))
            _, wait, own = np.mean(alone_times, axis=0)
            found["update"].append(own)
            found["bare wait"].append(wait)
            for name, (one, batch_size) in of_fits.items():
                found[name].append(step_of(one, n_epochs[name], batch_size))
        return dict(zip(PARTS, np.median(parts, axis=0))) | {name: statistics.median(of) for name, of in found.items()}

    return answer


def measure(name, start, n_rounds):
    """Means over two ranks of the seconds of each part of a step, and of "step", "alone", "update" and "bare wait"."""
    found = start(("step_parts", "parts_of_step"), {"name": name}, 2).ask(n_rounds)
    return {part: statistics.mean(times[part] for times in found) for part in found[0]}
