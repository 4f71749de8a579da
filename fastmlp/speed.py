"""Training speed of backends on given data."""

import statistics

import numpy as np

from . import backends, cost_model
from .checks import check_targets
from .training import Epochs
from .training_state import TrainingState


def samples_per_second(model, X, y, names, batch_size, rounds=5):
    """{backend: median rows per second of training epochs}, measured in turn on copies of an MLP's weights.

    Shuffled epochs, after one that warms up. X and y as MLP.fit takes them.
    """
    X = np.ascontiguousarray(X, model.dtype)
    y = check_targets(y, model.loss, model.layers[-1].units, X, model.dtype)
    runs, rng = {}, np.random.RandomState(0)
    for name in names:
        state = TrainingState.start(model.parameters.copy(), model.optimizer)
        runs[name] = Epochs(
            backends.choose(name).module, model.network, state, X, y, None, batch_size=batch_size, alpha=model.alpha,
            shuffle=lambda order: rng.permutation(len(order)),
        )  # fmt: skip
        runs[name].run()
    rates = {name: [] for name in names}
    for _ in range(rounds):
        for name, run in runs.items():
            rows, seconds = run.rows_done, run.seconds
            run.run()
            rates[name].append((run.rows_done - rows) / (run.seconds - seconds))
    return {name: statistics.median(values) for name, values in rates.items()}


# Inputs, hidden layers, outputs, rows of a batch and of an epoch: what a cost model is fitted to.
MEASURED = [
    (8, (64, 64), 1, 32, 6_400),
    (32, (128, 128), 2, 256, 51_200),
    (784, (128,), 10, 128, 12_800),
    (64, (64,) * 4, 64, 8192, 65_536),
    (784, (512, 512), 10, 256, 12_800),
]


def measure_gpu():
    """Fit the cost model of ``backend="auto"`` to steps measured here, on the CPU and on the GPU, and keep it.

    Yields (network as text, seconds of a step on the CPU, on the GPU), row by row.
    """
    from .model import MLP

    cpu, rng, rows = backends.choose().name, np.random.RandomState(0), []
    for n_inputs, hidden, n_outputs, batch_size, n_rows in MEASURED:
        model = MLP([*((width, "relu") for width in hidden), (n_outputs, "identity")], random_state=0).build(n_inputs)
        X, y = rng.standard_normal((n_rows, n_inputs)), rng.standard_normal((n_rows, n_outputs))
        rates = samples_per_second(model, X, y, [cpu, "cuda"], batch_size)
        work = cost_model.Work(model.network, batch_size, 1)
        rows.append((work.step_flops, batch_size / rates[cpu], batch_size / rates["cuda"]))
        yield f"{'-'.join(map(str, model.network.sizes))}, batch {batch_size}", *rows[-1][1:]
    flops, *seconds = zip(*rows)
    cost_model.save(backends.gpu_name(), cpu, *(cost_model.fit_speed(flops, column) for column in seconds))
