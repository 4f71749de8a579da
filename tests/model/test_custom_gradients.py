"""forward, backward, apply and copy_parameters of MLP: custom losses and training loops."""

import copy
import pickle
import threading

import joblib
import numpy as np
import pytest

from fastmlp import MLP, Layer, make_optimizer, make_schedule
from fastmlp.backends import registry

RNG = np.random.RandomState(0)
X = RNG.standard_normal((64, 5)).astype("f4")
Y = RNG.standard_normal((64, 2)).astype("f4")
LAYERS = [Layer(9, "tanh"), Layer(2, "identity")]
NOISY = {"layers": [Layer(9, "prelu", dropout=0.3), Layer(2, "identity")], "input_dropout": 0.1, "input_noise": 0.1}


def model(optimizer="adam", layers=LAYERS, **options):
    return MLP(layers, "squared_error", optimizer, random_state=0, **options).build(5)


def gradient_of_mean(m, X, Y):
    """The gradient of half the squared error, averaged over the samples."""
    return m.backward((m.forward(X) - Y) / np.float32(len(X)))


CASES = {
    "plain": {},
    "noise": NOISY,
    "skips": {"layers": [Layer(9, "gelu"), Layer(5, "tanh", 0, 2, False), Layer(2, "identity", skip=3)]},
    "decay and bounds": {"optimizer": make_optimizer("adamw", weight_decay=0.1, clip_norm=0.1, max_norm=1.0)},
    "rates by layer": {"optimizer": make_optimizer("sgd", 0.1, layer_rates=[1, 0.5], clip_value=0.01)},
    "float64": {"dtype": "float64"},
}


@pytest.mark.parametrize("options", CASES.values(), ids=CASES)
def test_apply_of_the_gradient_of_the_loss_is_a_compiled_step(backend, options):
    """With the random numbers of the compiled step, and in turn with one."""
    mine, right = model(backend=backend, **options), model(backend=backend, **options)
    step, own_step = right.compile_step(64), mine.compile_step(64)
    x, y = X.astype(mine.dtype), Y.astype(mine.dtype)
    for number in range(4):
        step(x, y)
        own_step(x, y) if number == 2 else mine.apply(gradient_of_mean(mine, x, y))
    tolerance = {"rtol": 1e-4, "atol": 1e-6} if mine.dtype == "float32" else {"rtol": 1e-10, "atol": 1e-12}
    np.testing.assert_allclose(mine.parameters, right.parameters, **tolerance)
    assert mine.epoch == 0
    assert mine.history == {"loss": []}


def test_penalties_of_the_loss_are_not_added():
    plain, penalised = model(), model(alpha=1.0, l1=0.1, activity_l2=0.5)
    for m in (plain, penalised):
        m.apply(gradient_of_mean(m, X, Y))
    np.testing.assert_array_equal(plain.parameters, penalised.parameters)


def test_outputs_are_those_of_predict_for_any_number_of_samples(backend):
    m = model(backend=backend)
    for n in (64, 1, 33, 0, 64):
        out = m.forward(X[:n])
        assert out.shape == (n, 2)
        np.testing.assert_allclose(out, m.predict(X[:n]) if n else out, rtol=1e-5, atol=1e-6)
        gradient, of_X = m.backward(np.ones_like(out), input_gradient=True)
        assert gradient.shape == (m.n_parameters,)
        assert of_X.shape == (n, 5)


def test_a_pass_belongs_to_the_weights_and_inputs_of_forward(backend):
    """Whatever has changed since: the gradient is the one that it would have been."""
    changes = {
        "inputs": lambda m, x: x.fill(np.nan),
        "weights": lambda m, x: m.parameters.fill(np.nan),
        "a step": lambda m, x: m.compile_step(64)(X, Y),
        "apply": lambda m, x: m.apply(np.ones(m.n_parameters, "f4")),
        "a fit": lambda m, x: m.fit(X, Y, 1),
        "copied": lambda m, x: m.copy_parameters(model(init="normal")),
        "backend": lambda m, x: setattr(m, "backend", "numpy"),
        "alpha": lambda m, x: setattr(m, "alpha", 0.5),
        "predictions": lambda m, x: (m.predict(X), m.layer_outputs(X)),
        "other model": lambda m, x: model(backend=backend).forward(X * 2),
        "a copy": lambda m, x: copy.deepcopy(m).forward(X * 2),
    }
    expected = model(backend=backend)
    expected.forward(X)
    right = expected.backward(Y, input_gradient=True)
    for name, change in changes.items():
        m, x = model(backend=backend), X.copy()
        m.forward(x)
        change(m, x)
        for found, wanted in zip(m.backward(Y, input_gradient=True), right):
            np.testing.assert_array_equal(found, wanted, name)


CHANGES = {
    "weights": lambda m: m.parameters.fill(0.1),
    "rebuilt": lambda m: m.build(5),
    "optimizer": lambda m: setattr(m, "optimizer", "sgd"),
    "rate": lambda m: setattr(m, "optimizer", make_optimizer("adam", 0.1)),
    "a layer": lambda m: m.layers.__setitem__(0, Layer(9, "tanh", dropout=0.5)),
    "a fit": lambda m: m.fit(X, Y, 1),
    "backend": lambda m: setattr(m, "backend", "numpy"),
    "steps": lambda m: m.compile_step(16)(X[:16], Y[:16]),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_changes_between_passes_count(change):
    """A model that has made passes before a change does what a new copy of it does."""
    m = model()
    for _ in range(2):
        m.apply(gradient_of_mean(m, X, Y))
    change(m)
    fresh = copy.deepcopy(m)
    for _ in range(2):
        for one in (m, fresh):
            one.apply(gradient_of_mean(one, X, Y))
        np.testing.assert_array_equal(m.parameters, fresh.parameters)
        np.testing.assert_array_equal(m._state.slots, fresh._state.slots)


def test_steps_and_copies_end_an_interrupted_epoch():
    """A later fit begins a new one, as after a compiled step."""
    for change in (lambda m: m.apply(np.ones(74, "f4")), lambda m: m.copy_parameters(model(init="normal"))):
        m = model()
        m._state.order, m._state.position, m._state.epoch_start = np.arange(64), 16, m.parameters.copy()
        change(m)
        assert m._state.order is m._state.epoch_start is None


def test_gradients_accumulate_if_asked():
    m = model()
    m.forward(X)
    both = m.backward(Y)
    total = []
    for part in (slice(0, 20), slice(20, 64)):
        m.forward(X[part])
        total.append(m.backward(Y[part], accumulate=part.start > 0))
    np.testing.assert_allclose(total[1], both, rtol=1e-4, atol=1e-5)
    assert not np.allclose(total[0], both)  # results of earlier calls do not change
    np.testing.assert_array_equal(m.backward(Y[20:]) + total[0], total[1])


def test_several_backward_passes_give_the_jacobian(backend):
    m = model(backend=backend, layers=[Layer(9, "prelu"), Layer(2, "softmax")], dtype="float64")
    x = X[:1].astype("f8")
    m.forward(x)
    jacobian = [m.backward(row[None]) for row in np.eye(2)]
    i, step = 3, 1e-6
    m.parameters[i] += step
    upper = m.predict(x)
    m.parameters[i] -= 2 * step
    np.testing.assert_allclose([row[i] for row in jacobian], ((upper - m.predict(x)) / (2 * step))[0], rtol=1e-6)
    np.testing.assert_array_equal(m.backward(np.eye(2)[:1]), jacobian[0])


def test_each_pass_has_random_numbers_of_its_own():
    m = model(**NOISY)
    outputs = [m.forward(X[:n])[:8] for n in (64, 64, 8)]
    m.apply(np.zeros(m.n_parameters, "f4"))
    outputs.append(m.forward(X)[:8])
    assert len({out.tobytes() for out in outputs}) == 4
    m._state.last_pass._number = 2**62  # forward passes without a step
    assert not np.array_equal(m.forward(X)[:8], outputs[-1])
    again = model(**NOISY)
    np.testing.assert_array_equal(again.forward(X)[:8], outputs[0])
    assert not np.array_equal(again.predict(X)[:8], outputs[0])


def test_a_backward_pass_without_forward_is_refused():
    rebuilt, elsewhere = model(), model()
    rebuilt.forward(X)
    rebuilt.build(5)
    copies = [f(elsewhere) for f in (copy.copy, copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m)))]
    elsewhere.forward(X)
    copies += [f(elsewhere) for f in (copy.copy, copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m)))]
    for m in (model(), rebuilt, *copies):
        with pytest.raises(ValueError, match=r"requires a call of forward before it, but there was none since"):
            m.backward(Y)
    for method, given in (("forward", X), ("backward", Y), ("apply", Y), ("copy_parameters", elsewhere)):
        with pytest.raises(ValueError, match="no weights yet"):
            getattr(MLP(LAYERS), method)(given)


def in_thread(function):
    """The result of a function in another thread, or its error."""
    found = []

    def run():
        try:
            found.append(function())
        except Exception as error:
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return found[0]


def test_a_forward_pass_of_another_thread_is_noticed():
    m = model()
    m.forward(X)
    in_thread(lambda: m.forward(X[:7]))
    with pytest.raises(ValueError, match="called by another thread: use one model per thread"):
        m.backward(Y)
    m.forward(X)
    assert m.backward(Y).shape == (m.n_parameters,)


def test_passes_during_a_fit_are_refused():
    m, errors = model(), []
    m.forward(X)
    calls = [
        lambda: m.forward(X), lambda: m.backward(Y), lambda: m.apply(m.parameters), lambda: m.copy_parameters(model()),
    ]  # fmt: skip

    def callback(*given):
        for call in calls:
            errors.append(in_thread(call))
            with pytest.raises(RuntimeError, match="already being fitted"):
                call()

    m.fit(X, Y, 1, callbacks=callback)
    assert len(errors) == 4
    assert all(isinstance(error, RuntimeError) for error in errors)


def test_many_models_in_many_threads():
    """All share the buffers of one shape."""

    def train():
        m = model()
        for _ in range(50):
            m.apply(gradient_of_mean(m, X, Y))
        return m.parameters.tobytes()

    expected, found = train(), []
    threads = [threading.Thread(target=lambda: found.append(train())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 4


WRONG = {  # method: what is refused, with the message
    "forward": (r"X must be a C-contiguous float32 array of shape \(n_samples, 5\), got ",
                [X.astype(float), X[:, :4].copy(), X[0], np.asfortranarray(X), X[::2], X.tolist(), np.ma.array(X)]),
    "backward": (r"output_gradient must be a C-contiguous float32 array of shape \(64, 2\), got ",
                 [Y.astype(float), Y[:63], Y[:, :1].copy(), Y[:, 0], np.asfortranarray(Y), 1.0, None]),
    "apply": (r"gradient must be a C-contiguous float32 array of shape \(74,\), got ",
              [np.zeros(74), np.zeros(73, "f4"), np.zeros((74, 1), "f4"), np.zeros(148, "f4")[::2], [0.0] * 74]),
}  # fmt: skip


@pytest.mark.parametrize("method", WRONG)
def test_arrays_that_do_not_fit_are_refused(backend, method):
    message, given = WRONG[method]
    m, right = model(backend=backend), model(backend=backend)
    for one in (m, right):
        one.forward(X)
    for array in given:
        with pytest.raises(ValueError, match=message):
            getattr(m, method)(array)
    for one in (m, right):
        one.apply(one.backward(Y))
    np.testing.assert_array_equal(m.parameters, right.parameters)


def test_settings_that_do_not_fit_are_refused():
    m = model("lbfgs")
    with pytest.raises(ValueError, match="apply requires an optimizer such as 'adam' or 'sgd', got 'lbfgs'"):
        m.apply(gradient_of_mean(m, X, Y))
    m.optimizer = make_optimizer("adam", schedule=make_schedule("cosine", epochs=5))
    with pytest.raises(ValueError, match="apply does not follow the schedule 'cosine'"):
        m.apply(m.parameters)
    for name in ("accumulate", "input_gradient"):
        with pytest.raises(ValueError, match=f"{name} must be True or False, got 'yes'"):
            m.backward(Y, **{name: "yes"})
    for wrong in (-0.1, 1.1, np.nan, "1"):
        with pytest.raises(ValueError, match="tau must be a number in"):
            m.copy_parameters(model(), wrong)
    with pytest.raises(ValueError, match="source must be an MLP, got str"):
        m.copy_parameters("m")
    with pytest.raises(ValueError, match=r"its sizes are \(5, 9, 2\), those of this model \(5, 9, 3, 2\)"):
        model(layers=[Layer(9), Layer(3), Layer(2, "identity")]).copy_parameters(model())
    with pytest.raises(ValueError, match="no weights yet"):
        m.copy_parameters(MLP(LAYERS))


def test_a_gpu_backend_is_refused_with_a_remedy(monkeypatch):
    """The contract of cuda cannot be imported without a GPU: its functions are tested in tests/cuda."""
    fresh, used = model(), model()
    used.forward(X)

    def refuse(*given):
        raise ValueError("set the backend")

    monkeypatch.setattr(registry.choose("numpy").kernels, "prepare_gradient", refuse)
    for m, reason in ((fresh, "there was none"), (used, "the last one did not succeed")):
        m.backend = "numpy"
        with pytest.raises(ValueError, match="set the backend"):
            m.forward(X)
        with pytest.raises(ValueError, match=reason):
            m.backward(Y)


@pytest.mark.parametrize("tau", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_parameters_of_a_target_network(tau, dtype):
    target, source = model(init="normal"), model(dtype=dtype)
    expected = tau * source.parameters + (1 - tau) * target.parameters
    given = target.parameters
    assert target.copy_parameters(source, tau) is target
    assert target.parameters is given
    np.testing.assert_allclose(target.parameters, expected, rtol=1e-6, atol=1e-7)
    if tau == 1:
        np.testing.assert_array_equal(target.parameters, source.parameters.astype("f4"))
    before = target.parameters.copy()
    np.testing.assert_allclose(target.copy_parameters(target, tau).parameters, before)


def test_a_memory_mapped_model_makes_steps(tmp_path):
    m = model()
    joblib.dump(m, tmp_path / "m")
    mapped, target = (joblib.load(tmp_path / "m", mmap_mode="r") for _ in range(2))
    for one in (m, mapped):
        one.apply(gradient_of_mean(one, X, Y))
    np.testing.assert_array_equal(mapped.parameters, m.parameters)
    np.testing.assert_array_equal(target.copy_parameters(m).parameters, m.parameters)


def test_read_only_arrays_are_accepted(backend):
    m = model(backend=backend)
    frozen = [array.copy() for array in (X, Y, m.parameters)]
    for array in frozen:
        array.flags.writeable = False
    m.forward(frozen[0])
    m.backward(frozen[1])
    m.apply(frozen[2])


def test_gradients_equal_those_of_torch():
    """Of a loss that couples the outputs, through a softmax."""
    torch = pytest.importorskip("torch", reason="needs the package torch")
    from fastmlp import to_torch

    m = model(layers=[Layer(9, "gelu"), Layer(7, "prelu"), Layer(3, "softmax")], dtype="float64")
    module, x = to_torch(m), torch.tensor(X.astype("f8"), requires_grad=True)
    out = module(x)
    loss = (out @ out.T).square().mean()
    loss.backward()
    a = m.forward(X.astype("f8"))
    products = a @ a.T
    gradient, of_X = m.backward(4 * products @ a / products.size, input_gradient=True)
    np.testing.assert_allclose(of_X, x.grad.numpy(), rtol=1e-9, atol=1e-14)
    parts = []
    for linear, activation in zip(module[::2], module[1::2]):
        parts += [linear.weight.grad.T.reshape(-1), linear.bias.grad]
        parts += [activation.weight.grad] if hasattr(activation, "weight") else []
    np.testing.assert_allclose(gradient, torch.cat(parts).numpy(), rtol=1e-9, atol=1e-14)
