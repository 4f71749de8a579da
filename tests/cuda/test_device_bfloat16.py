"""The contract in bfloat16: on tensor cores where the network is narrow, as products of matrices where it is not."""

import numpy as np
import pytest

from fastmlp import MLP, Layer
from fastmlp.kernels.cuda import contract
from fastmlp.kernels.cuda import dispatch as choice
from fastmlp.kernels.cuda import executor as execution
from fastmlp.kernels.cuda.simt.layout import Features
from fastmlp.kernels.cuda.tensor_core import plan as fused_plan
from fastmlp.kernels.reference import contract as reference
from fastmlp.kernels.spec import Noise, Penalty, Skip, new_slots, optimizer
from problems import Problem, relative_error

PROBLEMS = {
    "fused": {"sizes": (5, 17, 3), "hidden": ("relu",)},
    "fused, softmax": {
        "sizes": (5, 17, 3), "hidden": ("tanh",), "output": "softmax", "loss": "categorical_cross_entropy",
    },
    "wide": {"sizes": (5, 140, 3), "hidden": ("relu",)},
    "wide, with a skip": {"sizes": (5, 6, 7, 3), "hidden": ("tanh", "gelu"), "skips": (None, None, Skip(1, True))},
}  # fmt: skip


@pytest.fixture(autouse=True)
def few_warps(monkeypatch):
    monkeypatch.setattr(fused_plan, "WARPS", (2,))


@pytest.fixture(params=PROBLEMS)
def problem(request):
    problem = Problem(**PROBLEMS[request.param], dtype="float32")
    problem.network = problem.network._replace(bfloat16=True)
    problem.way = request.param.split(",")[0]
    return problem


def train(kernels, problem, batch_size=13, **asked):
    """(parameters, sums) after two epochs, the last batch of which is short."""
    rule, parameters, step, found = optimizer("adam", 0.01, clip_norm=1.0), problem.parameters.copy(), 0, []
    slots = new_slots("adam", parameters.size, "float32")
    for _ in range(2):
        *sums, made = kernels.train_epoch(
            problem.network, rule, parameters, slots, step, problem.batches(batch_size, problem.weight),
            Penalty(alpha=0.1), **asked,
        )  # fmt: skip
        step += made
        found += sums
    return parameters, found


def test_training_is_near_the_reference_that_rounds(problem):
    parameters, sums = train(contract, problem)
    expected, expected_sums = train(reference, problem)
    assert relative_error(parameters - problem.parameters, expected - problem.parameters) < 1e-2
    assert relative_error(sums, expected_sums) < 1e-3


def test_gradients_and_outputs_are_near_the_reference_that_rounds(problem):
    args = problem.network, problem.parameters, problem.X
    found = contract.loss_and_gradient(*args, problem.y, problem.weight, Penalty(alpha=0.1))
    expected = reference.loss_and_gradient(*args, problem.y, problem.weight, Penalty(alpha=0.1))
    np.testing.assert_allclose(found[:2], expected[:2], rtol=1e-2)
    assert relative_error(found[2], expected[2]) < 1e-2
    assert relative_error(contract.forward(*args), reference.forward(*args)) < 1e-2


def test_which_kernels_make_it(problem):
    class H200:
        name, capability, processors, shared_bytes = "H200", (9, 0), 132, 232448

    class T4(H200):
        name, capability = "T4", (7, 5)

    given = problem.network, Features(), "adam", np.dtype("f4"), 64
    training = choice.training_launch(*given, H200)
    prediction = choice.prediction_launch(problem.network, Features(learning=False), np.dtype("f4"), 64, H200)
    assert training.way == prediction.way == problem.way
    for launch in (training, prediction):
        assert {"fused": "on tensor cores", "wide": "by cuBLASLt"}[problem.way] in launch.reason
    with pytest.raises(ValueError, match="'bfloat16' cannot be had here: T4"):
        choice.training_launch(*given, T4)


def test_segments_where_a_block_has_no_room_for_all_layers(monkeypatch):
    monkeypatch.setattr(fused_plan, "GRADIENT_REGISTERS", 60)
    fused_plan.segments_for.cache_clear()
    problem = Problem(sizes=(5, 17, 33, 40, 3), hidden=("relu",) * 3, dtype="float32")
    problem.network = problem.network._replace(bfloat16=True)
    assert len(fused_plan.segments_for(problem.network).learning) > 1
    parameters, sums = train(contract, problem)
    expected, expected_sums = train(reference, problem)
    assert relative_error(parameters - problem.parameters, expected - problem.parameters) < 1e-2
    assert relative_error(sums, expected_sums) < 1e-3
    fused_plan.segments_for.cache_clear()


def test_dropout_goes_by_products():
    problem = Problem(sizes=(5, 17, 3), hidden=("relu",), dtype="float32")
    problem.network = problem.network._replace(bfloat16=True)
    noise = Noise(3, 0.1, 0.0, (0.4,))
    found, expected = (train(kernels, problem, noise=noise)[0] for kernels in (contract, reference))
    assert relative_error(found - problem.parameters, expected - problem.parameters) < 1e-2
    features = Features(noisy=True, inputs=True, dropped=(True,))

    class H200:
        name, capability, processors, shared_bytes = "H200", (9, 0), 132, 232448

    assert choice.training_launch(problem.network, features, "adam", np.dtype("f4"), 13, H200).way == "wide"


def test_launches_of_some_steps_each(monkeypatch):
    from fastmlp.kernels.cuda import training_ways as steps

    problem = Problem(sizes=(5, 17, 3), hidden=("relu",), dtype="float32")
    problem.network = problem.network._replace(bfloat16=True)
    once = train(contract, problem, 4)
    monkeypatch.setattr(steps, "STEPS_PER_LAUNCH", 3)
    again = train(contract, problem, 4)
    np.testing.assert_array_equal(once[0], again[0])


def test_a_model_in_bfloat16():
    rng = np.random.RandomState(0)
    X = rng.standard_normal((40, 4)).astype("f4")
    fits = [
        MLP([Layer(6, "relu"), Layer(1, "identity")], dtype=dtype, random_state=0, backend="cuda").fit(
            X, X[:, :1], 4, 8
        )
        for dtype in ("bfloat16", "float32")
    ]
    assert fits[0].network.bfloat16
    assert 1e-5 < relative_error(fits[0].parameters, fits[1].parameters) < 2e-2
    assert relative_error(fits[0].predict(X), fits[1].predict(X)) < 3e-2


def test_rows_are_rounded_once_for_a_fit_and_given_back_after_it(monkeypatch):
    from fastmlp.kernels.cuda import training_ways as steps

    converted, kept = [], []
    launch = steps.launch
    of = steps.BFloat16Rows.of
    monkeypatch.setattr(steps, "launch", lambda kernel, *rest: converted.append(kernel) or launch(kernel, *rest))
    monkeypatch.setattr(steps.BFloat16Rows, "of", lambda rows, *given: kept.append(rows) or of(rows, *given))
    X = np.random.RandomState(0).standard_normal((30, 5)).astype("f4")
    execution.forget()
    model = MLP([Layer(17), Layer(1, "identity")], dtype="bfloat16", backend="cuda", random_state=0)
    model.fit(X, X[:, 0], 3, 13)
    assert len(kept) >= 3
    assert len(converted) == 1
    assert kept[0].halves is None
    first = model.history["loss"][-1]
    X *= 0  # the same array with other contents is rounded anew
    assert model.fit(X, X[:, 0], 1, 13).history["loss"][-1] != first
    assert len(converted) == 2
