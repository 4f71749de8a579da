"""Backends are interchangeable: the same functions, arguments, defaults and side effects."""

import inspect
from types import MethodType

import numpy as np
import pytest

from fastmlp.backends import registry
from fastmlp.kernels import CONTRACT, FIELDS, PRIMITIVES
from fastmlp.kernels.spec import ALIGNMENT, Noise, Penalty, layer_views, new_slots, optimizer
from problems import DTYPES, OUTPUTS, Problem, grid, relative_error


@pytest.mark.parametrize("function", [*CONTRACT, *PRIMITIVES])
def test_signatures_are_identical(function):
    modules = [registry.choose(name).kernels for name in registry.ON_CPU]
    signatures = [inspect.signature(getattr(module, function)) for module in modules]
    assert signatures[0] == signatures[1] == signatures[2]


def test_fields_have_the_same_types_and_describe_the_backend():
    """Code reads capabilities from these fields and never compares names. Backend cuda: tests/cuda."""
    for name in registry.ON_CPU:
        module = registry.choose(name).kernels
        assert {field for field in vars(module) if field.isupper()} >= set(FIELDS)
        assert module.DEVICE is None
        assert not registry.runs_on_gpu(name)
        assert module.USES_BLAS == (name == "numpy")
        assert "highest" in module.PRECISIONS
        assert module.describe(Problem().network, optimizer("sgd"), np.dtype("float32"), 8) == ""


def test_public_names_are_identical():
    """No backend has public functions that others lack."""
    allowed = {*CONTRACT, *PRIMITIVES}
    for name in registry.ON_CPU:
        module = registry.choose(name).kernels
        own = {
            key for key, value in vars(module).items()
            if callable(value) and not key.startswith("_")
            and (isinstance(value, MethodType) or getattr(value, "__module__", None) == module.__name__)
        }  # fmt: skip
        assert own == allowed, name


def test_parameters_are_aligned_views_of_one_vector():
    problem = Problem(sizes=(3, 5, 2))
    weights, biases = layer_views(problem.network, problem.parameters)
    assert problem.parameters.ctypes.data % ALIGNMENT == 0
    assert [W.shape for W in weights] == [(3, 5), (5, 2)]
    assert [b.shape for b in biases] == [(5,), (2,)]
    flat = np.concatenate([array.ravel() for pair in zip(weights, biases) for array in pair])
    np.testing.assert_array_equal(flat, problem.parameters)
    assert all(np.shares_memory(array, problem.parameters) for array in (*weights, *biases))


def test_forward_and_gradient_do_not_modify_their_arguments(kernels):
    problem = Problem()
    before = problem.parameters.copy(), problem.X.copy(), problem.y.copy(), problem.weight.copy()
    kernels.forward(problem.network, problem.parameters, problem.X)
    kernels.loss_and_gradient(
        problem.network, problem.parameters, problem.X, problem.y, problem.weight, Penalty(alpha=0.1)
    )
    after = problem.parameters, problem.X, problem.y, problem.weight
    for old, new in zip(before, after):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("rows", [3, 40, 300])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_outputs_only_for_finite_rows(kernels, rows, dtype):
    """A value that is not finite is found at any position; finite inputs whose sum overflows are accepted."""
    problem = Problem(rows=rows, dtype=dtype)
    given = problem.network, problem.parameters
    expected = kernels.forward(*given, problem.X)
    np.testing.assert_array_equal(kernels.forward(*given, problem.X, True), expected)
    large = np.full_like(problem.X, np.finfo(dtype).max / 4)
    with np.errstate(over="ignore"):
        assert kernels.forward(*given, large, True).shape == expected.shape
    for row, column, wrong in ((0, 0, np.nan), (rows // 2, 3, np.inf), (rows - 1, 4, -np.inf)):
        spoiled = problem.X.copy()
        spoiled[row, column] = wrong
        with np.errstate(invalid="ignore"):
            assert kernels.forward(*given, spoiled, True) is None


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("loss, output", grid(OUTPUTS))
def test_loss_of_outputs_is_the_data_loss_of_loss_and_gradient(kernels, loss, output, dtype):
    """With and without weights, for few and many rows."""
    for rows in (3, 40, 300):
        problem = Problem(loss, output, rows=rows, dtype=dtype)
        for weight in (None, problem.weight):
            given = problem.network, problem.parameters, problem.X
            expected = kernels.loss_and_gradient(*given, problem.y, weight, Penalty(alpha=0.3))[0]
            found = kernels.loss_of_outputs(problem.network, kernels.forward(*given), problem.y, weight)
            assert type(found) is float
            assert relative_error(found, expected) < {"float32": 1e-5, "float64": 1e-10}[dtype]


def test_read_only_data(kernels):
    problem = Problem()
    for array in (problem.X, problem.y, problem.weight, problem.order):
        array.flags.writeable = False
    sgd = optimizer("sgd")
    slots = new_slots("sgd", problem.parameters.size, "float64")
    before = problem.parameters.copy()
    kernels.train_epoch(problem.network, sgd, problem.parameters, slots, 0, problem.batches(8, problem.weight))
    kernels.loss_and_gradient(problem.network, problem.parameters, problem.X, problem.y, problem.weight)
    assert kernels.forward(problem.network, problem.parameters, problem.X).shape == (40, 3)
    assert not np.array_equal(before, problem.parameters)


def test_an_epoch_is_its_steps(kernels):
    """train_epoch = loss_and_gradient + update, batch by batch, with the last batch shorter."""
    problem = Problem(rows=29)
    adam = optimizer("adam", 0.01)
    size = problem.parameters.size
    slots, by_hand, hand_slots = new_slots("adam", size, "float64"), problem.parameters.copy(), None
    hand_slots = new_slots("adam", size, "float64")
    loss_sum, penalty_sum, n_steps = kernels.train_epoch(
        problem.network, adam, problem.parameters, slots, 0, problem.batches(8, problem.weight), Penalty(alpha=0.3)
    )
    expected_loss = expected_penalty = 0.0
    for step, start in enumerate(range(0, 29, 8), 1):
        rows = problem.order[start : start + 8]
        loss, penalty, gradient = kernels.loss_and_gradient(
            problem.network, by_hand, problem.X[rows], problem.y[rows], problem.weight[rows], Penalty(alpha=0.3)
        )
        kernels.update(adam, by_hand, gradient, hand_slots, step)
        expected_loss += len(rows) * loss
        expected_penalty += len(rows) * penalty
    assert n_steps == 4
    assert loss_sum == pytest.approx(expected_loss, rel=1e-12)
    assert penalty_sum == pytest.approx(expected_penalty, rel=1e-12)
    np.testing.assert_allclose(problem.parameters, by_hand, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(slots, hand_slots, rtol=1e-10, atol=1e-12)


def test_an_epoch_in_chunks_gives_the_same_bits(kernels):
    whole, pieces = Problem(rows=50), Problem(rows=50)
    adam = optimizer("adam", 0.01)
    slots = [new_slots("adam", whole.parameters.size, "float64") for _ in range(2)]
    once = kernels.train_epoch(whole.network, adam, whole.parameters, slots[0], 0, whole.batches(8))
    sums, step = (0.0, 0.0), 0
    for start in (0, 24, 40):
        stop = {0: 24, 24: 40, 40: 50}[start]
        *sums, steps = kernels.train_epoch(
            pieces.network, adam, pieces.parameters, slots[1], step,
            pieces.batches(8, order=pieces.order[start:stop]), totals=sums,
        )  # fmt: skip
        step += steps
    assert step == once[2]
    np.testing.assert_array_equal(whole.parameters, pieces.parameters)
    np.testing.assert_array_equal(slots[0], slots[1])
    assert tuple(sums) == once[:2]


PREPARED = {
    "plain": ({}, {}, {}),
    "one sample a step": ({}, {}, {"batch_size": 1}),
    "weights, penalties": ({}, {"penalty": Penalty(alpha=0.1, l1=0.01, activity_l2=0.1)}, {"weighted": True}),
    "noise": ({}, {"noise": Noise(3, 0.1, 0.2, (0.3,))}, {}),
    "bounds": ({"clip_norm": 0.5, "max_norm": 1.0, "weight_decay": 0.1}, {}, {}),
    "rates": ({}, {}, {"rates": True}),
}


@pytest.mark.parametrize("options, more, given", PREPARED.values(), ids=PREPARED)
@pytest.mark.parametrize("dtype", DTYPES)
def test_prepared_training_equals_train_epoch(kernels, dtype, options, more, given):
    """Call after call with other samples, also with two models of the same shape in turn, which share buffers."""
    size = given.get("batch_size", 8)
    adam = optimizer("adam", 0.01, **options)
    prepared, plain = ([Problem(rows=40, dtype=dtype, seed=seed) for seed in (0, 1)] for _ in range(2))
    slots = [[new_slots("adam", prepared[0].parameters.size, dtype) for _ in range(2)] for _ in range(2)]
    network = prepared[0].network
    trained = [
        kernels.prepare_training(network, adam, problem.parameters, slots[0][model], size, **more)
        for model, problem in enumerate(prepared)
    ]
    for number, start in enumerate((0, 16, 24)):
        for model, problem in enumerate(plain):
            order = problem.order[start : start + 16]
            batches = problem.batches(size, problem.weight if given.get("weighted") else None, order)
            n_batches = -(-len(order) // size)
            rates = np.linspace(0.01, 0.02, n_batches) if given.get("rates") else None
            found = trained[model](batches, 20 * number, rates, (1.0, 2.0))
            expected = kernels.train_epoch(
                network, adam, problem.parameters, slots[1][model], 20 * number, batches, **more, rates=rates,
                totals=(1.0, 2.0),
            )  # fmt: skip
            assert found == expected
            np.testing.assert_array_equal(prepared[model].parameters, problem.parameters)
            np.testing.assert_array_equal(slots[0][model], slots[1][model])


def test_a_batch_with_zero_weights_makes_no_step(kernels):
    problem = Problem(rows=24)
    problem.weight[problem.order[8:16]] = 0
    momentum = optimizer("momentum")
    slots = new_slots("momentum", problem.parameters.size, "float64")
    reference = Problem(rows=24)
    kept = np.concatenate([problem.order[:8], problem.order[16:]])
    *_, n_steps = kernels.train_epoch(
        problem.network, momentum, problem.parameters, slots, 0, problem.batches(8, problem.weight)
    )
    slots = new_slots("momentum", problem.parameters.size, "float64")
    kernels.train_epoch(
        reference.network, momentum, reference.parameters, slots, 0, problem.batches(8, problem.weight, kept)
    )
    assert n_steps == 2
    np.testing.assert_array_equal(problem.parameters, reference.parameters)


def test_zero_weight_equals_omitting_the_sample(kernels):
    problem = Problem()
    problem.weight[::3] = 0
    keep = problem.weight > 0
    with_zeros = kernels.loss_and_gradient(
        problem.network, problem.parameters, problem.X, problem.y, problem.weight, Penalty(alpha=0.2)
    )
    without = kernels.loss_and_gradient(
        problem.network, problem.parameters, problem.X[keep], problem.y[keep], problem.weight[keep], Penalty(alpha=0.2)
    )
    assert with_zeros[:2] == pytest.approx(without[:2], rel=1e-12)
    np.testing.assert_allclose(with_zeros[2], without[2], rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("sizes", [(1, 1), (4, 1), (1, 1, 1), (3, 2), (2, 1, 30, 4, 1), (6, *[5] * 10, 2)])
@pytest.mark.parametrize("rows", [1, 2, 257, 600])
def test_any_depth_and_width(kernels, sizes, rows):
    """No hidden layer, one unit, ten layers; row counts around the block size of a prediction."""
    from fastmlp.kernels.reference import contract as numpy_reference

    hidden = ("tanh",) * (len(sizes) - 2)
    problem = Problem(sizes=sizes, hidden=hidden, rows=rows)
    args = problem.network, problem.parameters, problem.X
    np.testing.assert_allclose(kernels.forward(*args), numpy_reference.forward(*args), rtol=1e-11, atol=1e-13)
    found = kernels.loss_and_gradient(*args, problem.y)
    expected = numpy_reference.loss_and_gradient(*args, problem.y)
    assert found[0] == pytest.approx(expected[0], rel=1e-11)
    np.testing.assert_allclose(found[2], expected[2], rtol=1e-9, atol=1e-12)
