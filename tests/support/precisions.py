"""Networks and data on which the precision of matrix products is tested."""

from functools import cache

import numpy as np

from fastmlp.kernels.inputs import EMBEDDING, PERIODIC, InputColumn, Inputs
from fastmlp.kernels.reference.forward_pass import ForwardPass
from fastmlp.kernels.spec import (
    NO_PENALTY,
    Batches,
    Network,
    Noise,
    Penalty,
    Skip,
    aligned_zeros,
    layer_views,
    new_slots,
    optimizer,
)

REDUCED = ("high", "medium")
EFFECT = {"high": 1e-5, "medium": 1e-2}  # at most, of a precision on the norm of outputs and gradients
MARGIN = 1e-3  # of a pre-activation of a ReLU, whose derivative may differ below it

SOFTMAX = {"output": "softmax", "loss": "categorical_cross_entropy"}
# name: arguments of Case
CASES = {
    "one layer": {"sizes": (37, 10), "hidden": (), **SOFTMAX},
    "one hidden layer": {"sizes": (37, 100, 10), "hidden": ("tanh",), **SOFTMAX},
    "wide": {"sizes": (20, 513, 3), "hidden": ("tanh",)},
    "wide inputs": {"sizes": (513, 33, 1), "hidden": ("tanh",)},
    "whole blocks": {"sizes": (64, 64, 32, 32), "hidden": ("silu", "tanh")},
    "deep": {"sizes": (8, 32, 100, 37, 64, 5), "hidden": ("tanh", "gelu", "logistic", "tanh"), **SOFTMAX},
    "relu": {"sizes": (37, 100, 10), "hidden": ("relu",), **SOFTMAX},
    "two relus": {"sizes": (30, 40, 24, 2), "hidden": ("relu", "relu")},
    "narrow": {"sizes": (3, 5, 1), "hidden": ("tanh",)},
    "dropout": {"sizes": (37, 100, 10), "hidden": ("tanh",), "noise": Noise(3, 0.2, 0.1, (0.4,)), **SOFTMAX},
    "weighted skips": {"sizes": (9, 40, 40, 3), "hidden": ("tanh", "tanh"),
                       "skips": (None, Skip(0, True), Skip(1, True))},
    "added skips": {"sizes": (9, 40, 40, 40, 3), "hidden": ("tanh",) * 3,
                    "skips": (None, None, Skip(1, False), None)},
    "trainable slopes": {"sizes": (21, 40, 33, 3), "hidden": ("prelu", "shared_prelu")},
    "inputs": {"sizes": (12, 40, 3), "hidden": ("tanh",),
               "inputs": Inputs((InputColumn(), InputColumn(EMBEDDING, 5, 7), InputColumn(PERIODIC, 16, 3)), 2.0)},
    "penalties": {"sizes": (20, 37, 3), "hidden": ("tanh",), "penalty": Penalty(0.01, 0.02, 0.03, 0.1)},
}  # fmt: skip


class Case:
    """A network in float32 with data whose pre-activations are not near the kinks of its activations."""

    def __init__(self, sizes, hidden, output="identity", loss="squared_error", skips=(), inputs=None, noise=None,
                 penalty=NO_PENALTY, rows=64):  # fmt: skip
        rng = np.random.RandomState(len(sizes) + sizes[0])
        options = (0.0,) if loss == "categorical_cross_entropy" else ()
        self.network = Network(sizes, (*hidden, output), loss, options, skips, inputs=inputs)
        self.noise, self.penalty = noise, penalty
        self.parameters = aligned_zeros(self.network.n_parameters, "f4")
        self.parameters[:] = rng.uniform(-0.5, 0.5, self.parameters.size)
        for W in layer_views(self.network, self.parameters)[0]:
            W *= 2 * len(W) ** -0.5  # so that no activation saturates
        X = rng.standard_normal((2 * rows, self.network.n_columns)).astype("f4")
        if inputs is not None:
            X[:, 1] = rng.randint(0, 5, 2 * rows)
        self.X = np.ascontiguousarray(X[self._far_from_kinks(X)][:rows])
        assert len(self.X) == rows
        self.y = rng.standard_normal((rows, sizes[-1])).astype("f4")
        if output == "softmax":
            self.y = np.eye(sizes[-1], dtype="f4")[rng.randint(sizes[-1], size=rows)]
        self.weight = rng.uniform(0.2, 2, rows).astype("f4")

    def _far_from_kinks(self, X):
        far = np.ones(len(X), bool)
        run = ForwardPass(self.network, self.parameters, X, None, 0)
        for activation, z in zip(self.network.activations, run.z):
            if "relu" in activation:
                far &= (np.abs(z) > MARGIN).all(axis=1)
        return far

    def at(self, precision):
        return self.network._replace(matmul_precision=precision)

    def gradient(self, kernels, precision, rows=64, dtype="f4"):
        """(loss, penalty, gradient) for the first rows, with weights unless there are 7."""
        arrays = [array[:rows].astype(dtype) for array in (self.X, self.y, self.weight)][: 2 if rows == 7 else 3]
        return kernels.loss_and_gradient(
            self.at(precision), self.parameters.astype(dtype), *arrays, penalty=self.penalty, noise=self.noise
        )

    def passes(self, kernels, precision, rows=64, dtype="f4", n_batches=1):
        """(outputs, gradients, derivatives of the inputs) of prepared passes, for one batch of rows after another."""
        parameters, found = self.parameters.astype(dtype), []
        prepared = kernels.prepare_gradient(self.at(precision), np.dtype(dtype), rows, self.noise)
        for start in range(0, n_batches * rows, rows):
            X, y = (array[start : start + rows].astype(dtype) for array in (self.X, self.y))
            gradient, of_X = np.empty_like(parameters), np.empty_like(X)
            outputs = np.array(prepared.forward(parameters, X, 2))
            prepared.backward(y, gradient, of_X)
            found.append((outputs, gradient, of_X))
        return tuple(map(np.concatenate, zip(*found)))

    def train(self, kernels, precision, batch_size, weighted=True, **options):
        """(change of the parameters, sums) of two epochs."""
        # A large epsilon: otherwise steps turn round where a gradient is smaller than the effect of the precision.
        rule, parameters = optimizer("adam", 0.01, epsilon=0.1, **options), self.parameters.copy()
        slots, step, sums = new_slots("adam", parameters.size, "f4"), 0, (0.0, 0.0)
        order = np.random.RandomState(0).permutation(len(self.X))[: 16 * batch_size]
        batches = Batches(self.X, self.y, order, batch_size, self.weight if weighted else None)
        for _ in range(2):
            *sums, made = kernels.train_epoch(
                self.at(precision), rule, parameters, slots, step, batches, self.penalty, self.noise, None, tuple(sums)
            )
            step += made
        return parameters - self.parameters, np.array(sums)


@cache
def case_of(name):
    return Case(**CASES[name])


def mean_error(found, expected):
    """Mean difference over the mean of the expected magnitudes."""
    return np.abs(np.asarray(found, float) - expected).mean() / max(np.abs(np.asarray(expected, float)).mean(), 1e-300)


def error_of_norm(found, expected):
    """Norm of the difference over the norm of what is expected."""
    return np.linalg.norm(np.asarray(found, float) - expected) / np.linalg.norm(np.asarray(expected, float))
