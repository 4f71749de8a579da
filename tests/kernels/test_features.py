"""Skips, dropout, noise, penalties, max-norm and learning rates of compiled backends, against the reference."""

import math

import numpy as np
import pytest

from fastmlp.backends import registry
from fastmlp.kernels.reference import contract as reference
from fastmlp.kernels.rules import OPTIMIZERS
from fastmlp.kernels.spec import NO_PENALTY, Batches, Noise, Penalty, Skip, new_slots, optimizer
from problems import COMPILED, DTYPES, Problem, grid, relative_error

TOLERANCE = {"float32": 1e-5, "float64": 1e-10}
DEEP = {"sizes": (5, 6, 6, 6, 6, 3)}

SKIPS = {
    "added": (None, None, Skip(1, False), None, None),
    "weighted": (None, None, Skip(1, True), None, None),
    "from the inputs": (None, Skip(0, True), None, None, None),
    "past two layers": (None, None, None, Skip(1, False), Skip(2, True)),
    "every layer": (None, Skip(0, True), Skip(1, False), Skip(2, False), Skip(3, True)),
    "two from one": (None, None, Skip(1, False), Skip(1, True), Skip(1, True)),
    "to the outputs from the inputs": (None, None, None, None, Skip(0, True)),
}
# name: (arguments of Problem, of train_epoch, of the optimizer)
FEATURES = {
    **{f"skip {name}": ({**DEEP, "hidden": ("tanh",) * 4, "skips": skips}, {}, {}) for name, skips in SKIPS.items()},
    "skip with gelu and dropout": (
        {**DEEP, "hidden": ("gelu", "silu", "tanh", "prelu"), "skips": SKIPS["every layer"]},
        {"noise": Noise(3, 0.0, 0.0, (0.2, 0.0, 0.4, 0.3)), "penalty": Penalty(0.1, 0.02, 0.03)}, {},
    ),
    "dropout": ({"hidden": ("tanh",)}, {"noise": Noise(1, 0.0, 0.0, (0.5,))}, {}),
    "dropout of softplus": ({"hidden": ("softplus",)}, {"noise": Noise(2**63 - 1, 0.0, 0.0, (0.3,))}, {}),
    "dropout of prelu": ({"hidden": ("prelu",)}, {"noise": Noise(5, 0.0, 0.0, (0.3,))}, {}),
    "dropout of inputs": ({}, {"noise": Noise(7, 0.3)}, {}),
    "noise on inputs": ({}, {"noise": Noise(8, 0.0, 0.5)}, {}),
    "both on inputs, 8 wide": ({"sizes": (8, 7, 3)}, {"noise": Noise(8, 0.2, 0.5)}, {}),
    "noisy relu": ({"hidden": ("noisy_relu",)}, {"noise": Noise(11)}, {}),
    "noisy relu, quiet": ({"hidden": ("noisy_relu",)}, {}, {}),
    "l1": ({}, {"penalty": Penalty(l1=0.7)}, {}),
    "activity l1": ({}, {"penalty": Penalty(activity_l1=0.2)}, {}),
    "activity l2": ({"hidden": ("relu",)}, {"penalty": Penalty(activity_l2=0.2)}, {}),
    "weight decay": ({}, {}, {"weight_decay": 0.1}),
    "clipped norm": ({}, {}, {"clip_norm": 0.1}),
    "norm below the bound": ({}, {}, {"clip_norm": 1e3}),
    "clipped values": ({}, {}, {"clip_value": 0.01}),
    "bounded weights": ({}, {}, {"max_norm": 0.5}),
    "rates by layer": ({}, {}, {"layer_rates": (0.5, 2.0)}),
    "everything": (
        {"hidden": ("shared_prelu",)}, {"noise": Noise(1, 0.1, 0.1, (0.2,)), "penalty": Penalty(0.1, 0.1, 0.1)},
        {"weight_decay": 0.1, "clip_norm": 1.0, "clip_value": 0.2, "max_norm": 0.9, "layer_rates": (1.0, 0.5)},
    ),
}  # fmt: skip


@pytest.fixture(params=COMPILED)
def compiled(request):
    return registry.choose(request.param).kernels


def train(kernels, problem, rule, dtype, batch_size, epochs=2, **asked):
    """Return (parameters, sums, slots) after some epochs."""
    arrays = [problem.parameters, problem.X, problem.y, problem.weight]
    parameters, X, y, weight = [array.astype(dtype) for array in arrays]
    slots, step = new_slots(rule.name, parameters.size, dtype), 0
    batches = Batches(X, y, problem.order, batch_size, weight)
    asked["penalty"] = asked.get("penalty", NO_PENALTY)._replace(alpha=0.05)
    for _ in range(epochs):
        *sums, made = kernels.train_epoch(problem.network, rule, parameters, slots, step, batches, **asked)
        step += made
    return parameters, sums, slots


@pytest.mark.parametrize("feature, dtype, batch_size", grid(FEATURES, DTYPES, [1, 13, 40], n=2))
def test_training_equals_the_reference(compiled, feature, dtype, batch_size):
    """Each feature alone and all together; the reference computes in float64."""
    given, asked, options = FEATURES[feature]
    rule = optimizer("momentum", 0.002 if batch_size == 1 else 0.02, **options)
    problem = Problem(**given, dtype=dtype)
    found = train(compiled, problem, rule, dtype, batch_size, **asked)
    expected = train(reference, problem, rule, "float64", batch_size, **asked)
    for mine, yours in zip(found, expected):
        assert relative_error(mine, yours) < 3 * TOLERANCE[dtype]


@pytest.mark.parametrize("feature", FEATURES)
def test_a_feature_changes_the_result(feature):
    """Otherwise the tests of a feature would pass without it."""
    given, asked, options = FEATURES[feature]
    changed = train(reference, Problem(**given), optimizer("momentum", 0.02, **options), "float64", 13, **asked)[0]
    given = {name: value for name, value in given.items() if name != "skips"}
    plain = train(reference, Problem(**given), optimizer("momentum", 0.02), "float64", 13)[0]
    same = changed.shape == plain.shape and np.array_equal(changed, plain)
    assert same == (feature in ("norm below the bound", "noisy relu, quiet"))


OF_NETWORKS = [name for name, (given, asked, _) in FEATURES.items() if given or asked]


@pytest.mark.parametrize("feature", [name for name in OF_NETWORKS if name != "noisy relu"])
def test_gradient_with_fixed_random_numbers_equals_central_differences(kernels, feature):
    """The gradient of the loss plus all penalties, in one random pass.

    The noise of a noisy ReLU is treated as a constant, although its standard deviation depends on z.
    """
    given, asked, _ = FEATURES[feature]
    asked = asked | {"penalty": asked.get("penalty", NO_PENALTY)._replace(alpha=0.3)}
    problem = Problem(**given, rows=6, seed=4)

    def value_and_gradient(parameters):
        data_loss, penalty, gradient = kernels.loss_and_gradient(
            problem.network, parameters, problem.X, problem.y, problem.weight, **asked
        )
        return data_loss + penalty, gradient

    gradient, numeric = value_and_gradient(problem.parameters)[1], np.empty(problem.parameters.size)
    for i in range(numeric.size):
        shifted = problem.parameters.copy()
        shifted[i] += 1e-6
        upper = value_and_gradient(shifted)[0]
        shifted[i] -= 2e-6
        numeric[i] = (upper - value_and_gradient(shifted)[0]) / 2e-6
    np.testing.assert_allclose(gradient, numeric, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("feature, dtype, rows", grid(OF_NETWORKS, DTYPES, [1, 3, 300]))
def test_prediction_equals_the_reference(compiled, feature, rows, dtype):
    """Without noise, in a random pass, and for one row at a time."""
    given, asked, _ = FEATURES[feature]
    problem = Problem(**given, rows=rows, dtype=dtype)
    args = problem.network, problem.parameters, problem.X
    wide = problem.network, problem.parameters.astype("f8"), problem.X.astype("f8")
    for noise in (None, asked.get("noise")):
        found = compiled.forward(*args, noise=noise)
        assert found.dtype == dtype
        assert relative_error(found, reference.forward(*wide, noise=noise)) < TOLERANCE[dtype]
    predict = compiled.row_predictor(problem.network, problem.parameters)
    assert relative_error(predict(problem.X[0]), reference.forward(*wide)[0]) < TOLERANCE[dtype]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_rates_of_batches_replace_that_of_the_optimizer(kernels, name):
    """A batch is trained as by an optimizer with the rate of the batch."""
    problem = Problem(rows=30)
    rates = np.array([0.01, 0.002, 0.03])
    found = train(kernels, problem, optimizer(name, 7.0), "float64", 10, epochs=1, rates=rates)[0]
    parameters, slots = problem.parameters.copy(), new_slots(name, problem.parameters.size, "float64")
    for step, rate in enumerate(rates):
        rows = problem.order[10 * step : 10 * step + 10]
        kernels.train_epoch(
            problem.network, optimizer(name, rate), parameters, slots, step,
            problem.batches(10, problem.weight, rows), Penalty(alpha=0.05),
        )  # fmt: skip
    np.testing.assert_allclose(found, parameters, rtol=1e-12)


@pytest.mark.parametrize("batch_size", [1, 7])
def test_rates_of_online_and_batched_steps(compiled, batch_size):
    problem = Problem(rows=21)
    rates = np.linspace(0.1, 0.001, 21 // batch_size)
    found = train(compiled, problem, optimizer("adam"), "float64", batch_size, epochs=1, rates=rates)[0]
    expected = train(reference, problem, optimizer("adam"), "float64", batch_size, epochs=1, rates=rates)[0]
    assert relative_error(found, expected) < 1e-10


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_weight_decay_of_every_optimizer(compiled, name):
    """Weight decay is part of the gradient in SGD and momentum, and decoupled in others; biases have none."""
    rule = optimizer(name, 0.01, weight_decay=0.5)
    found = train(compiled, Problem(), rule, "float64", 8)
    expected = train(reference, Problem(), rule, "float64", 8)
    assert relative_error(found[0], expected[0]) < 1e-10
    zero = Problem()
    zero.weight[:] = 1
    zero.y[:] = compiled.forward(zero.network, zero.parameters, zero.X)  # no error: only the decay has an effect
    weights = reference.layer_views(zero.network, zero.parameters)
    kept = [b.copy() for b in weights[1]], [W.copy() for W in weights[0]]
    slots = new_slots(name, zero.parameters.size, "float64")
    compiled.train_epoch(zero.network, rule, zero.parameters, slots, 0, zero.batches(40))
    for after, before in zip(weights[1], kept[0]):
        np.testing.assert_allclose(after, before, atol=1e-7)
    if OPTIMIZERS[name].decoupled:
        for after, before in zip(weights[0], kept[1]):
            np.testing.assert_allclose(after, before * (1 - 0.01 * 0.5), atol=1e-7)


def test_max_norm(kernels):
    """The norm of the weights into each unit is limited (Srivastava et al. 2014)."""
    problem = Problem(sizes=(9, 30, 4))
    rule = optimizer("adam", 0.1, max_norm=0.7)
    slots = new_slots("adam", problem.parameters.size, "float64")
    kernels.train_epoch(problem.network, rule, problem.parameters, slots, 0, problem.batches(8))
    for W in reference.layer_views(problem.network, problem.parameters)[0]:
        norms = np.linalg.norm(W, axis=0)
        assert norms.max() <= 0.7 * (1 + 1e-12)
        assert norms.max() == pytest.approx(0.7)


def test_dropout_rate_and_mean_of_the_mask(kernels):
    """The output of an identity network is the mask."""
    problem = Problem(sizes=(50, 50, 50), hidden=("identity",), rows=400)
    for W, b in zip(*reference.layer_views(problem.network, problem.parameters)):
        W[...], b[...] = np.eye(50), 0
    mask = kernels.forward(problem.network, problem.parameters, np.ones((400, 50)), noise=Noise(5, 0.0, 0.0, (0.3,)))
    assert set(np.unique(mask)) == {0.0, 1 / 0.7}
    assert np.mean(mask == 0) == pytest.approx(0.3, abs=0.015)
    assert abs(np.corrcoef(mask[:, 0], mask[:, 1])[0, 1]) < 0.2
    noise = kernels.forward(problem.network, problem.parameters, np.zeros((400, 50)), noise=Noise(6, 0.0, 2.0))
    assert noise.mean() == pytest.approx(0, abs=0.06)
    assert noise.std() == pytest.approx(2, abs=0.06)


def test_random_numbers_depend_only_on_seed_and_step(kernels):
    problem = Problem(hidden=("tanh",))
    once, again, other = (
        kernels.forward(problem.network, problem.parameters, problem.X, noise=Noise(seed, 0.0, 0.0, (0.5,)))
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(once, again)
    assert not np.array_equal(once, other)
    rule = optimizer("sgd", 1e-9)
    slots = new_slots("sgd", problem.parameters.size, "float64")
    losses = [
        kernels.train_epoch(
            problem.network, rule, problem.parameters.copy(), slots, step, problem.batches(40),
            noise=Noise(1, 0.0, 0.0, (0.5,)),
        )[0]
        for step in (0, 0, 1)
    ]  # fmt: skip
    assert losses[0] == losses[1] != losses[2]


@pytest.mark.parametrize("activation", ["tanh", "gelu"])
def test_custom_rules_equal_those_of_the_tables(kernels, activation):
    """The functions of a table's row, passed as a custom rule, give the same results as the name."""
    from fastmlp.kernels.rules import Activation, Loss

    functions = {
        "tanh": Activation(lambda z: np.tanh(z), lambda z: 1 - np.tanh(z) ** 2, of_input=True),
        "gelu": Activation(
            lambda z: z / 2 * (1 + math.erf(z / math.sqrt(2))),
            lambda z: (1 + math.erf(z / math.sqrt(2))) / 2 + z * math.exp(-z * z / 2) / math.sqrt(2 * math.pi),
            of_input=True,
        ),
    }
    loss = Loss(lambda p, t: (p - t) ** 2 / 2, lambda p, t: p - t, averaged=True)
    rule = optimizer("adam", 0.01)
    mine = train(kernels, Problem(loss, hidden=(functions[activation],)), rule, "float64", 9)
    named = train(reference, Problem(hidden=(activation,)), rule, "float64", 9)
    assert relative_error(mine[0], named[0]) < 1e-10
    assert relative_error(mine[1], named[1]) < 1e-10
