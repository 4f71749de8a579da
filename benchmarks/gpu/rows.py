"""The networks that gpu_check.py times, and fastmlp's side of it, by the GPU's own clock."""

import statistics
from typing import NamedTuple

import numpy as np

LEAST_STEPS = 256  # in one go: the way to the GPU and back is not what is timed


class Row(NamedTuple):
    """Training of ``sizes`` in batches of ``batch`` out of ``n_rows`` rows; or prediction, where there is no optimizer.

    ``target`` says what was hoped for; ``peer`` is how torch is run.
    """

    sizes: tuple[int, ...]
    batch: int
    n_rows: int
    optimizer: str
    loss: str
    bfloat16: bool
    target: str
    peer: str


ROWS = {
    "narrow 64": Row((64,) * 6, 2**18, 2**18, "adam", "squared_error", True,
                     "at most 2 x the compute floor; at least 4 x torch in bf16 with CUDA graphs", "graph"),
    "narrow 128": Row((128,) * 6, 2**18, 2**18, "adam", "squared_error", True,
                      "at least 2 x torch in bf16 with CUDA graphs", "graph"),
    "mnist": Row((784, 128, 10), 128, 60_000, "adam", "categorical_cross_entropy", False,
                 "at least 5 x torch with CUDA graphs", "graph"),
    "iris online": Row((4, 16, 3), 1, 3_000, "sgd", "categorical_cross_entropy", False,
                       "at least 10 x torch with CUDA graphs", "graph"),
    "wide": Row((1024, 2048, 2048, 1000), 8192, 16_384, "adam", "categorical_cross_entropy", True,
                "at least torch.compile; at least 70 % of the measured rate of matrix products", "compile"),
    "inference 64": Row((64,) * 6, 2**20, 2**20, "", "squared_error", True,
                        "at least 70 % of the larger floor", "graph"),
}  # fmt: skip


def data_of(row):
    """X, and targets in the loss's range, both float32."""
    rng = np.random.RandomState(0)
    X = rng.standard_normal((row.n_rows, row.sizes[0])).astype(np.float32)
    if row.loss == "categorical_cross_entropy":
        return X, np.eye(row.sizes[-1], dtype=np.float32)[rng.randint(row.sizes[-1], size=row.n_rows)]
    return X, rng.standard_normal((row.n_rows, row.sizes[-1])).astype(np.float32)


def flops(row):
    """Floating-point operations of a step, or of a prediction of a batch."""
    weights = [fan_in * fan_out for fan_in, fan_out in zip(row.sizes, row.sizes[1:])]
    return row.batch * (6 * sum(weights) - 2 * weights[0] if row.optimizer else 2 * sum(weights))


def least_bytes(row):
    """Bytes that must come from memory or go there: inputs, targets or outputs."""
    return row.batch * (row.sizes[0] * (2 if row.bfloat16 else 4) + row.sizes[-1] * 4)


def network_of(row):
    from fastmlp.kernels.network import Network
    from fastmlp.kernels.rules import LOSSES

    output = LOSSES[row.loss].link or "identity"
    return Network(row.sizes, ("relu",) * (len(row.sizes) - 2) + (output,), row.loss, bfloat16=row.bfloat16)


def time_ours(row, rounds=7):
    """(median seconds of a step or of a batch's prediction on the GPU, which kernels made it)."""
    from numba import cuda

    from fastmlp.kernels.compiled import NO_OPTIMIZER, extras_of
    from fastmlp.kernels.network import NO_PENALTY, optimizer
    from fastmlp.kernels.numba_cuda import data, execution
    from fastmlp.kernels.numba_cuda.layout import Features

    network, (X, y) = network_of(row), data_of(row)
    rng, dtype = np.random.RandomState(1), np.dtype("float32")
    parameters = rng.uniform(-0.1, 0.1, network.n_parameters).astype(dtype)
    X, y = data.hold(X, y)
    if not row.optimizer:
        runner = execution.predictor_for(network, Features(learning=False), dtype, row.n_rows)
        there, extras = (
            cuda.to_device(parameters),
            cuda.to_device(extras_of(network, NO_OPTIMIZER, NO_PENALTY, None)[0]),
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
    extras, _, _ = extras_of(network, rule, NO_PENALTY, None)
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
