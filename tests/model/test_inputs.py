"""``inputs`` and ``input_scale`` of MLP: what becomes of the columns of X before the first layer."""

import copy
import pickle
import re

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

import fastmlp
from fastmlp import MLP, Embedding, Layer, OneHot, Periodic, PiecewiseLinear, Plain, make_optimizer, make_schedule
from fastmlp.kernels.cpu.training import Training

RNG = np.random.RandomState(0)
N = 200
INPUTS = [Plain(), OneHot(3), Embedding(5, 2), Periodic(rate=0.1), PiecewiseLinear(np.linspace(-2, 2, 9))]
WIDTHS = [1, 3, 2, 4, 8]
X = np.column_stack([RNG.randn(N), RNG.randint(0, 3, N), RNG.randint(0, 5, N), RNG.randn(N), RNG.randn(N)])
Y = X[:, 0] + (X[:, 1] == 2) + np.sin(3 * X[:, 3]) + np.abs(X[:, 4]) + np.array([0, 2, -1, 1, 0])[X[:, 2].astype(int)]
ADAMW = make_optimizer("adamw", 0.01, weight_decay=0.02)


LAYERS = [Layer(24, "silu"), Layer(1, "identity")]


def new(optimizer=ADAMW, layers=LAYERS, **options):
    return MLP(layers, optimizer=optimizer, **{"inputs": INPUTS, "input_scale": 6.0, "random_state": 0} | options)


def test_training_learns_what_the_columns_say(backend):
    model = new(backend=backend).fit(X, Y, epochs=60)
    assert model.network.sizes == (sum(WIDTHS), 24, 1)
    assert model.evaluate(X, Y)["r2"] > 0.97
    assert repr(model).startswith(
        "MLP([24 silu, 1 identity], 'squared_error', 'adamw', inputs=[1 Plain, 1 OneHot, 1 Em"
    )


def test_backends_agree():
    found = [new(backend=backend, dtype="float64").fit(X, Y, epochs=3).predict(X) for backend in ("cython", "numpy")]
    np.testing.assert_allclose(*found, atol=1e-9)


def test_initial_parameters():
    inputs = [Periodic(2000, 50), Embedding(300, 40, std=0.5), Plain(), Periodic(4, 1, std=3)]
    model = MLP([Layer(1)], inputs=inputs, input_scale=1).build(4)
    (first, table, plain, second), factors = model.input_parameters, model.input_factors
    assert plain == {}
    assert factors.tolist() == [1] * (51 + 40 + 1 + 2)
    assert table["table"].shape == (300, 40)
    assert table["table"].std() == pytest.approx(0.5, rel=0.05)
    assert first["w"].std() == pytest.approx(0.1, rel=0.1)
    bound = 2000**-0.5
    for name, low, high in (("p", -0.5, 0.5), ("V", -bound, bound), ("b", -bound, bound)):
        assert low <= first[name].min() < 0.8 * low < 0.8 * high < first[name].max() <= high
    assert [view.shape for view in second.values()] == [(4,), (4, 1), (4,), (1,)]
    n_stage = sum(view.size for views in model.input_parameters for view in views.values()) + factors.size
    assert model.n_parameters == n_stage + factors.size + 1
    table["table"][3] = 7  # a view
    assert np.count_nonzero(model.parameters == 7) == 40


def test_scale_alone_is_of_the_columns_as_they_are():
    model = MLP([(1, "identity")], inputs=None, input_scale=2.0, random_state=0).build(3)
    model.input_factors[:] = 1, 0, -2
    outputs = X[:, :3] * [1, 0, -2] @ model.weights[0] + model.biases[0]
    np.testing.assert_allclose(model.predict(X[:, :3]), outputs, atol=1e-5)
    assert model.inputs is None
    plain = MLP([Layer(1)]).build(2)
    assert plain.inputs is plain.input_scale is plain.input_factors is None
    assert plain.input_parameters == [{}, {}]


def test_codes_out_of_range_become_zeros(backend):
    model = new(backend=backend).build(5)
    strange = X[:3].copy()
    strange[:, 1:3] = [[-1, 9], [0.5, 1e30], [3, 5]]
    model.fit(strange, Y[:3], epochs=1)
    linear = MLP([(2, "identity")], inputs=[OneHot(3), Embedding(5, 2)], backend=backend).build(2)
    np.testing.assert_array_equal(linear.predict(strange[:, 1:3]), [linear.biases[0]] * 3)


def test_saved_copied_and_resumed_models_train_alike(tmp_path):
    whole, first = new().fit(X, Y, epochs=6), new().fit(X, Y, epochs=3)
    first.save(tmp_path / "model")
    restored = [fastmlp.load(tmp_path / "model"), pickle.loads(pickle.dumps(first)), copy.deepcopy(first)]
    for model in (*restored, first):
        assert model.inputs == INPUTS
        assert model.input_scale == 6
        np.testing.assert_array_equal(model.fit(X, Y, epochs=3).parameters, whole.parameters)
    unfitted = new()
    unfitted.save(tmp_path / "model")
    np.testing.assert_array_equal(fastmlp.load(tmp_path / "model").fit(X, Y, epochs=6).parameters, whole.parameters)


def test_repeated_epochs_are_single_ones(monkeypatch):
    """Several epochs in a native call, shuffling and a schedule included."""
    optimizer = make_optimizer("adam", 0.01, schedule=make_schedule("cosine", epochs=8))
    repeated, repeat = [], Training.repeat
    monkeypatch.setattr(Training, "repeat", lambda *given: repeated.append(1) or repeat(*given))
    several = new(optimizer).fit(X, Y, epochs=8)
    assert repeated
    monkeypatch.setattr(Training, "repeat", None)
    np.testing.assert_array_equal(several.parameters, new(optimizer).fit(X, Y, epochs=8).parameters)


def test_steps_of_every_kind_are_those_of_fit():
    """compile_step, fit_stream, fit_many, and forward, backward and apply."""
    given, targets = np.ascontiguousarray(X, "f4"), Y.astype("f4")[:, None]
    fitted = new().fit(X, Y, epochs=1, batch_size=50, shuffle=False).parameters
    compiled, passed = new().build(5), new().build(5)
    step = compiled.compile_step(50)
    for start in range(0, N, 50):
        rows = slice(start, start + 50)
        step(given[rows], targets[rows])
        error = passed.forward(given[rows]) - targets[rows]
        passed.apply(passed.backward(error / np.float32(50)))
    streamed = new().fit_stream([(X[:70], Y[:70]), (X[70:], Y[70:])], batch_size=50, shuffle=False)
    many = [new(), new()]
    fastmlp.fit_many(many, X, Y, fit_params={"epochs": 1, "batch_size": 50, "shuffle": False})
    for model in (compiled, streamed, *many):
        np.testing.assert_array_equal(model.parameters, fitted)
    np.testing.assert_allclose(passed.parameters, fitted, atol=2e-5)


def test_predictions_of_single_rows_and_layers():
    model = new().fit(X, Y)
    predict, row = model.compile_predict(), np.ascontiguousarray(X[3], "f4")
    np.testing.assert_allclose(predict(row), model.predict(X[3:4])[0], rtol=1e-6)
    assert [layer.shape for layer in model.layer_outputs(X)] == [(N, 24), (N, 1)]
    mean, std = new(input_noise=0.5).fit(X, Y).predict(X, mc_samples=5)
    assert mean.shape == std.shape == (N, 1)
    assert (std > 0).all()


@pytest.mark.parametrize("optimizer", ["lbfgs", "sgd"])
def test_gradients(optimizer):
    model = new(optimizer, dtype="float64").fit(X, Y, epochs=2)
    found = check_gradients(model)
    assert found.largest < 1e-6
    assert 0 < found.of_inputs <= found.largest


def check_gradients(model):
    return fastmlp.check_gradients(model, X[:20], Y[:20], n_parameters=2000)


def test_derivatives_with_respect_to_X():
    """Central differences; 0 for codes."""
    model = new(dtype="float64", layers=[Layer(9, "tanh"), Layer(2, "identity")]).build(5)
    found = fastmlp.jacobian(model, X[:9])
    assert found.shape == (9, 2, 5)
    np.testing.assert_array_equal(found[:, :, 1:3], 0)
    for column in (0, 3, 4):
        shift = 1e-6 * np.eye(5)[column]
        numeric = (model.predict(X[:9] + shift) - model.predict(X[:9] - shift)) / 2e-6
        np.testing.assert_allclose(found[:, :, column], numeric, atol=1e-7)
    np.testing.assert_allclose(fastmlp.input_gradient(model, X[:9], 1), found[:, 1], atol=1e-12)
    model.forward(X[:9].copy())
    _, of_X = model.backward(np.tile([0.0, 1.0], (9, 1)), input_gradient=True)
    np.testing.assert_allclose(of_X, found[:, 1], atol=1e-12)


def test_monitor_and_report_are_of_the_layers(tmp_path):
    model = new().fit(X, Y, epochs=2, monitor=True)
    assert len(model.history["gradient_norm"][0]) == 2
    fastmlp.training_report(tmp_path / "report.html", model, Y, model.predict(X))


def test_lbfgs_trains_the_inputs():
    model = new("lbfgs").build(5)
    before = model.evaluate(X, Y)["loss"], model.input_parameters[3]["w"].copy()
    assert model.fit(X, Y, epochs=20).evaluate(X, Y)["loss"] < before[0] / 4
    assert (model.input_parameters[3]["w"] != before[1]).all()


def test_column_names_are_those_of_X():
    frame = pd.DataFrame(X, columns=list("abcde"))
    model = new().fit(frame, Y)
    assert model.feature_names_in_.tolist() == list("abcde")
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame[list("abced")])


def test_copy_parameters_requires_the_same_inputs():
    model = new().build(5)
    other = new(random_state=1).build(5)
    np.testing.assert_array_equal(model.copy_parameters(other).parameters, other.parameters)
    with pytest.raises(ValueError, match="source must have the same inputs"):
        model.copy_parameters(new(inputs=[*INPUTS[:-1], PiecewiseLinear(range(9))]).build(5))


REFUSED = {
    "edges that do not increase": (lambda: PiecewiseLinear([0, 1, 1]), "edges must be at least two strictly"),
    "one edge": (lambda: PiecewiseLinear([0]), "edges must be at least two"),
    "edges of text": (lambda: PiecewiseLinear(["0", "1"]), "edges must be"),
    "edges without end": (lambda: PiecewiseLinear([0, np.inf]), "edges must be"),
    "edges too close": (lambda: PiecewiseLinear([0, 1e-310]), "edges must be"),
    "no values": (lambda: OneHot(0), "n_values must be an integer of at least 1, got 0"),
    "too many values": (lambda: Embedding(2**25, 1), "n_values must be at most 16777216"),
    "no size": (lambda: Embedding(3, 0), "size must be an integer of at least 1"),
    "no frequencies": (lambda: Periodic(0), "n_frequencies must be an integer of at least 1"),
    "no rate": (lambda: Periodic(rate=0), "rate must be"),
    "a negative std": (lambda: Embedding(3, 2, -1.0), "std must be"),
    "a name": (lambda: new(inputs=["plain"]), "inputs must be a list of Plain()"),
    "an empty list": (lambda: new(inputs=[]), "inputs must be a list"),
    "one for all": (lambda: new(inputs=Plain()), "inputs must be a list"),
    "a scale of 0": (lambda: new(input_scale=0), "input_scale must be"),
    "lm": (lambda: new("lm"), "optimizer 'lm' is not available with inputs"),
    "cuda": (lambda: new(backend="cuda"), "backend 'cuda' is not available with inputs"),
    "columns": (lambda: new().fit(X[:, :4], Y), "inputs must have one entry for each column of X: got 5 for 4 columns"),
    "columns of build": (lambda: new().build(6), "got 5 for 6 columns"),
    "columns later": (lambda: new().build(5).predict(X[:, :4]), "X has 4 columns, but the network has 5 inputs"),
    "columns of a step": (
        lambda: new().build(5).compile_step(2)(np.zeros((2, 18), "f4"), np.zeros((2, 1), "f4")), "shape (2, 5)"),
    "columns of a pass": (lambda: new().build(5).forward(np.zeros((2, 18), "f4")), "shape (n_samples, 5)"),
    "columns of a Jacobian": (lambda: fastmlp.jacobian(new().build(5), X[:, :4]), "X has 4 columns"),
    "NaN": (lambda: new().fit(np.full((9, 5), np.nan), Y[:9]), "contains NaN"),
    "sparse X": (lambda: new().fit(csr_matrix(X), Y), "sparse X is not available with inputs"),
    "sparse X later": (lambda: new().build(5).predict(csr_matrix(X)), "sparse X is not available with inputs"),
    "skips": (
        lambda: new(layers=[Layer(24), Layer(5, skip=2, skip_weights=False)]).build(5), "comes from 18 units"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(case):
    call, message = REFUSED[case]
    with pytest.raises(ValueError, match=re.escape(message)):
        call()


def test_a_refused_fit_leaves_the_model_as_it_was():
    model = new()
    with pytest.raises(ValueError, match="got 5 for 4"):
        model.fit(X[:, :4], Y)
    assert not hasattr(model, "feature_names_in_")
    np.testing.assert_array_equal(model.fit(X, Y).parameters, new().fit(X, Y).parameters)
    with pytest.raises(ValueError, match="not available with inputs"):
        model.optimizer = "lm"
    with pytest.raises(ValueError, match="not available with inputs"):
        model.backend = "cuda"
    assert (model.optimizer, model.backend) == (ADAMW, new().backend)


def test_torch_modules_refuse_inputs():
    pytest.importorskip("torch")
    from fastmlp.torch import FastMLP

    with pytest.raises(ValueError, match="a model with inputs or input_scale cannot be a torch module"):
        FastMLP.from_model(new().build(5))
    with pytest.raises(ValueError, match="cannot be exported to torch"):
        fastmlp.to_torch(new().build(5))
