"""Training curves: a value, or one value per layer, for each epoch."""

import math

import numpy as np

from fastmlp.prediction.predict import layer_outputs

from .lbfgs import loss_and_gradient_in_blocks


def append(history, name, value, missing=math.nan):
    """Append the value of an epoch to a curve, filling earlier epochs without a value with ``missing``."""
    curve = history.setdefault(name, [])
    if name != "loss":
        curve += [missing] * (len(history["loss"]) - 1 - len(curve))
    curve.append(value)


def curves(history):
    """The curves of a history with one number per epoch, without those with one number per layer."""
    return {name: values for name, values in history.items() if values and isinstance(values[-1], float)}


def layer_norms(network, vector):
    """Euclidean norm of the entries of each layer (weights, biases and slopes) in a flat vector."""
    starts = [block.start for block in network.blocks]
    return tuple(float(np.linalg.norm(part.astype(np.float64))) for part in np.split(vector, starts)[1:])


def count_dead_units(outputs):
    """Number of units of each hidden layer that output 0 for every sample, from the outputs of all layers."""
    return tuple(int((layer == 0).all(axis=0).sum()) for layer in outputs[:-1])


class Monitor:
    """Records gradient norms, update norms and dead units of each layer, for ``monitor=True``."""

    def __init__(self, problem, state, samples):
        self._problem, self._state, self._samples = problem, state, samples
        self._before = (state.epoch_start if state.is_in_epoch_of(samples.X.shape[0]) else state.parameters).copy()

    def record(self, history):
        """Append the values after an epoch to the curves of ``history``."""
        kernels, network, parameters = self._problem.kernels, self._problem.network, self._state.parameters
        gradient = loss_and_gradient_in_blocks(self._problem, parameters, self._samples)[1]
        outputs = layer_outputs(kernels, network, parameters, self._samples.X)
        for name, values in (
            ("gradient_norm", layer_norms(network, gradient)),
            ("update_norm", layer_norms(network, parameters - self._before)),
            ("dead_units", tuple(map(float, count_dead_units(outputs)))),
        ):
            append(history, name, values, missing=(math.nan,) * len(values))
        self._before = parameters.copy()
