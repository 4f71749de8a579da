"""Every name and custom function works, in MLP and in the estimators; test_refusals.py has invalid choices."""

import copy
import math
import pickle
import re
from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from fastmlp import (  # fmt: skip
    MLP,
    Layer,
    MLPClassifier,
    MLPRegressor,
    check_gradients,
    load,
    make_loss,
    make_optimizer,
    make_schedule,
)
from fastmlp.backends import registry
from fastmlp.estimators.prediction import predictor_of
from fastmlp.io.model_files import save
from fastmlp.kernels.rules import ACTIVATIONS, LOSSES, OPTIMIZERS
from fastmlp.model.initializers import INITIALIZERS
from fastmlp.model.losses import check_loss
from fastmlp.model.optimizers import check_optimizer
from fastmlp.training.full_batch import FULL_BATCH
from fastmlp.training.schedules import SCHEDULES, check_schedule
from problems import HIDDEN, OUTPUTS, grid

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

rng = np.random.RandomState(0)
X = rng.standard_normal((60, 3))
Y = np.abs(X @ rng.standard_normal((3, 2)))
LABELS = (X[:, 0] > 0).astype(int) + (X[:, 1] > 0)
FREE = [name for name, row in LOSSES.items() if row.link is None]


def targets_for(loss):
    link = LOSSES[loss].link
    return np.eye(3)[LABELS] if link == "softmax" else (Y > 1).astype(float) if LOSSES[loss].targets == (0, 1) else Y


# Every name through the model API; the backends agree


@pytest.mark.parametrize("loss, output", grid(OUTPUTS))
def test_every_loss_and_output_of_a_model(backend, loss, output):
    y = targets_for(loss)
    layers = [Layer(4, "tanh"), Layer(y.shape[1], output)]
    model, other = (
        MLP(layers, loss, "sgd", dtype="float64", random_state=0, backend=name) for name in (backend, "numpy")
    )
    for each in (model, other):
        each.fit(X, y, 2)
    np.testing.assert_allclose(model.parameters, other.parameters, rtol=1e-9, atol=1e-11)
    assert set(model.evaluate(X, y)) in ({"loss", "accuracy"}, {"loss", "r2"})


@pytest.mark.parametrize("activation", HIDDEN)
def test_every_activation_of_model_and_estimator(backend, activation):
    model = MLP([Layer(5, activation), Layer(2, "identity")], dtype="float64", random_state=0, backend=backend)
    assert check_gradients(model, X, Y).largest < 1e-5
    estimator = MLPRegressor("squared_error", (5,), activation, max_iter=3, random_state=0, backend=backend).fit(X, Y)
    other = MLPRegressor("squared_error", (5,), activation, max_iter=3, random_state=0, backend="numpy").fit(X, Y)
    np.testing.assert_allclose(estimator.predict(X), other.predict(X), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("solver", OPTIMIZERS)
def test_every_optimizer_of_model_and_estimator(backend, solver):
    start = MLP([(2, "identity")], optimizer=solver, random_state=0, backend=backend).build(3)
    before = start.evaluate(X, Y)["loss"]
    assert start.fit(X, Y, 20, 8).evaluate(X, Y)["loss"] < before
    rate = {"adadelta": 1.0}.get(solver, 0.01)
    estimator = MLPClassifier((5,), solver=solver, learning_rate_init=rate, random_state=0, backend=backend)
    assert estimator.fit(X, LABELS).loss_curve_[-1] < estimator.loss_curve_[0]


@pytest.mark.parametrize("loss", FREE)
def test_every_loss_of_the_estimators(backend, loss):
    given = {"learning_rate_init": 0.01, "max_iter": 300, "random_state": 0, "backend": backend}
    regressor = MLPRegressor(loss, (20,), **given).fit(X, Y)
    assert regressor.score(X, Y) > 0.9
    classifier = MLPClassifier((20,), loss=loss, **given).fit(X, LABELS)
    assert classifier.score(X, LABELS) > 0.9
    np.testing.assert_allclose(classifier.predict_proba(X).sum(axis=1), 1)


@pytest.mark.parametrize("init", INITIALIZERS)
def test_every_initializer(init):
    model = MLP([Layer(50, "relu"), Layer(40, "tanh")], init=init, random_state=0).build(60)
    W, b = model.weights[0], model.biases[0]
    expected = {
        "zeros": 0, "uniform": 0.05 / math.sqrt(3), "normal": 0.05, "glorot_uniform": math.sqrt(2 / 110),
        "glorot_normal": math.sqrt(2 / 110), "he_uniform": math.sqrt(2 / 60), "he_normal": math.sqrt(2 / 60),
        "lecun_uniform": math.sqrt(1 / 60), "lecun_normal": math.sqrt(1 / 60),
    }  # fmt: skip
    assert W.std() == pytest.approx(expected[init], rel=0.06)
    assert abs(W.mean()) <= 0.1 * expected[init]
    assert bool(b.any()) == INITIALIZERS[init].biases
    assert MLPRegressor(max_iter=1, init=init, random_state=0).fit(X, Y).coefs_[0].any() or init == "zeros"


def test_given_initial_weights_and_scales():
    start = [(np.arange(6.0).reshape(3, 2), np.ones(2))]
    assert MLP([(2, "identity")], init=start).build(3).weights[0].tolist() == [[0, 1], [2, 3], [4, 5]]
    estimator = MLPRegressor(hidden_layer_sizes=(), learning_rate_init=1e-12, max_iter=1, init=start).fit(X, Y)
    np.testing.assert_allclose(estimator.coefs_[0], start[0][0], atol=1e-9)
    assert np.abs(MLP([(50, "tanh")], init=("uniform", 0.5)).build(50).weights[0]).max() == pytest.approx(0.5, rel=0.01)
    with pytest.raises(ValueError, match=r"a list of \(W, b\) of shapes .*3, 2.* got .*2, 2"):
        MLP([(2, "identity")], init=[(np.eye(2), np.ones(2))]).build(3)
    with pytest.raises(ValueError, match="contains NaN"):
        MLP([(1, "identity")], init=[([[np.nan]], [0])]).build(1)


def test_slopes_start_at_0_25_and_are_trained():
    for activation, n in (("prelu", 4), ("shared_prelu", 1), ("relu", 0)):
        model = MLP([Layer(4, activation), Layer(2, "identity")], random_state=0).build(3)
        assert model.slopes[0].tolist() == [0.25] * n
        model.fit(X, Y, 3)
        assert (model.slopes[0] != 0.25).all()


# Gradient descent


def test_full_batch_online_and_mini_batch(backend):
    steps = {}
    for batch_size in (None, 1, 7):
        model = MLP([(2, "identity")], optimizer="sgd", random_state=0, backend=backend).build(3)
        model.fit(X, Y, 1, batch_size, shuffle=False)
        steps[batch_size] = model._state.step
        W = np.array(model.weights[0])
        shuffled = MLP([(2, "identity")], optimizer="sgd", random_state=0, backend=backend).fit(X, Y, 1, batch_size)
        assert np.allclose(W, shuffled.weights[0]) == (batch_size is None)
    assert steps == {None: 1, 1: 60, 7: 9}


# Schedules

FACTORS = {
    "constant": ({}, [1, 1, 1]),
    "inverse_scaling": ({"power": 1}, [1, 1 / 2, 1 / 3]),
    "step": ({"step_size": 2, "gamma": 0.1}, [1, 1, 0.1]),
    "exponential": ({"gamma": 0.5}, [1, 0.5, 0.25]),
    "cosine": ({"epochs": 2, "end_factor": 0.2}, [1, 0.6, 0.2]),
    "cosine_log": ({"epochs": 1.5, "n_cycles": 2}, [0, (1 - math.cos(2 * math.pi * math.log2(3))) / 2, 0]),
    "reduce_on_plateau": ({}, [1, 1, 1]),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedule_by_epochs(backend, name):
    """With one batch per epoch, a bias whose gradient is always 1 shows the sum of the rates."""
    options, expected = FACTORS[name]
    given = make_optimizer("sgd", 0.1, schedule=make_schedule(name, **options))
    ones = np.ones((4, 1))
    model = MLP([(1, "identity")], "absolute_error", given, init="zeros", dtype="float64", backend=backend)
    for epoch in range(3):
        model.fit(0 * ones, 10 * ones, 1, None)
        assert model.biases[0][0] == pytest.approx(0.1 * sum(expected[: epoch + 1]))


def test_schedule_and_warmup_advance_at_every_step(backend):
    given = make_optimizer("sgd", 1.0, schedule=make_schedule("exponential", gamma=0.5, warmup_epochs=1.5))
    model = MLP([(1, "identity")], "absolute_error", given, init="zeros", dtype="float64", backend=backend)
    model.fit(np.zeros((4, 1)), np.full((4, 1), 100.0), 2, 2)
    rates = [0.5**t * min(1, (t + 0.5) / 1.5) for t in (0, 0.5, 1, 1.5)]
    assert model.biases[0][0] == pytest.approx(sum(rates))


def test_reduce_on_plateau_waits_for_a_plateau():
    schedule = make_schedule("reduce_on_plateau", patience=3, factor=0.5, min_delta=0.1)
    model = MLP([(1, "identity")], optimizer=make_optimizer("sgd", 1e-9, schedule=schedule), random_state=0)
    factors = [model.fit(X, Y[:, 0], 1)._state.plateau.factor for _ in range(8)]
    assert factors == [1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25]


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_resumes_from_a_file_and_in_the_middle_of_an_epoch(tmp_path, name):
    schedule = make_schedule(name, warmup_epochs=2)
    layers = [Layer(4, "tanh", dropout=0.2), Layer(2, "identity")]
    given = {"optimizer": make_optimizer("adamw", 0.05, schedule=schedule, clip_norm=1.0), "random_state": 0}
    whole = MLP(layers, **given).fit(X, Y, 8)
    half = MLP(layers, **given).fit(X, Y, 4)
    half.save(tmp_path / "m")
    resumed = load(tmp_path / "m").fit(X, Y, 4)
    np.testing.assert_array_equal(resumed.parameters, whole.parameters)
    assert resumed.optimizer == whole.optimizer


def test_a_new_schedule_starts_where_it_is_set():
    model = MLP([(1, "identity")], optimizer=make_optimizer("sgd", 0.1), random_state=0).fit(X, Y[:, 0], 5)
    model.optimizer = make_optimizer("sgd", 0.1, schedule=make_schedule("cosine", epochs=4))
    assert model._state.schedule_start == 5


@pytest.mark.parametrize("solver", ["adam", "sgd", "rmsprop"])
def test_schedules_of_the_estimators(solver):
    fitted = {
        schedule if isinstance(schedule, str) else "made": MLPRegressor(
            hidden_layer_sizes=(5,), solver=solver, learning_rate=schedule, max_iter=30, tol=0, random_state=0
        ).fit(X, Y).loss_
        for schedule in ("constant", "cosine", "step", make_schedule("exponential", gamma=0.5))
    }  # fmt: skip
    assert len(set(fitted.values())) == 4
    assert fitted["made"] > fitted["constant"]  # its rate decays to almost 0


# Custom functions


def wave(z):
    return math.sin(z) + z / 2


def wave_derivative(z):
    return math.cos(z) + 0.5


def log_cosh(p, t):
    return math.log(math.cosh(p - t))


def log_cosh_derivative(p, t):
    return math.tanh(p - t)


def test_custom_activation_and_loss(backend, tmp_path):
    layers = [Layer(6, (wave, wave_derivative)), Layer(2, "identity")]
    model = MLP(layers, (log_cosh, log_cosh_derivative), random_state=0, backend=backend)
    assert check_gradients(model, X, Y).largest < 1e-6
    before = model.evaluate(X, Y)["loss"]
    assert model.fit(X, Y, 20).evaluate(X, Y)["loss"] < before
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    with pytest.raises(TypeError, match=r"cannot hold a function.*pickle"):
        model.save(tmp_path / "m")
    assert "wave" in repr(model)
    assert "log_cosh" in repr(model)


def test_custom_activation_and_loss_of_the_estimators(backend):
    estimator = MLPRegressor(
        (log_cosh, log_cosh_derivative), (6,), (wave, wave_derivative), learning_rate_init=0.02, max_iter=500,
        random_state=0, backend=backend,
    )  # fmt: skip
    assert clone(estimator).fit(X, Y).score(X, Y) > 0.5
    classifier = MLPClassifier(
        (6,), (wave, wave_derivative), learning_rate_init=0.01, max_iter=200, random_state=0, backend=backend
    )
    assert classifier.fit(X, LABELS).score(X, LABELS) > 0.9


def test_check_gradients_finds_a_wrong_derivative():
    model = MLP([Layer(3, (wave, math.cos)), Layer(2, "identity")], random_state=0)
    check = check_gradients(model, X, Y)
    assert check.by_layer[0] > 1e-3 > 1e-6 > check.by_layer[1]


def test_check_gradients_of_estimators(backend):
    """Labels are encoded and inputs scaled as in fit; the estimator is not changed."""
    options = {"solver": "lbfgs", "max_iter": 3, "alpha": 0.1, "l1": 0.01, "random_state": 0, "backend": backend}
    hidden = [(wave, wave_derivative)]
    words, weights = np.array(["no", "yes", "perhaps"])[LABELS], np.linspace(0, 1, len(X))
    for model, y in (
        (MLPRegressor("squared_error", (4,), hidden, scale="standard", **options), 1000 + Y),
        (MLPRegressor("poisson", (4,), hidden, **options), Y),
        (MLPClassifier((4,), hidden, class_weight="balanced", **options), words),
        (MLPClassifier((4,), hidden, loss="squared_error", target_values=(0.1, 0.9), **options), LABELS == 1),
        (MLPClassifier((4,), hidden, **options), np.column_stack([LABELS == 0, LABELS > 1])),
    ):
        rows = csr_matrix(X) if model.scale is None else X
        before = dict(vars(model.fit(rows, y)))
        for given in (None, weights):
            check = check_gradients(model, rows, y, given)
            assert check.largest < 1e-6
            assert check.n_checked == model._net.parameters.size
        assert vars(model) == before
    wrong = MLPClassifier((4,), [(wave, math.cos)], **options).fit(X, words)
    assert check_gradients(wrong, X, words).by_layer[0] > 1e-3
    for unfitted in (MLPClassifier(), MLPRegressor()):
        with pytest.raises(NotFittedError):
            check_gradients(unfitted, X, LABELS)


def test_an_activation_for_each_layer():
    estimator = MLPRegressor("squared_error", (4, 3), ["tanh", (wave, wave_derivative)], max_iter=2).fit(X, Y)
    assert estimator._net.network.activations[0] == "tanh"
    assert estimator._net.network.activations[1].function is wave


@pytest.mark.parametrize("level", [0.1, 0.5, 0.9])
def test_quantile_loss_finds_the_quantile(level):
    rows = rng.standard_normal((2000, 1))
    y = rng.exponential(size=2000)
    model = MLP([(1, "identity")], make_loss("quantile", quantile=level), make_optimizer("adam", 0.01), random_state=0)
    model.fit(0 * rows, y, 60)
    assert np.mean(y < model.predict(rows[:1] * 0)[0, 0]) == pytest.approx(level, abs=0.03)


SGD = [
    ({"momentum": 0.8}, make_optimizer("momentum", momentum=0.8)),
    ({"momentum": 0.8, "nesterov": False}, make_optimizer("momentum", momentum=0.8)),
    ({"momentum": 0.8, "nesterov": True}, make_optimizer("nesterov", momentum=0.8)),
    ({"momentum": 0}, make_optimizer("sgd")),
    ({"momentum": 0.0, "nesterov": False}, make_optimizer("sgd")),
]


@pytest.mark.parametrize("options, same", SGD, ids=[str(options) for options, _ in SGD])
def test_sgd_takes_momentum_as_in_torch_and_keras(options, same, tmp_path):
    made = make_optimizer("sgd", **options)
    assert made == same
    assert eval(repr(made)) == same
    data, layers = (X, Y, 3, 8), [Layer(4, "tanh"), Layer(2, "identity")]
    found, expected = (MLP(layers, optimizer=given, random_state=0).fit(*data) for given in (made, same))
    np.testing.assert_array_equal(found.parameters, expected.parameters)
    found.save(tmp_path / "m")
    assert load(tmp_path / "m").optimizer == same
    found, expected = (MLPRegressor(solver=given, max_iter=3, random_state=0).fit(X, Y) for given in (made, same))
    np.testing.assert_array_equal(found.coefs_[0], expected.coefs_[0])


def test_target_values_for_logistic_units():
    """0.1 and 0.9 with the squared error (Mitchell 1997, 4.7)."""
    given = {"loss": "squared_error", "target_values": (0.1, 0.9), "solver": "lbfgs", "max_iter": 500, "alpha": 0.1,
             "random_state": 0}  # fmt: skip
    for y in (LABELS, LABELS > 0, np.array(["no", "yes"])[(LABELS > 1).astype(int)]):
        classifier = MLPClassifier((8,), **given).fit(X, y)
        assert classifier.score(X, y) > 0.95
        outputs = predictor_of(classifier).outputs(X)
        assert 0 < outputs.min() < 0.2
        assert 0.8 < outputs.max() < 1
        assert classifier.predict_proba(X).min() >= 0
        np.testing.assert_allclose(classifier.predict_proba(X).sum(axis=1), 1)
    several = np.column_stack([LABELS > 0, LABELS > 1]).astype(int)
    assert MLPClassifier((8,), **given).fit(X, several).score(X, several) > 0.9


TABLES = [
    (MLP, (*LOSSES, *OPTIMIZERS, *FULL_BATCH, *INITIALIZERS, *registry.NAMES)),
    (Layer, ACTIVATIONS), (make_loss, LOSSES), (make_optimizer, OPTIMIZERS), (make_schedule, SCHEDULES),
]  # fmt: skip


@pytest.mark.parametrize("documented, names", TABLES, ids=[documented.__name__ for documented, _ in TABLES])
def test_the_documentation_lists_every_name(documented, names):
    assert [name for name in names if repr(name) not in documented.__doc__] == []
    assert not re.search("{[A-Z]+}", documented.__doc__)


def test_defaults_of_a_name_are_those_of_the_table():
    for name, row in OPTIMIZERS.items():
        made = make_optimizer(name)
        assert (made.learning_rate, made.weight_decay) == (row.learning_rate, row.weight_decay)
        assert made.options == tuple(row.options.values())
        assert make_optimizer(name=name, learning_rate=0.5).learning_rate == 0.5
    assert {name for name in ACTIVATIONS if name not in HIDDEN} == {"softmax"}


MADE = [
    *map(make_optimizer, OPTIMIZERS), *map(make_schedule, SCHEDULES), *map(make_loss, LOSSES), Layer(3, "gelu", 0.1, 2),
    make_optimizer("adam", 0.5, weight_decay=0.1, clip_norm=1.0, schedule=make_schedule("cosine", warmup_epochs=2)),
]  # fmt: skip


@pytest.mark.parametrize("made", MADE, ids=repr)
def test_settings_have_a_repr_and_can_be_copied(made, tmp_path):
    assert eval(repr(made)) == made
    assert pickle.loads(pickle.dumps(made)) == copy.deepcopy(made) == made
    assert hash(made) == hash(replace(made))
    save(MLPRegressor(init=[made]), tmp_path / "m")  # a parameter of any type
    assert load(tmp_path / "m").init == [made]


def test_settings_of_estimators_are_saved(tmp_path):
    given = {
        "solver": make_optimizer("rmsprop", rho=0.8), "learning_rate": make_schedule("step", gamma=0.1),
        "loss": make_loss("huber", delta=0.5),
    }  # fmt: skip
    MLPRegressor(**given, max_iter=2).fit(X, Y).save(tmp_path / "m")
    loaded = load(tmp_path / "m")
    assert {name: getattr(loaded, name) for name in given} == given
    loaded.fit(X, Y)


def test_records_of_earlier_files_are_read():
    """Settings were plain tuples, and 'reduce_on_plateau' was called 'adaptive'."""
    schedule = check_schedule(("adaptive", (10.0, 1e-4, 0.2), 0.0))
    assert schedule == make_schedule("reduce_on_plateau")
    old = ("adam", 0.5, (0.9, 0.999, 1e-8), 0.0, 0.0, 0.0, 0.0, (), ("adaptive", (10.0, 1e-4, 0.2), 0.0))
    assert check_optimizer(old) == make_optimizer("adam", 0.5, schedule=schedule)
    assert check_loss(("huber", (0.5,))) == check_loss(make_loss("huber", delta=0.5))


def test_arithmetic_errors_of_python_give_nan_or_infinity_on_every_backend(backend):
    def mish(z):
        return z * math.tanh(math.log1p(math.exp(z)))

    model = MLP([Layer(3, (mish, lambda z: 1.0)), Layer(2, "identity")], random_state=0, backend=backend).build(3)
    assert np.isfinite(model.predict(X)).all()
    with np.errstate(over="ignore"):
        assert model.predict(1e5 * X).shape == (60, 2)


def test_parameters_set_after_the_fit_do_not_affect_predictions(tmp_path):
    given = {"loss": "squared_error", "target_values": (0.1, 0.9), "max_iter": 3, "random_state": 0}
    classifier = MLPClassifier((5,), **given).fit(X, LABELS)
    before = classifier.predict_proba(X)
    for change in ({"target_values": (0, 1)}, {"loss": "cross_entropy"}, {"target_values": (3, 1)}):
        np.testing.assert_array_equal(classifier.set_params(**change).predict_proba(X), before)
    regressor = MLPRegressor("squared_error", (5,), max_iter=2).fit(X, Y).set_params(loss=make_loss("huber"))
    for model in (classifier, regressor):
        model.save(tmp_path / "m")
        np.testing.assert_array_equal(load(tmp_path / "m").predict(X), model.predict(X))


def test_poisson_with_make_loss_and_losses_for_classes():
    counts = np.floor(Y)
    regressor = MLPRegressor(make_loss("poisson"), (5,), max_iter=3, random_state=0).fit(X, counts)
    assert regressor.out_activation_ == "exp"
    with pytest.raises(ValueError, match="requires y >= 0"):
        regressor.fit(X, -counts - 1)
    with pytest.raises(ValueError, match="is a classification loss"):
        MLPRegressor(make_loss("binary_cross_entropy")).fit(X, Y)
    with pytest.raises(ValueError, match="'cross_entropy' or a regression loss"):
        MLPClassifier(loss=make_loss("categorical_cross_entropy")).fit(X, LABELS)


def test_check_gradients_reports_nan():
    model = MLP([Layer(4, (lambda z: z, lambda z: math.nan if z < 0 else 5.0)), Layer(2, "identity")], random_state=0)
    assert check_gradients(model, X, Y).largest == math.inf


def test_noise_added_after_the_fit_depends_on_the_random_state():
    seeds = set()
    for seed in (1, 2):
        estimator = MLPRegressor("squared_error", (5,), max_iter=2, random_state=seed).fit(X, Y)
        seeds.add(estimator.set_params(dropout=0.5).partial_fit(X, Y)._net.training.seed)
    assert len(seeds) == 2
    assert 0 not in seeds
