"""Time one row of rows.py on backend cuda, with CUDA events: ``python time_ours.py "narrow 64"``."""

import statistics
import sys

import numpy as np
from limited import report_values, trace
from rows import ROWS, data_of

LEAST_STEPS = 256  # per call, so that the copies to the GPU and back do not matter


def network_of(row):
    from fastmlp.kernels.rules import LOSSES
    from fastmlp.kernels.spec import Network

    loss = LOSSES[row.loss]
    activations = ("relu",) * (len(row.sizes) - 2) + (loss.link or "identity",)
    options, precision = tuple(dict(loss.options).values()), "medium" if row.bfloat16 else "highest"
    return Network(row.sizes, activations, row.loss, options, matmul_precision=precision)


def time_ours(row, rounds=7):
    """Return (median seconds of a training step or of the prediction of a batch, description of the kernels)."""
    from numba import cuda

    from fastmlp.kernels.cuda import data, executor
    from fastmlp.kernels.cuda.records import Settings
    from fastmlp.kernels.cuda.simt.layout import Features
    from fastmlp.kernels.engine.requirements import NO_OPTIMIZER, extras_of
    from fastmlp.kernels.spec import NO_PENALTY, Batches, optimizer

    network, (X, y) = network_of(row), data_of(row)
    rng, dtype = np.random.RandomState(1), np.dtype("float32")
    parameters = rng.uniform(-0.1, 0.1, network.n_parameters).astype(dtype)
    X, y = data.hold(X, y)
    if not row.optimizer:
        runner = executor.prediction_executor(network, Features(training=False), dtype, row.n_rows)
        there, extras = (
            cuda.to_device(parameters),
            cuda.to_device(extras_of(network, NO_OPTIMIZER, NO_PENALTY, None).array),
        )
        out = cuda.device_array((row.n_rows, row.sizes[-1]), dtype)

        def run():
            runner.strategy.queue(runner.stream, X, there, extras, 0, 0, out)

        return _median_seconds(run, runner.stream, rounds), str(runner.config.description)
    rule = optimizer(row.optimizer)
    runner = executor.training_executor(network, row.optimizer, Features(), dtype, row.batch)
    slots = np.zeros((runner.n_slots, parameters.size), dtype)
    epochs = max(1, LEAST_STEPS * row.batch // row.n_rows)
    order = np.concatenate([rng.permutation(row.n_rows) for _ in range(epochs)])
    n_steps = -(-order.size // row.batch)
    extras = extras_of(network, rule, NO_PENALTY, None).array
    batches, rates = Batches(X, y, cuda.to_device(order), row.batch), np.full(n_steps, rule.learning_rate)
    settings = Settings(extras, rule.options, (), 0.0, 0, 0)

    def run():
        runner.queue(parameters, slots, batches, rates, settings, np.zeros(3))

    return _median_seconds(run, runner.stream, rounds) / n_steps, str(runner.config.description)


def _median_seconds(run, stream, rounds):
    """The median of several runs, after two that compile and warm up."""
    from numba import cuda

    seconds = []
    for number in range(rounds + 2):
        begin, end = cuda.event(), cuda.event()
        begin.record(stream)
        run()
        end.record(stream)
        end.synchronize()
        if number >= 2:
            seconds.append(begin.elapsed_time(end) / 1e3)
    return statistics.median(seconds)


if __name__ == "__main__":
    with trace():
        seconds, kernels = time_ours(ROWS[sys.argv[1]])
        report_values(seconds=seconds, kernels=kernels)
