"""Timing of training and prediction by backend."""

import statistics
import time
import timeit
from functools import partial
from typing import NamedTuple

import numpy as np

from fastmlp.backends import cost_model, registry
from fastmlp.kernels.spec import Penalty
from fastmlp.training.durations import seconds_since
from fastmlp.training.in_memory import Epochs
from fastmlp.training.interruption import Interruption
from fastmlp.training.problem import Problem, Samples
from fastmlp.training.shuffling import Shuffle
from fastmlp.training.state import TrainingState
from fastmlp.validation.checks import check_targets


def samples_per_second(model, X, y, names, batch_size, rounds=5, others=()):
    """Median training speed in samples per second, {backend: speed}, measured in turn on copies of an MLP's weights.

    The epochs are shuffled; one warm-up epoch comes first. X and y are as for MLP.fit. ``others`` holds pairs of a name
    and a function that runs one epoch, to measure as well.
    """
    X = np.ascontiguousarray(X, model.dtype)
    y = check_targets(y, model.loss, model.layers[-1].units, X, model.dtype, model._loss_options)
    runs, rng = {}, np.random.RandomState(0)
    for name in names:
        state = TrainingState.start(model.parameters.copy(), model.optimizer.for_kernels())
        problem = Problem(registry.choose(name).kernels, model.network, Penalty(alpha=model.alpha))
        runs[name] = Epochs(problem, state, batch_size, Samples(X, y), Shuffle(rng, from_scratch=True))
        list(runs[name].run())
    for _, epoch in others:
        epoch()
    rates = {name: [] for name in (*names, *dict(others))}
    for _ in range(rounds):
        for name, run in runs.items():
            rows, seconds = run.n_done, run.seconds
            list(run.run())
            rates[name].append((run.n_done - rows) / (run.seconds - seconds))
        for name, epoch in others:
            start = time.perf_counter()
            epoch()
            rates[name].append(len(X) / seconds_since(start))
    return {name: statistics.median(values) for name, values in rates.items()}


# Layer widths and batch size.
BENCH_NETWORKS = [((4, 16, 3), 1), ((8, 64, 64, 1), 32), ((32, 128, 128, 2), 256), ((784, 128, 10), 128)]
BENCH_ROWS, BENCH_BATCHES = 4096, 64  # minimum per epoch
ROW_CALLS = 200


class NetworkTimes(NamedTuple):
    """Median training speed and median time to predict one row, by backend and for scikit-learn."""

    samples_per_second: dict[str, float]
    row_seconds: dict[str, float]


def time_network(sizes, batch_size, names, rounds=5):
    """Measure the NetworkTimes on random data, in float32, with Adam, ReLU and the squared error.

    Parameters
    ----------
    sizes : sequence of int
        Layer widths, inputs first.
    batch_size : int
    names : list of str
        Names of backends.
    rounds : int
        Timed epochs per backend, after one warm-up epoch.
    """
    from sklearn.neural_network import MLPRegressor

    from fastmlp.model.mlp import MLP

    rng = np.random.RandomState(0)
    n_inputs, *hidden, n_outputs = sizes
    n_rows = max(BENCH_ROWS, BENCH_BATCHES * batch_size)
    X, y = (rng.standard_normal((n_rows, width)).astype(np.float32) for width in (n_inputs, n_outputs))
    layers = [*((width, "relu") for width in hidden), (n_outputs, "identity")]
    model = MLP(layers, random_state=0).build(n_inputs)
    theirs = MLPRegressor(hidden_layer_sizes=hidden, batch_size=batch_size, alpha=0, random_state=0)
    target = y if n_outputs > 1 else y.ravel()

    def their_epoch():
        with Interruption() as interruption:  # scikit-learn would catch Ctrl-C and only end its epoch
            theirs.partial_fit(X, target)
        if interruption.requested:
            raise KeyboardInterrupt

    others = [("scikit-learn", their_epoch)]
    rates = samples_per_second(model, X, y, names, batch_size, rounds, others)
    of_one_row = {"scikit-learn": lambda: theirs.predict(X[:1])}
    for name in names:
        model.backend = name
        of_one_row[name] = partial(model.compile_predict(), X[0].copy())
    calls = {name: [timeit.timeit(call, number=ROW_CALLS) for _ in range(rounds)] for name, call in of_one_row.items()}
    return NetworkTimes(rates, {name: statistics.median(times) / ROW_CALLS for name, times in calls.items()})


# Inputs, hidden layers, outputs, batch size and samples, for the fit of the cost model.
MEASURED = [
    (8, (64, 64), 1, 32, 6_400),
    (32, (128, 128), 2, 256, 51_200),
    (784, (128,), 10, 128, 12_800),
    (64, (64,) * 4, 64, 8192, 65_536),
    (784, (512, 512), 10, 256, 12_800),
]


def measure_gpu():
    """Measure training steps on the CPU and on the GPU; fit the cost model of ``backend="auto"`` to them and save it.

    Yields (description of the network, seconds per step on the CPU, on the GPU) after each measurement.
    """
    from fastmlp.model.mlp import MLP

    cpu, rng, rows = registry.choose().name, np.random.RandomState(0), []
    for n_inputs, hidden, n_outputs, batch_size, n_rows in MEASURED:
        model = MLP([*((width, "relu") for width in hidden), (n_outputs, "identity")], random_state=0).build(n_inputs)
        X, y = rng.standard_normal((n_rows, n_inputs)), rng.standard_normal((n_rows, n_outputs))
        rates = samples_per_second(model, X, y, [cpu, registry.GPU], batch_size)
        work = cost_model.Work(model.network, batch_size, 1)
        rows.append((work.step_flops, batch_size / rates[cpu], batch_size / rates[registry.GPU]))
        yield f"{'-'.join(map(str, model.network.sizes))}, batch {batch_size}", *rows[-1][1:]
    flops, *seconds = zip(*rows)
    cost_model.save(
        registry.choose(registry.GPU).kernels.DEVICE, cpu, *(cost_model.fit_speed(flops, column) for column in seconds)
    )
