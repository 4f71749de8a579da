"""compile_step: the steps of fit without its validation."""

import threading

import joblib
import numpy as np
import pytest
from scipy.sparse import csc_matrix, csr_array, csr_matrix

from fastmlp import MLP, Layer, Plain, make_optimizer, make_schedule

RNG = np.random.RandomState(0)
X = RNG.standard_normal((64, 5)).astype("f4")
Y = RNG.standard_normal((64, 2)).astype("f4")
WEIGHT = RNG.uniform(0.5, 2, 64).astype("f4")
LAYERS = [Layer(9, "tanh"), Layer(2, "identity")]


def model(loss="mean_squared_error", optimizer="adam", layers=LAYERS, n_inputs=5, **options):
    return MLP(layers, loss, optimizer, random_state=0, **options).build(n_inputs)


CASES = {
    "plain": {},
    "one sample a step": {"size": 1},
    "penalties": {"alpha": 0.1, "l1": 0.01, "activity_l1": 0.1},
    "noise": {
        "input_noise": 0.1,
        "input_dropout": 0.1,
        "layers": [Layer(9, "relu", dropout=0.3), Layer(2, "identity")],
    },
    "bounds": {"optimizer": make_optimizer("adamw", clip_norm=0.1, max_norm=1.0)},
    "float64": {"dtype": "float64"},
    "several threads": {"size": 64, "layers": [Layer(600), Layer(600), Layer(2, "identity")]},
}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("options", CASES.values(), ids=CASES)
def test_steps_are_those_of_fit(backend, options, weighted):
    """One by one and many at once, bit for bit, loss included; a fit can follow."""
    size = options.get("size", 16)
    options = {name: value for name, value in options.items() if name != "size"} | {"backend": backend}
    fitted, stepped, at_once = model(**options), model(**options), model(**options)
    data = [array.astype(fitted.dtype) for array in ((X, Y, WEIGHT) if weighted else (X, Y))]
    for _ in range(2):
        fitted.fit(*data[:2], 1, size, shuffle=False, sample_weight=data[2] if weighted else None)
        step = stepped.compile_step(size)
        parts = [[np.ascontiguousarray(array[i : i + size]) for array in data] for i in range(0, 64, size)]
        losses = [step(*part) for part in parts]
        many = at_once.compile_step(size).many(*data[:2], np.arange(64), *data[2:])
        assert many == fitted.history["loss"][-1]
        assert np.mean(losses) == pytest.approx(many, rel=1e-5)
        for other in (stepped, at_once):
            np.testing.assert_array_equal(other.parameters, fitted.parameters)
            assert other._state.step == fitted._state.step
    assert stepped.epoch == 0
    assert stepped.history == {"loss": []}


SPARSE = np.where(RNG.uniform(size=(64, 200)) < 0.04, RNG.standard_normal((64, 200)), 0)
SPARSE_CASES = {
    "plain": {},
    "one sample a step": {"size": 1},
    "weights without a gradient stay": {"optimizer": "sgd"},
    "penalty": {"alpha": 0.1, "optimizer": "momentum"},
    "dropout": {"layers": [Layer(9, "relu", dropout=0.3), Layer(2, "identity")]},
    "dropout of inputs, on dense rows": {"input_dropout": 0.2},
    "reduced precision, on dense rows": {"matmul_precision": "medium"},
    "float64": {"dtype": "float64"},
}


@pytest.mark.parametrize("kind", [csr_matrix, csr_array])
@pytest.mark.parametrize("options", SPARSE_CASES.values(), ids=SPARSE_CASES)
def test_steps_on_sparse_rows_are_those_of_fit(backend, options, kind):
    size = options.get("size", 16)
    options = {name: value for name, value in options.items() if name != "size"} | {"backend": backend}
    fitted, stepped, at_once = (model(n_inputs=200, **options) for _ in range(3))
    y, weight = Y.astype(fitted.dtype), WEIGHT.astype(fitted.dtype)
    dense = SPARSE.astype(fitted.dtype)
    X = kind(dense)
    fitted.fit(X, y, 1, size, shuffle=False, sample_weight=weight)
    step = stepped.compile_step(size)
    losses = [step(X[i : i + size], y[i : i + size], weight[i : i + size]) for i in range(0, 64, size)]
    many = at_once.compile_step(size).many(X, y, np.arange(64), weight)
    assert many == fitted.history["loss"][-1]
    assert np.mean(losses) == pytest.approx(many, rel=1e-5)
    for other in (stepped, at_once):
        np.testing.assert_array_equal(other.parameters, fitted.parameters)
    step(dense[:size], y[:size])  # the same function takes both


OUT_OF_BOUNDS = csr_matrix(np.eye(64, 5, dtype="f4"))
OUT_OF_BOUNDS.indices[0] = 5
REFUSED_SPARSE = {
    "dtype": (csr_matrix(SPARSE[:, :5]), r"X must be a float32 .* got float64 csr_matrix"),
    "another format": (csc_matrix(SPARSE[:, :5].astype("f4")), r"got csc_matrix: use X.tocsr\(\)"),
    "columns": (csr_matrix(SPARSE.astype("f4")), r"\(64, 200\)"),
    "fewer samples": (csr_matrix(SPARSE[:9, :5].astype("f4")), r"\(9, 5\)|\(9, 2\)"),
    "index out of bounds": (OUT_OF_BOUNDS, "X is an invalid CSR matrix"),
}


@pytest.mark.parametrize("given, message", REFUSED_SPARSE.values(), ids=REFUSED_SPARSE)
def test_sparse_rows_that_do_not_fit_are_refused(backend, given, message):
    m = model(backend=backend)
    step, before = m.compile_step(64), m.parameters.copy()
    for call in (lambda: step(given, Y), lambda: step.many(given, Y[: len(given.indptr)], np.arange(64))):
        with pytest.raises(ValueError, match=message):
            call()
    np.testing.assert_array_equal(m.parameters, before)


def test_sparse_rows_with_inputs_are_refused(backend):
    X = csr_matrix(np.ones((64, 5), "f4"))
    m = model(backend=backend, inputs=[Plain()] * 5)
    for call in (lambda: m.compile_step(64)(X, Y), lambda: m.forward(X), lambda: m.predict(X)):
        with pytest.raises(ValueError, match="sparse X is not available with inputs"):
            call()


def test_the_last_batch_of_many_may_be_smaller():
    fitted, stepped = model(), model()
    fitted.fit(X[:40], Y[:40], 1, 16, shuffle=False)
    stepped.compile_step(16).many(X, Y, np.arange(40))
    np.testing.assert_array_equal(stepped.parameters, fitted.parameters)


def set_weights(m):
    m.parameters[...] = 0.25


def rebuild(m):
    m.build(5)


def change_optimizer(m):
    m.optimizer = make_optimizer("momentum", 0.05)


def change_rate(m):
    m.optimizer = make_optimizer("adam", 0.05)


def change_alpha(m):
    m.alpha = 5.0


def change_backend(m):
    m.backend = "numpy"


def change_a_layer_in_place(m):
    m.layers[0] = Layer(9, "tanh", dropout=0.5)


def fit_in_between(m):
    m.fit(X, Y, 1)


def interrupted_epoch(m):
    m._state.order, m._state.position, m._state.epoch_start = np.arange(64), 16, m.parameters.copy()


CHANGES = (
    set_weights, rebuild, change_optimizer, change_rate, change_alpha, change_backend, change_a_layer_in_place,
    fit_in_between, interrupted_epoch,
)  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_changes_of_the_model_between_steps_count(change):
    """A step compiled before the change does what one compiled after it does."""
    results = []
    for compiled_before in (True, False):
        m = model()
        step = m.compile_step(64)
        losses = [step(X, Y)]
        change(m)
        step = step if compiled_before else m.compile_step(64)
        losses += [step(X, Y) for _ in range(3)]
        results.append([*losses, *m.parameters])
    np.testing.assert_array_equal(*results)


def test_other_layer_sizes_are_noticed():
    m = model()
    step = m.compile_step(64)
    m.build(50)
    before = m.parameters.copy()
    with pytest.raises(ValueError, match="layers or matmul_precision of the model have changed"):
        step(X, Y)
    np.testing.assert_array_equal(m.parameters, before)


def test_a_memory_mapped_model_makes_steps(backend, tmp_path):
    m = model(backend=backend)
    joblib.dump(m, tmp_path / "m")
    mapped = joblib.load(tmp_path / "m", mmap_mode="r")
    losses = [made.compile_step(64)(X, Y) for made in (m, mapped)]
    assert losses[0] == losses[1]
    np.testing.assert_array_equal(mapped.parameters, m.parameters)


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


def test_read_only_arrays_are_accepted(backend):
    writable, frozen = model(backend=backend), model(backend=backend)
    writable.compile_step(64)(X, Y, WEIGHT)
    frozen.compile_step(64)(read_only(X), read_only(Y), read_only(WEIGHT))
    np.testing.assert_array_equal(writable.parameters, frozen.parameters)


REFUSED = {
    "dtype of X": ((X.astype(float), Y), "float64 of shape"),
    "integers": ((X.astype(int), Y), "int64 of shape"),
    "byte order": ((X.astype(">f4"), Y), ">f4 of shape"),
    "dtype of y": ((X, Y.astype(float)), "float64 of shape"),
    "columns of X": ((X[:, :4].copy(), Y), r"\(64, 5\).*\(64, 4\)"),
    "y in one dimension": ((X, Y[:, 0].copy()), r"\(64, 2\).*\(64,\)"),
    "fewer samples": ((X[:63], Y[:63]), r"\(63, 5\)"),
    "unequal lengths": ((X, Y[:63]), r"\(63, 2\)"),
    "no array": ((X.tolist(), Y), "list"),
    "columns first": ((np.asfortranarray(X), Y), "non-contiguous"),
    "strides": ((np.repeat(X, 2, 0)[::2], Y), "non-contiguous"),
    "subclass": ((np.ma.array(X), Y), "MaskedArray|float32"),
    "weights": ((X, Y, WEIGHT[:5]), r"sample_weight must be .* of shape \(64,\)"),
    "dtype of weights": ((X, Y, WEIGHT.astype(float)), "sample_weight must be"),
}


@pytest.mark.parametrize("given, message", REFUSED.values(), ids=REFUSED)
def test_arrays_that_do_not_fit_are_refused(backend, given, message):
    m = model(backend=backend)
    step, before = m.compile_step(64), m.parameters.copy()
    with pytest.raises(ValueError, match=message):
        step(*given)
    np.testing.assert_array_equal(m.parameters, before)
    step(X, Y)


MASKED = np.ma.array([0, 10**12], mask=[False, True])
WRONG_ORDERS = (
    [0, 1], MASKED, np.arange(3.0), np.arange(4).reshape(2, 2), np.array([], int), np.array([64]), np.array([-1]),
)  # fmt: skip


@pytest.mark.parametrize("order", WRONG_ORDERS)
def test_orders_that_do_not_fit_are_refused(order):
    with pytest.raises(ValueError, match="order must be a 1-D int64 array of indices from 0 to 63"):
        model().compile_step(8).many(X, Y, order)


def test_models_without_single_steps_are_refused():
    with pytest.raises(ValueError, match="build"):
        MLP(LAYERS).compile_step(8)
    for optimizer in ("lbfgs", "lm"):
        with pytest.raises(ValueError, match=f"got '{optimizer}', which needs all samples"):
            model(optimizer=optimizer).compile_step(8)
    scheduled = make_optimizer("adam", schedule=make_schedule("cosine", epochs=5))
    with pytest.raises(ValueError, match="cosine"):
        model(optimizer=scheduled).compile_step(8)
    with pytest.raises(ValueError, match="batch_size"):
        model().compile_step(0)
    m = model()
    step = m.compile_step(64)
    for optimizer in ("lbfgs", "lm", scheduled):
        m.optimizer = optimizer
        with pytest.raises(ValueError, match="compile_step"):
            step(X, Y)


def test_a_step_during_a_fit_is_refused():
    m = model()
    step, told = m.compile_step(64), []

    def callback(*given):
        for take in (lambda: step(X, Y), lambda: step.many(X, Y, np.arange(8))):
            with pytest.raises(RuntimeError, match="already being fitted"):
                take()
            told.append(1)

    m.fit(X, Y, 2, callbacks=callback)
    assert len(told) == 4
    step(X, Y)


def test_steps_of_many_models_in_many_threads():
    """Each thread has its own model; all share the buffers of one shape."""
    alone = model()
    step = alone.compile_step(64)
    expected = [step(X, Y) for _ in range(50)]
    found = {}

    def train(number):
        own = model().compile_step(64)
        found[number] = [own(X, Y) for _ in range(50)]

    threads = [threading.Thread(target=train, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == dict.fromkeys(range(4), expected)


def test_a_diverging_step_returns_nan_or_infinity():
    step = model(optimizer=make_optimizer("sgd", 1e6)).compile_step(64)
    assert not np.isfinite([step(X, Y) for _ in range(50)][-1])
