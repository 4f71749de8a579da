"""prepare_gradient and prepare_update: passes forward and backward, and steps from given gradients."""

import numpy as np
import pytest
from test_features import DEEP, FEATURES, OF_NETWORKS, SKIPS

from fastmlp.backends import registry
from fastmlp.kernels.cpu import thread_pool
from fastmlp.kernels.reference import contract as reference
from fastmlp.kernels.rules import ACTIVATIONS, LOSSES, OPTIMIZERS
from fastmlp.kernels.spec import Noise, new_slots, optimizer, updates_in_parts
from problems import COMPILED, DTYPES, HIDDEN, Problem, grid, relative_error

LINKS = {row.link: name for name, row in LOSSES.items() if row.link not in (None, "step")}
CASES = {
    **{f"hidden {name}": {"hidden": (name, "tanh"), "sizes": (4, 5, 4, 3)} for name in HIDDEN},
    **{f"output {name}": {"output": name, "loss": LINKS.get(name, "squared_error")} for name in ACTIVATIONS},
    "8 inputs, which training reads in place": {"sizes": (8, 7, 3)},
    "no hidden layer": {"hidden": (), "sizes": (4, 2), "output": "softmax"},
    "softmax over a skip": {**DEEP, "hidden": ("gelu",) * 4, "skips": SKIPS["past two layers"], "output": "softmax",
                            "loss": "categorical_cross_entropy"},
    "skip added from the inputs": {"hidden": ("tanh",) * 2, "sizes": (5, 4, 5, 3),
                                   "skips": (None, SKIPS["added"][2]._replace(source=0), None)},
}  # fmt: skip
CASES = {name: (given, None) for name, given in CASES.items()}
# The noise of a noisy ReLU is treated as a constant, although its standard deviation depends on z.
CASES |= {
    name: (FEATURES[name][0], FEATURES[name][1].get("noise"))
    for name in OF_NETWORKS
    if "noise" in FEATURES[name][1] or "skip" in name
    if name != "noisy relu"
}


def derivatives(kernels, problem, noise, g, parameters=None, X=None, step=3):
    """(sum of g a, its gradient, its derivatives of X)"""
    parameters = problem.parameters if parameters is None else parameters
    X = problem.X if X is None else X
    passes = kernels.prepare_gradient(problem.network, parameters.dtype, len(X), noise)
    outputs, gradient, of_X = passes.forward(parameters, X, step), np.empty_like(parameters), np.empty_like(X)
    passes.backward(g, gradient, of_X)
    return np.sum(outputs * g), gradient, of_X


@pytest.mark.parametrize("case", CASES)
def test_gradients_are_central_differences(kernels, case):
    """In random directions, of the parameters and of X; the loss of the network plays no part."""
    given, noise = CASES[case]
    problem, rng = Problem(**given, rows=6, seed=4), np.random.RandomState(1)
    g = rng.standard_normal((6, problem.network.sizes[-1]))
    _, gradient, of_X = derivatives(kernels, problem, noise, g)
    for _ in range(3):
        shift, shift_X = (1e-6 * rng.standard_normal(a.shape) for a in (problem.parameters, problem.X))
        for found, shifts in (((gradient * shift).sum(), (shift, 0)), ((of_X * shift_X).sum(), (0, shift_X))):
            upper, lower = (
                derivatives(kernels, problem, noise, g, problem.parameters + sign * shifts[0],
                            problem.X + sign * shifts[1])[0]
                for sign in (1, -1)
            )  # fmt: skip
            assert found == pytest.approx((upper - lower) / 2, rel=1e-5, abs=1e-12)


@pytest.fixture(params=COMPILED)
def compiled(request):
    return registry.choose(request.param).kernels


@pytest.mark.parametrize("case, dtype", grid(CASES, DTYPES))
def test_passes_equal_the_reference(compiled, case, dtype):
    """Any number of rows up to the batch size; several backward passes after a forward pass; X may change after it."""
    given, noise = CASES[case]
    problem = Problem(**given, rows=300, dtype=dtype)
    n_outputs = problem.network.sizes[-1]
    passes = compiled.prepare_gradient(problem.network, dtype, 300, noise)
    wide = problem.parameters.astype("f8")
    for rows in (3, 300, 0, 1, 20):
        X = problem.X[:rows].copy()
        out = passes.forward(problem.parameters, X, rows)
        expected = reference.prepare_gradient(problem.network, "f8", 300, noise)
        assert out.dtype == dtype
        right_out = expected.forward(wide, X.astype("f8"), rows)
        assert out.shape == right_out.shape
        assert not rows or relative_error(out, right_out) < 1e-5
        X[...] = np.nan
        for seed in range(2):
            g = np.random.RandomState(seed).standard_normal((rows, n_outputs)).astype(dtype)
            found = np.full_like(problem.parameters, np.nan), np.full_like(X, np.nan)
            right = np.empty_like(wide), np.empty(X.shape)
            passes.backward(g, *found)
            expected.backward(g.astype("f8"), *right)
            alone = np.empty_like(problem.parameters)
            passes.backward(g, alone)
            np.testing.assert_array_equal(alone, found[0])
            for mine, yours in zip(found, right):
                assert not yours.size or relative_error(mine, yours) < {"float32": 3e-5, "float64": 1e-10}[dtype]


@pytest.mark.parametrize("noise", [None, Noise(1, 0.1, 0.1, (0.2, 0.2))])
def test_threads_do_not_change_the_numbers(compiled, monkeypatch, noise):
    monkeypatch.setattr(thread_pool, "cores", lambda: 4)
    problem = Problem(hidden=("gelu", "prelu"), sizes=(60, 90, 90, 3), rows=700, dtype="float32")
    g, found = problem.y, []
    for n_threads in (1, 3):
        with thread_pool.limited_to(n_threads):
            found.append(derivatives(compiled, problem, noise, g))
    for one, three in zip(*found):
        np.testing.assert_array_equal(one, three)


OPTIONS = {
    **{name: {"name": name} for name in OPTIMIZERS},
    "decay": {"name": "adam", "weight_decay": 0.1},
    "decoupled decay": {"name": "adamw", "weight_decay": 0.1},
    "clipped norm": {"name": "momentum", "clip_norm": 0.05, "weight_decay": 0.1},
    "clipped values": {"name": "adam", "clip_value": 0.001},
    "bounded weights": {"name": "sgd", "learning_rate": 0.1, "max_norm": 0.5},
    "rates by layer": {"name": "adam", "layer_rates": (0.5, 2.0)},
}


@pytest.mark.parametrize("case", OPTIONS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_step_from_the_gradient_of_the_loss_is_a_training_step(kernels, case, dtype):
    """In turn with training of a network of the same shape, with which compiled backends share buffers.

    The second step has another learning rate than the optimizer's.
    """
    rule, size = optimizer(**OPTIONS[case]), 40
    trained, stepped, other = (Problem(dtype=dtype, hidden=("prelu",)) for _ in range(3))
    slots = [new_slots(rule.name, trained.parameters.size, dtype) for _ in range(3)]
    train = kernels.prepare_training(trained.network, rule, trained.parameters, slots[0], size)
    train_other = kernels.prepare_training(other.network, rule, other.parameters, slots[2], 1)
    step = kernels.prepare_update(stepped.network, rule, stepped.parameters, slots[1])
    for number in range(3):
        rate = rule.learning_rate / 2 if number == 1 else None
        train(trained.batches(size), number, None if rate is None else np.array([rate]))
        train_other(other.batches(1), number)
        gradient = kernels.loss_and_gradient(stepped.network, stepped.parameters, stepped.X, stepped.y)[2]
        before = gradient.copy()
        step(gradient, number, rate)
        np.testing.assert_array_equal(gradient, before)
    for found, expected in ((stepped.parameters, trained.parameters), (slots[1], slots[0])):
        assert not expected.size or relative_error(found, expected) < {"float32": 2e-5, "float64": 1e-9}[dtype]


@pytest.mark.parametrize("case", [name for name, given in OPTIONS.items() if not {"clip_norm", "max_norm"} & {*given}])
@pytest.mark.parametrize("dtype", DTYPES)
def test_parts_of_a_step_from_several_gradients_are_the_step_from_their_sum(kernels, case, dtype):
    """Each part changes what no other one does, also where there are more parts than parameters to share out."""
    rule = optimizer(**OPTIONS[case])
    whole, shared = (Problem(dtype=dtype, sizes=(60, 50, 3), hidden=("prelu",)) for _ in range(2))
    n, slots = whole.parameters.size, [new_slots(rule.name, whole.parameters.size, dtype) for _ in range(2)]
    step, step_of_part = (
        kernels.prepare_update(problem.network, rule, problem.parameters, own)
        for problem, own in zip((whole, shared), slots)
    )
    for number, n_parts in enumerate((3, 2, 40)):
        gradients = np.random.RandomState(number).normal(size=(3, n + 7)).astype(dtype)
        step(gradients[0, :n] + gradients[1, :n] + gradients[2, :n], number, 0.1)
        for part in range(n_parts):
            step_of_part(gradients, number, rate=0.1, part=(part, n_parts))
    for found, expected in ((shared.parameters, whole.parameters), (slots[1], slots[0])):
        assert not expected.size or relative_error(found, expected) < {"float32": 2e-6, "float64": 1e-14}[dtype]


def test_options_that_need_the_whole_gradient_are_not_updated_in_parts():
    network = Problem().network
    assert updates_in_parts(network, optimizer("adam", weight_decay=0.1, clip_value=1, layer_rates=(1, 2)))
    assert not updates_in_parts(network, optimizer("adam", clip_norm=1))
    assert not updates_in_parts(network, optimizer("sgd", max_norm=1))
