"""Curves of a fit: one value, or one for each layer, after each epoch."""

import math

import numpy as np

from fastmlp.prediction.predict import layer_outputs

from .lbfgs import loss_and_gradient_in_blocks


def note(history, name, value, missing=math.nan):
    """Append the value of an epoch to a curve; earlier epochs without a value get ``missing``."""
    curve = history.setdefault(name, [])
    if name != "loss":
        curve += [missing] * (len(history["loss"]) - 1 - len(curve))
    curve.append(value)


def curves(history):
    """The curves of a history that have one number for each epoch."""
    return {name: values for name, values in history.items() if values and isinstance(values[-1], float)}


def layer_norms(network, vector):
    """Norm of a flat vector's part of each layer: weights, biases and slopes."""
    starts = [block.start for block in network.blocks]
    return tuple(float(np.linalg.norm(part.astype(np.float64))) for part in np.split(vector, starts[1:]))


def count_dead_units(outputs):
    """How many units of each hidden layer are 0 for every sample, from the outputs of all layers."""
    return tuple(int((layer == 0).all(axis=0).sum()) for layer in outputs[:-1])


class Monitor:
    """Norms of gradients and updates and the number of dead units of each layer, for ``monitor=True``."""

    def __init__(self, problem, state, samples):
        self._problem, self._state, self._samples = problem, state, samples
        resumes = state.order is not None and len(state.order) == samples.X.shape[0]
        self._before = (state.epoch_start if resumes else state.parameters).copy()

    def note(self, history):
        """Append the values after an epoch to the curves of ``history``."""
        kernels, network, parameters = self._problem.kernels, self._problem.network, self._state.parameters
        gradient = loss_and_gradient_in_blocks(self._problem, parameters, self._samples)[1]
        outputs = layer_outputs(kernels, network, parameters, self._samples.X)
        for name, values in (
            ("gradient_norm", layer_norms(network, gradient)),
            ("update_norm", layer_norms(network, parameters - self._before)),
            ("dead_units", tuple(map(float, count_dead_units(outputs)))),
        ):
            note(history, name, values, missing=(math.nan,) * len(values))
        self._before = parameters.copy()
