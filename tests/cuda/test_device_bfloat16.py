"""The contract in bfloat16: tensor core kernels for narrow networks, cuBLASLt for others."""

import numpy as np
import pytest

from fastmlp import MLP, Layer, MLPRegressor
from fastmlp.kernels.cuda import contract, dispatch, executor
from fastmlp.kernels.cuda.simt.layout import Features
from fastmlp.kernels.cuda.tensor_core import plan
from fastmlp.kernels.reference import contract as reference
from fastmlp.kernels.spec import Noise, Penalty, Skip, new_slots, optimizer
from problems import Problem, relative_error

PROBLEMS = {
    "tensor_core": {"sizes": (5, 17, 3), "hidden": ("relu",)},
    "tensor_core, softmax": {
        "sizes": (5, 17, 3), "hidden": ("tanh",), "output": "softmax", "loss": "categorical_cross_entropy",
    },
    "gemm": {"sizes": (5, 140, 3), "hidden": ("relu",)},
    "gemm, with a skip": {"sizes": (5, 6, 7, 3), "hidden": ("tanh", "gelu"), "skips": (None, None, Skip(1, True))},
}  # fmt: skip


@pytest.fixture(autouse=True)
def few_warps(monkeypatch):
    monkeypatch.setattr(plan, "WARPS", (2,))


@pytest.fixture(params=PROBLEMS)
def problem(request):
    problem = Problem(**PROBLEMS[request.param], dtype="float32")
    problem.network = problem.network._replace(matmul_precision="medium")
    problem.strategy = request.param.split(",")[0]
    return problem


def train(kernels, problem, batch_size=13, **asked):
    """(parameters, sums) after two epochs whose last batch is shorter."""
    # A large epsilon: otherwise a step turns round where a gradient is smaller than the rounding to bfloat16.
    rule, parameters = optimizer("adam", 0.01, clip_norm=1.0, epsilon=1e-2), problem.parameters.copy()
    step, found = 0, []
    slots = new_slots("adam", parameters.size, "float32")
    for _ in range(2):
        *sums, made = kernels.train_epoch(
            problem.network, rule, parameters, slots, step, problem.batches(batch_size, problem.weight),
            Penalty(alpha=0.1), **asked,
        )  # fmt: skip
        step += made
        found += sums
    return parameters, found


def test_training_is_close_to_the_rounding_reference(problem):
    parameters, sums = train(contract, problem)
    expected, expected_sums = train(reference, problem)
    assert relative_error(parameters - problem.parameters, expected - problem.parameters) < 1e-2
    assert relative_error(sums, expected_sums) < 1e-3


def test_gradients_and_outputs_are_close_to_the_rounding_reference(problem):
    args = problem.network, problem.parameters, problem.X
    found = contract.loss_and_gradient(*args, problem.y, problem.weight, Penalty(alpha=0.1))
    expected = reference.loss_and_gradient(*args, problem.y, problem.weight, Penalty(alpha=0.1))
    np.testing.assert_allclose(found[:2], expected[:2], rtol=1e-2)
    assert relative_error(found[2], expected[2]) < 1e-2
    assert relative_error(contract.forward(*args), reference.forward(*args)) < 1e-2


def test_the_choice_of_kernels(problem):
    class H200:
        name, capability, processors, shared_bytes = "H200", (9, 0), 132, 232448

    class T4(H200):
        name, capability = "T4", (7, 5)

    given = problem.network, Features(), "adam", np.dtype("f4"), 64
    training = dispatch.training_config(*given, H200)
    prediction = dispatch.prediction_config(problem.network, Features(training=False), np.dtype("f4"), 64, H200)
    assert training.strategy == prediction.strategy == problem.strategy
    for launch in (training, prediction):
        assert {"tensor_core": "on tensor cores", "gemm": "by cuBLASLt"}[problem.strategy] in launch.description
    with pytest.raises(ValueError, match="'medium' is not supported here: T4"):
        dispatch.training_config(*given, T4)


def test_segments_if_shared_memory_cannot_hold_all_layers(monkeypatch):
    monkeypatch.setattr(plan, "GRADIENT_REGISTERS", 60)
    plan.segments_for.cache_clear()
    problem = Problem(sizes=(5, 17, 33, 40, 3), hidden=("relu",) * 3, dtype="float32")
    problem.network = problem.network._replace(matmul_precision="medium")
    assert len(plan.segments_for(problem.network).training) > 1
    parameters, sums = train(contract, problem)
    expected, expected_sums = train(reference, problem)
    assert relative_error(parameters - problem.parameters, expected - problem.parameters) < 1e-2
    assert relative_error(sums, expected_sums) < 1e-3
    plan.segments_for.cache_clear()


def test_dropout_uses_gemm():
    problem = Problem(sizes=(5, 17, 3), hidden=("relu",), dtype="float32")
    problem.network = problem.network._replace(matmul_precision="medium")
    noise = Noise(3, 0.1, 0.0, (0.4,))
    found, expected = (train(kernels, problem, noise=noise)[0] for kernels in (contract, reference))
    assert relative_error(found - problem.parameters, expected - problem.parameters) < 1e-2
    features = Features(noisy=True, inputs=True, dropped=(True,))

    class H200:
        name, capability, processors, shared_bytes = "H200", (9, 0), 132, 232448

    assert dispatch.training_config(problem.network, features, "adam", np.dtype("f4"), 13, H200).strategy == "gemm"


def test_several_launches_per_epoch(monkeypatch):
    from fastmlp.kernels.cuda import training_strategies

    problem = Problem(sizes=(5, 17, 3), hidden=("relu",), dtype="float32")
    problem.network = problem.network._replace(matmul_precision="medium")
    once = train(contract, problem, 4)
    monkeypatch.setattr(training_strategies, "STEPS_PER_LAUNCH", 3)
    again = train(contract, problem, 4)
    np.testing.assert_array_equal(once[0], again[0])


def test_high_precision_is_refused(problem):
    """By the model and by the kernels."""
    message = "matmul_precision 'high' is not available with the backend 'cuda': use 'medium'"
    with pytest.raises(ValueError, match=message):
        MLP([Layer(1, "identity")], matmul_precision="high", backend="cuda")
    with pytest.raises(ValueError, match=message):
        MLPRegressor(matmul_precision="high", backend="cuda").fit(problem.X, problem.y)
    model = MLP([Layer(1, "identity")], matmul_precision="high")
    with pytest.raises(ValueError, match=message):
        model.backend = "cuda"
    network = problem.network._replace(matmul_precision="high")
    for call in (contract.forward, contract.loss_and_gradient):
        with pytest.raises(ValueError, match=message):
            call(network, problem.parameters, problem.X, *[problem.y] * (call is not contract.forward))


def test_a_model_in_bfloat16():
    rng = np.random.RandomState(0)
    X = rng.standard_normal((40, 4)).astype("f4")
    fits = [
        MLP([Layer(6, "relu"), Layer(1, "identity")], matmul_precision=precision, random_state=0, backend="cuda").fit(
            X, X[:, :1], 4, 8
        )
        for precision in ("medium", "highest")
    ]
    assert fits[0].network.matmul_precision == "medium"
    assert 1e-5 < relative_error(fits[0].parameters, fits[1].parameters) < 2e-2
    assert relative_error(fits[0].predict(X), fits[1].predict(X)) < 3e-2


def test_rows_are_rounded_once_per_fit_and_freed_afterwards(monkeypatch):
    from fastmlp.kernels.cuda import training_strategies

    converted, kept = [], []
    cache, launch = training_strategies.BFloat16Cache, training_strategies.launch
    convert = cache.convert
    monkeypatch.setattr(training_strategies, "launch", lambda *given: converted.append(given[0]) or launch(*given))
    monkeypatch.setattr(cache, "convert", lambda self, *given: kept.append(self) or convert(self, *given))
    X = np.random.RandomState(0).standard_normal((30, 5)).astype("f4")
    executor.release_cached()
    model = MLP([Layer(17), Layer(1, "identity")], matmul_precision="medium", backend="cuda", random_state=0)
    model.fit(X, X[:, 0], 3, 13)
    assert len(kept) >= 3
    assert len(converted) == 1
    assert kept[0].bf16 is None
    first = model.history["loss"][-1]
    X *= 0  # the same array with other contents is rounded again
    assert model.fit(X, X[:, 0], 1, 13).history["loss"][-1] != first
    assert len(converted) == 2
