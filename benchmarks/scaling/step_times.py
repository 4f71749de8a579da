"""Whole epochs of the works, by one process or by several: fastmlp under MPI, and torch with gloo.

The functions return one that makes a number of epochs and returns the seconds that they took. Each process has rows of
its own, as many as one process alone, and as many of them in a batch: weak scaling.
"""

import statistics
import time

import numpy as np
from works import WORKS, data

MOST_FLOPS, BATCHES = 4e10, (4, 1024)  # the most work of an epoch, but the least and the most batches come first
ONLINE_STEPS = 512  # of an epoch of torch
TURN, MOST_EPOCHS = 0.5, 200  # seconds of a turn, and the most epochs in it
LONG, FEWEST_ROUNDS = 60, 3  # after so many seconds fewer rounds will do


def work_of(name):
    """A work with fewer rows, if an epoch would take long."""
    work = WORKS[name]
    n_batches = np.clip(int(MOST_FLOPS / (work.flops * work.batch)), *BATCHES)
    return work._replace(rows=min(work.rows, work.batch * int(n_batches)))


def model_of(work, **options):
    """An untrained MLP for a work, and its (X, y)."""
    from fastmlp import MLP, make_optimizer

    X, y = data(work)
    classes = work.task == "classes"
    layers = [*((units, work.activation) for units in work.sizes[1:-1])]
    layers.append((work.sizes[-1], "softmax" if classes else "identity"))
    loss = "categorical_cross_entropy" if classes else "squared_error"
    optimizer = make_optimizer(work.solver, 1e-3)
    model = MLP(layers, loss, optimizer, dtype="float32", random_state=0, n_jobs=1, **options)
    return model, X, np.eye(work.sizes[-1], dtype="f4")[y] if classes else y


def fastmlp(name, together):
    """``together``: by all ranks; otherwise by this process alone."""
    work, communicator, n_ranks = work_of(name), None, 1
    if together:
        from mpi4py import MPI

        from fastmlp import DataParallel

        communicator, n_ranks = DataParallel(MPI.COMM_WORLD, rows="own"), MPI.COMM_WORLD.size
    model, X, y = model_of(work, communicator=communicator)

    def run(n_epochs):
        start = time.perf_counter()
        model.fit(X, y, epochs=n_epochs, batch_size=work.batch * n_ranks)
        return time.perf_counter() - start

    return run


def torch(name, together):
    """Eager torch, on batches of data that are shuffled before each epoch; ``together``: DistributedDataParallel."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    work = work_of(name)
    work = work._replace(rows=min(work.rows, work.batch * ONLINE_STEPS))
    X, y = map(torch.from_numpy, data(work))
    layers = []
    for fan_in, fan_out in zip(work.sizes, work.sizes[1:]):
        layers += [
            torch.nn.Linear(fan_in, fan_out),
            {"relu": torch.nn.ReLU, "tanh": torch.nn.Tanh}[work.activation](),
        ]
    network = torch.nn.Sequential(*layers[:-1])
    if together:
        torch.distributed.init_process_group("gloo", init_method="env://")
        network = torch.nn.parallel.DistributedDataParallel(network, gradient_as_bucket_view=True)
    loss = torch.nn.CrossEntropyLoss() if work.task == "classes" else torch.nn.MSELoss()
    parameters = network.parameters()
    if work.solver == "sgd":
        optimizer = torch.optim.SGD(parameters, lr=1e-3)
    else:
        optimizer = torch.optim.Adam(parameters, lr=1e-3, fused=True)

    def run(n_epochs):
        start = time.perf_counter()
        for _ in range(n_epochs):
            order = torch.randperm(work.rows)
            for inputs, targets in zip(X[order].split(work.batch), y[order].split(work.batch)):
                optimizer.zero_grad(set_to_none=True)
                loss(network(inputs), targets).backward()
                optimizer.step()
        # As many rows as fastmlp's epoch would take so long.
        return (time.perf_counter() - start) * work_of(name).rows / work.rows

    return run


# Name: function above, whether together, number of processes.
CONTESTANTS = {
    "1 process": ("fastmlp", False, 1),
    "2 processes, each alone": ("fastmlp", False, 2),
    "2 ranks": ("fastmlp", True, 2),
    "4 ranks": ("fastmlp", True, 4),
    "torch, 1 process": ("torch", False, 1),
    "torch, 2 ranks": ("torch", True, 2),
}


def measure(name, start, n_rounds):
    """{contestant: rows a second of all its processes, the median of the rounds}.

    ``start(place, arguments, n, mpi)`` starts a Team that ends by itself.
    """
    work, teams = work_of(name), {}
    for contestant, (function, together, n) in CONTESTANTS.items():
        arguments = {"name": name, "together": together}
        team = start(("step_times", function), arguments, n, together and function == "fastmlp")
        seconds = statistics.mean(team.ask(1))
        if seconds < 2 * TURN:  # most of it may have been compiling, or first uses of memory
            seconds = statistics.mean(team.ask(1))
        teams[contestant] = team, min(max(1, round(TURN / seconds)), MOST_EPOCHS)
    rates, begun = {contestant: [] for contestant in teams}, time.perf_counter()
    for number in range(n_rounds):
        if number >= FEWEST_ROUNDS and time.perf_counter() - begun > LONG:
            break
        for contestant, (team, n_epochs) in teams.items():
            seconds = team.ask(n_epochs)
            rates[contestant].append(len(seconds) * n_epochs * work.rows / statistics.mean(seconds))
    return {contestant: statistics.median(found) for contestant, found in rates.items()}
