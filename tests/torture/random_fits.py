"""Random networks, data and settings of a fit of MLP, for the part configurations."""

from typing import NamedTuple

import numpy as np
from scipy import sparse

from fastmlp import MLP, Layer, make_loss, make_optimizer, make_schedule
from fastmlp.kernels.rules import ACTIVATIONS, LOSSES, OPTIMIZERS
from fastmlp.training.schedules import SCHEDULES

HIDDEN = [name for name, row in ACTIVATIONS.items() if not row.rowwise and name != "exp"]  # exp of exp overflows
KINKS = {
    "step", "sign", "piecewise_linear", "relu", "leaky_relu", "prelu", "shared_prelu", "noisy_relu", "selu",
    "absolute_error", "quantile", "perceptron", "l1", "activity_l1", "reduce_on_plateau",
}  # fmt: skip
SMALL_RATES = {"adadelta": 0.3}  # of the others: 0.01


class Fit(NamedTuple):
    """Arguments of MLP, of its method fit, the number of inputs, and what rounding could decide: names in KINKS."""

    model: dict
    fit: dict
    n_inputs: int
    is_sparse: bool
    kinks: frozenset

    @property
    def dtype(self):
        return self.model["dtype"]

    @property
    def precision(self):
        return self.model["matmul_precision"]

    def roundings(self):
        """How many roundings add up in a fit: in every layer on both ways of a step, the root of the longest sum's."""
        layers, rows = self.model["layers"], len(self.fit["X"])
        longest = max(self.n_inputs, self.fit["batch_size"], *(layer.units for layer in layers))
        return 1 + self.fit["epochs"] * -(-rows // self.fit["batch_size"]) * 2 * len(layers) * longest**0.5

    def model_on(self, backend, parameters, **changed):
        """A model on a backend with these initial parameters."""
        model = MLP(**(self.model | {"backend": backend} | changed)).build(self.n_inputs)
        model.parameters[:] = parameters
        return model


def random_fit(rng):
    """Draw a Fit."""
    layers, loss = random_layers(rng), str(rng.choice(list(LOSSES)))
    n_inputs, rows = int(rng.choice([1, 3, 8, 17, 40])), int(rng.integers(5, 90))
    layers[-1] = random_output(rng, loss, int(rng.integers(1, 6)))
    dtype = str(rng.choice(["float32", "float64"]))
    penalties = random_subset(rng, {"alpha": 0.3, "l1": 0.1, "activity_l1": 0.05, "activity_l2": 0.05})
    noise = random_subset(rng, {"input_dropout": 0.2, "input_noise": 0.3, "input_scale": 4.0})
    optimizer = random_optimizer(rng, len(layers))
    X = rng.standard_normal((rows, n_inputs)) * (rng.random((rows, n_inputs)) < rng.choice([0.2, 1.0]))
    loss_given = random_loss(rng, loss, layers[-1].units)
    y, missing = random_targets(rng, loss, rows, layers[-1].units)
    if any(isinstance(option, tuple) for option in loss_given.options):
        y = y[:, :1]  # one target for all levels
    model = {
        "layers": layers, "loss": loss_given, "optimizer": optimizer, "dtype": dtype,
        "matmul_precision": "highest" if dtype == "float64" else str(rng.choice(["highest", "high", "medium"])),
        "random_state": int(rng.integers(2**31)), "n_jobs": int(rng.integers(1, 3)),
        "missing_targets": "ignore" if missing else "raise", **penalties, **noise,
    }  # fmt: skip
    weight = [None, rng.uniform(0.2, 2, rows), rng.uniform(0.2, 2, (rows, layers[-1].units))]
    weight = weight[rng.integers(2 if layers[-1].activation == "softmax" else 3)]
    fit = {
        "X": X.astype(dtype), "y": y.astype(dtype), "epochs": int(rng.integers(1, 5)),
        "batch_size": int(min(rng.choice([1, 2, 7, 13, 32, 100]), rows)), "shuffle": bool(rng.integers(2)),
        "sample_weight": None if weight is None else weight.astype(dtype),
    }  # fmt: skip
    names = {loss, *(layer.activation for layer in layers), *penalties}
    if optimizer.schedule is not None:
        names.add(optimizer.schedule.name)
    return Fit(model, fit, n_inputs, bool(rng.integers(2)) and "input_scale" not in noise, frozenset(names & KINKS))


def random_subset(rng, values, share=0.2):
    return {name: value for name, value in values.items() if rng.random() < share}


def random_layers(rng):
    """Hidden layers with dropout and skip connections, and a place for the output layer."""
    layers = []
    for number in range(1, int(rng.choice([1, 2, 3, 4, 5], p=[0.1, 0.4, 0.3, 0.1, 0.1]))):
        skip = int(rng.integers(2, number + 1)) if number > 1 and rng.random() < 0.4 else 0
        added = skip and skip < number and rng.random() < 0.5  # then both layers have the same number of units
        units = layers[number - skip - 1].units if added else int(rng.choice([1, 2, 5, 8, 16, 31, 40, 100]))
        dropout = float(rng.choice([0, 0, 0, 0.1, 0.5]))
        layers.append(Layer(units, str(rng.choice(HIDDEN)), dropout, skip, not added))
    return [*layers, None]


def random_output(rng, loss, units):
    activation = LOSSES[loss].link or str(rng.choice(["identity", "tanh", "softplus", "relu", "logistic"]))
    return Layer(max(units, 2) if activation == "softmax" else units, activation)


def random_loss(rng, name, units):
    """A loss with its options; quantiles are one for all outputs or one each."""
    if name == "quantile" and rng.random() < 0.5 and units > 1:
        return make_loss(name, quantile=list(np.linspace(0.1, 0.9, units)))
    values = {"delta": 0.7, "quantile": 0.3, "label_smoothing": 0.1}
    return make_loss(name, **{option: values[option] for option, _ in LOSSES[name].options if rng.random() < 0.5})


def random_optimizer(rng, n_layers):
    name = str(rng.choice(list(OPTIMIZERS)))
    bounds = random_subset(rng, {"weight_decay": 0.1, "clip_norm": 0.3, "clip_value": 0.05, "max_norm": 1.0})
    if rng.random() < 0.2:
        bounds["layer_rates"] = tuple(rng.uniform(0.3, 2, n_layers))
    if rng.random() < 0.4:
        options = {"cosine": {"epochs": 3}, "cosine_log": {"epochs": 3}, "step": {"step_size": 2}}
        schedule = str(rng.choice(list(SCHEDULES)))
        warmup = float(rng.choice([0, 1.5]))
        bounds["schedule"] = make_schedule(schedule, warmup_epochs=warmup, **options.get(schedule, {}))
    return make_optimizer(name, SMALL_RATES.get(name, 0.01), **bounds)


def random_targets(rng, loss, rows, units):
    """(targets in the range of the loss, whether some are missing)"""
    if loss == "categorical_cross_entropy":
        return np.eye(units)[rng.integers(units, size=rows)], False
    low, high = LOSSES[loss].targets
    y = rng.integers(2, size=(rows, units)).astype(float)
    if (low, high) != (0, 1):
        y = np.clip(2 * rng.standard_normal((rows, units)), low, high)
    missing = bool(rng.random() < 0.2)
    if missing:
        y[rng.random(y.shape) < 0.3] = np.nan
    return y, missing


def inputs_of(given):
    """X in the form in which a compiled backend gets it."""
    X = given.fit["X"]
    return sparse.csr_matrix(X) if given.is_sparse else X
