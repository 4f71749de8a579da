"""Build the network, optimizer, penalties and noise for the kernels from the parameters of an estimator."""

from itertools import pairwise
from numbers import Integral
from typing import NamedTuple

import numpy as np

from fastmlp.kernels.rules import OPTIMIZERS
from fastmlp.kernels.spec import Network, Noise, Penalty, optimizer
from fastmlp.kernels.spec import Optimizer as KernelOptimizer
from fastmlp.model.activations import built_in_name
from fastmlp.model.layer import Layer, checked_layers, skips_of
from fastmlp.model.losses import check_loss
from fastmlp.model.optimizers import Optimizer, check_optimizer
from fastmlp.training.full_batch import FULL_BATCH, check_alpha, is_bayes, is_full_batch
from fastmlp.training.problem import noise_for
from fastmlp.training.schedules import SCHEDULES, Schedule, check_schedule, make_schedule
from fastmlp.training.state import check_layer_rates
from fastmlp.validation.checks import check_memory, check_network, check_real

SCIKIT_SCHEDULES = "constant", "invscaling", "adaptive"  # these have scikit-learn's meaning
SOLVERS = (*FULL_BATCH, *OPTIMIZERS)


def hidden_widths(estimator):
    """Units of the hidden layers, from ``n_layers`` and ``width`` or from ``hidden_layer_sizes``."""
    if estimator.n_layers is not None or estimator.width is not None:
        layers = 1 if estimator.n_layers is None else int(estimator.n_layers)
        width = 100 if estimator.width is None else int(estimator.width)
        check_memory((layers - 1) * width * (width + 1), np.float32)  # before a list of that length is made
        return [width] * layers
    hidden = np.atleast_1d(np.asarray(estimator.hidden_layer_sizes, dtype=object)).tolist()
    if any(not isinstance(width, Integral) or width <= 0 for width in hidden):
        raise ValueError(f"hidden_layer_sizes must be > 0 and integers, got {hidden}.")
    return hidden


def for_each_layer(name, given, n_hidden):
    """List with a value for each hidden layer, from one value for all or a list."""
    if not isinstance(given, list):
        return [given] * n_hidden
    if len(given) != n_hidden:
        raise ValueError(
            f"{name} must be one value, or a list of {n_hidden} values, one per hidden layer, got {given}."
        )
    return given


def layers_of(estimator, n_inputs, hidden, n_outputs, output_activation):
    """The Layers of an estimator, with skip connections where ``skip`` allows them."""
    sizes = [n_inputs, *hidden, n_outputs]
    k, weighted = estimator.skip, estimator.skip_weights
    activations = for_each_layer("activation", estimator.activation, len(hidden))
    dropout = for_each_layer("dropout", estimator.dropout, len(hidden))
    layers = []
    for units, activation, rate in zip(sizes[1:], [*activations, output_activation], [*dropout, 0.0]):
        number = len(layers) + 1
        has_skip = k and number >= k and (weighted or sizes[number - k] == units)
        layers.append(Layer(units, activation, rate, k if has_skip else 0, weighted))
    if k and not any(layer.skip for layer in layers):
        raise ValueError(
            f"skip={k} connects no layers of this network with {n_inputs} inputs and hidden layers of {hidden} units: "
            + (
                "use a smaller skip or more layers."
                if weighted
                else "use layers of the same number of units, or skip_weights=True."
            )
        )
    return checked_layers(layers)


def network_of(estimator, n_inputs, hidden, n_outputs):
    """(Network, dropout rate of each layer)"""
    loss, output_activation = estimator._loss_and_output()
    loss, options = check_loss(loss)
    layers = layers_of(estimator, n_inputs, hidden, n_outputs, output_activation)
    activations = tuple(layer.activation for layer in layers)
    if not (activations[-1] == "softmax" and n_outputs == 1):
        check_network(activations, loss, n_outputs, options)
    sizes = (n_inputs, *(layer.units for layer in layers))
    skips, precision = skips_of(layers, n_inputs), estimator.matmul_precision
    return Network(sizes, activations, loss, options, skips, precision), [layer.dropout for layer in layers]


def optimizer_of(estimator, network):
    """The Optimizer of an estimator whose solver is not 'lbfgs' or 'lm'."""
    schedule, name = schedule_of(estimator.learning_rate, estimator.max_iter), estimator.solver
    if isinstance(name, (Optimizer, tuple)):
        given = check_optimizer(name).for_kernels()
        check_layer_rates(given, network.activations)
        return given if schedule is None else given._replace(schedule=schedule)
    options = {"momentum": estimator.momentum} if name in ("sgd", "momentum", "nesterov") else {}
    if name == "sgd":
        name = "nesterov" if estimator.nesterovs_momentum else "momentum"
    if "beta_1" in OPTIMIZERS[name].options:
        options = {key: getattr(estimator, key) for key in ("beta_1", "beta_2", "epsilon")}
    return optimizer(name, estimator.learning_rate_init, schedule=schedule, **options)


def schedule_of(given, max_iter):
    """The Schedule for a ``learning_rate`` of an estimator, or None for scikit-learn's three schedules."""
    if isinstance(given, (Schedule, tuple)):
        return check_schedule(given, "learning_rate")
    if given in SCIKIT_SCHEDULES:
        return None
    return make_schedule(given, **{"epochs": max_iter} if "epochs" in SCHEDULES[given].options else {})


def follows(estimator, schedule):
    """Whether the learning rate follows this scikit-learn schedule; they do not apply to Adam."""
    return estimator.learning_rate == schedule and built_in_name(estimator.solver) != "adam"


class Plan(NamedTuple):
    """Validated network, optimizer, penalties and noise of a fit. ``optimizer`` is None for 'lbfgs' and 'lm'."""

    network: Network
    optimizer: KernelOptimizer | None
    penalty: Penalty
    noise: Noise | None


def plan_of(estimator, n_inputs, hidden, n_outputs):
    """The Plan of an estimator for X with ``n_inputs`` columns and targets with ``n_outputs`` columns."""
    network, dropout = network_of(estimator, n_inputs, hidden, n_outputs)
    penalty = penalty_of(estimator)
    optimizer = None if is_full_batch(estimator.solver) else optimizer_of(estimator, network)
    return Plan(network, optimizer, penalty, noise_of(estimator, network, dropout, 0))


def penalty_of(estimator):
    """The Penalty of an estimator, with the alpha of its last fit if it is 'bayes'."""
    names = "l1", "activity_l1", "activity_l2"
    alpha = check_alpha(estimator.alpha, estimator.solver, "solver")
    alpha = getattr(estimator, "alpha_", 0.0) if is_bayes(alpha) else alpha
    return Penalty(*(check_real(name, getattr(estimator, name), 0) for name in names), alpha)


def noise_of(estimator, network, dropout, seed):
    """The Noise of an estimator, or None if training is deterministic."""
    noise = noise_for(
        network.activations, seed, check_real("input_dropout", estimator.input_dropout, 0, 1, open_high=True),
        check_real("input_noise", estimator.input_noise, 0), dropout,
    )  # fmt: skip
    if noise is not None and is_full_batch(estimator.solver):
        raise ValueError(
            f"solver={estimator.solver!r} requires a deterministic loss, but the network has dropout or noise: set "
            "them to 0, or use a stochastic solver such as 'adam'."
        )
    return noise


def check_skips(network):
    """Raise ValueError if skip connections, as read from a file, do not fit the network."""
    if not network.skips:
        return
    if len(network.skips) != len(network.activations):
        raise ValueError(f"{len(network.skips)} skip connections for {len(network.activations)} layers")
    for number, ((_, units), skip) in enumerate(zip(pairwise(network.sizes), network.skips), 1):
        if skip is not None and not (
            type(skip.source) is int
            and 0 <= skip.source <= number - 2
            and type(skip.weighted) is bool
            and (skip.weighted or network.sizes[skip.source] == units)
        ):
            raise ValueError(f"layer {number} has an invalid skip connection {skip}")
