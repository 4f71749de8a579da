"""The networks timed by gpu_check.py. Importing this module is cheap."""

from typing import NamedTuple


class Row(NamedTuple):
    """Training with ``n_rows`` samples in batches of ``batch``, or prediction if there is no optimizer.

    ``target``: the desired result; ``peer``: how torch is run.
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
    """Random X, and targets that are valid for the loss, both float32."""
    import numpy as np

    rng = np.random.RandomState(0)
    X = rng.standard_normal((row.n_rows, row.sizes[0])).astype(np.float32)
    if row.loss == "categorical_cross_entropy":
        return X, np.eye(row.sizes[-1], dtype=np.float32)[rng.randint(row.sizes[-1], size=row.n_rows)]
    return X, rng.standard_normal((row.n_rows, row.sizes[-1])).astype(np.float32)


def flops(row):
    """Floating-point operations of a training step, or of the prediction of a batch."""
    weights = [fan_in * fan_out for fan_in, fan_out in zip(row.sizes, row.sizes[1:])]
    return row.batch * (6 * sum(weights) - 2 * weights[0] if row.optimizer else 2 * sum(weights))


def least_bytes(row):
    """Bytes that must be read from or written to memory: inputs, and targets or outputs."""
    return row.batch * (row.sizes[0] * (2 if row.bfloat16 else 4) + row.sizes[-1] * 4)
