"""Training speed of backends on given data."""

import statistics

import numpy as np

from . import backends
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
