"""Time one row of rows.py on backend cuda, by the GPU's own clock: ``python time_ours.py "narrow 64"``."""

import statistics
import sys

import numpy as np
from limited import report_values, trace
from rows import ROWS, data_of

LEAST_STEPS = 256  # in one go: the way to the GPU and back is not what is timed


def network_of(row):
    from fastmlp.kernels.rules import LOSSES
    from fastmlp.kernels.spec import Network

    output = LOSSES[row.loss].link or "identity"
    return Network(row.sizes, ("relu",) * (len(row.sizes) - 2) + (output,), row.loss, bfloat16=row.bfloat16)


def time_ours(row, rounds=7):
    """(median seconds of a step or of a batch's prediction on the GPU, which kernels made it)."""
    from numba import cuda

    from fastmlp.kernels.cuda import data
    from fastmlp.kernels.cuda import executor as execution
    from fastmlp.kernels.cuda.simt.layout import Features
    from fastmlp.kernels.engine.demands import NO_OPTIMIZER, extras_of
    from fastmlp.kernels.spec import NO_PENALTY, optimizer

    network, (X, y) = network_of(row), data_of(row)
    rng, dtype = np.random.RandomState(1), np.dtype("float32")
    parameters = rng.uniform(-0.1, 0.1, network.n_parameters).astype(dtype)
    X, y = data.hold(X, y)
    if not row.optimizer:
        runner = execution.predictor_for(network, Features(learning=False), dtype, row.n_rows)
        there, extras = (
            cuda.to_device(parameters),
            cuda.to_device(extras_of(network, NO_OPTIMIZER, NO_PENALTY, None).array),
        )
        out = cuda.device_array((row.n_rows, row.sizes[-1]), dtype)

        def run():
            runner.passes.queue(runner.stream, X, there, extras, 0, 0, out)

        return _median_seconds(run, runner.stream, rounds), str(runner.how.reason)
    rule = optimizer(row.optimizer)
    runner = execution.trainer_for(network, row.optimizer, Features(), dtype, row.batch)
    slots = np.zeros((runner.n_slots, parameters.size), dtype)
    epochs = max(1, LEAST_STEPS * row.batch // row.n_rows)
    order = np.concatenate([rng.permutation(row.n_rows) for _ in range(epochs)])
    steps = -(-order.size // row.batch)
    extras = extras_of(network, rule, NO_PENALTY, None).array
    order, rates = cuda.to_device(order), np.full(steps, rule.learning_rate)

    def run():
        runner.queue(parameters, slots, 0, (X, y, None, order), rates, extras, rule.options, (), 0.0, 0, np.zeros(3))

    return _median_seconds(run, runner.stream, rounds) / steps, str(runner.how.reason)


def _median_seconds(run, stream, rounds):
    """Of several runs by events, after two that compile and warm up."""
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
