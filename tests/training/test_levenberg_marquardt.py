"""Levenberg-Marquardt: its minima, the loss that it minimises, and the penalty that alpha='bayes' chooses."""

import copy
import pickle
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import least_squares
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import BayesianRidge, Ridge
from sklearn.model_selection import GridSearchCV
from test_interruption import AfterReads
from threadpoolctl import threadpool_info

import fastmlp
from fastmlp import MLP, Layer, MLPClassifier, MLPEnsembleRegressor, MLPRegressor
from fastmlp.kernels.spec import Network, layer_views
from fastmlp.training import levenberg_marquardt
from fastmlp.training.full_batch import Limits
from fastmlp.training.lbfgs import loss_and_gradient_in_blocks
from fastmlp.training.problem import Problem, Samples
from fastmlp.training.squared_errors import MAX_PARAMETERS, SquaredErrors, check_lm_network

rng = np.random.RandomState(0)
X = rng.uniform(-2, 2, (200, 2))
Y = np.column_stack([np.sin(2 * X[:, 0]) + X[:, 1], np.cos(X[:, 0] * X[:, 1])]) + 0.1 * rng.standard_normal((200, 2))
y = Y[:, 0].copy()
HALF = [(X[::2], y[::2]), (X[1::2], y[1::2])]
WEIGHT = rng.randint(0, 4, len(X)).astype(float)
BAYES = {"alpha": "bayes"}
EXACT = Limits(500, 10000, 1e-12)


def network(n_outputs=1, units=4, loss="squared_error", **options):
    layers = [Layer(units, "tanh"), Layer(n_outputs, "identity")]
    return MLP(layers, loss, "lm", **{"dtype": "float64", "random_state": 0} | options)


def regressor(**options):
    given = {"hidden_layer_sizes": 4, "activation": "tanh", "solver": "lm", "max_iter": 30, "tol": 0, "random_state": 0}
    return MLPRegressor(**given | options)


def minimum(model, X, y, weight=None, **options):
    """The result of a fit to high precision, from the current weights of the model."""
    samples = Samples(X, y.reshape(len(y), -1), weight)
    return levenberg_marquardt.fit_levenberg_marquardt(model._problem(), model.parameters, samples, EXACT, **options)[1]


@pytest.mark.parametrize("alpha", [0.0, 0.5])
@pytest.mark.parametrize("layers", [[Layer(2, "tanh")], [Layer(2, "tanh"), Layer(2, "identity")]])
def test_minimum_of_scipy(layers, alpha):
    """SciPy minimises the residuals of the same network by MINPACK; the penalty is a residual for each weight.

    Both start where the same minimum is next.
    """
    model = MLP(layers, optimizer="lm", alpha=alpha, dtype="float64", random_state=1).fit(X, Y, 10)
    kernels, shape = model._backend.kernels, model.network
    start, weights = model.parameters.copy(), np.zeros(model.n_parameters, bool)
    for block in shape.blocks:
        weights[block.start : block.start + block.fan_in * block.fan_out] = True

    def residuals(x):
        return np.concatenate([(kernels.forward(shape, x, X) - Y).ravel(), np.sqrt(alpha) * x[weights]])

    theirs = least_squares(residuals, start, method="lm", xtol=1e-14, ftol=1e-14, gtol=1e-14, max_nfev=10000)
    ours = minimum(model, X, Y)
    assert ours.status == 0
    assert_allclose(np.sum(residuals(ours.x) ** 2) / 2, theirs.cost, rtol=1e-9)
    assert_allclose(ours.x, theirs.x, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("weight", [None, WEIGHT])
@pytest.mark.parametrize("loss", ["squared_error", "mean_squared_error"])
@pytest.mark.parametrize("layers", [
    [Layer(3, "gelu"), Layer(2, "softplus")], [Layer(3, "tanh"), Layer(2, "logistic", skip=2)], [Layer(2, "tanh")],
])  # fmt: skip
def test_the_loss_is_that_of_the_other_solvers(backend, layers, loss, weight):
    """Its value is the reported one, and at the minimum the gradient of all solvers is 0."""
    model = MLP(layers, loss, "lm", alpha=0.3, dtype="float64", backend=backend, random_state=0).build(2)
    result = minimum(model, X, Y, weight)
    value, gradient = loss_and_gradient_in_blocks(model._problem(), result.x, Samples(X, Y, weight))
    assert_allclose(result.fun, value, rtol=1e-12)
    assert np.abs(gradient).max() < 1e-6
    assert result.status == 0


def test_weights_are_repetitions():
    repeated = np.repeat(np.arange(len(X)), WEIGHT.astype(int))
    weighted = network(2, alpha=0.1).fit(X, Y, 20, sample_weight=WEIGHT)
    plain = network(2, alpha=0.1).fit(X[repeated], Y[repeated], 20)
    assert_allclose(weighted.history["loss"], plain.history["loss"], rtol=1e-7)
    assert_allclose(weighted.parameters, plain.parameters, rtol=1e-5)


@pytest.mark.parametrize("weight", [None, WEIGHT])
def test_blocks_of_samples(monkeypatch, weight):
    """They make no difference, and sparse X is cast block by block."""
    expected = network().fit(X, y, 8, sample_weight=weight).parameters
    monkeypatch.setattr("fastmlp.training.squared_errors.BLOCK_BYTES", 1)
    for given in (X, csr_array(X)):
        assert_allclose(network().fit(given, y, 8, sample_weight=weight).parameters, expected, rtol=1e-6)


def test_linear_model_in_one_step_per_scale_of_the_damping():
    model = MLP([(1, "identity")], optimizer="lm", alpha=3.0, dtype="float64", random_state=0)
    ridge = Ridge(3.0).fit(X, y)
    assert_allclose(model.fit(X, y, 20).weights[0][:, 0], ridge.coef_, rtol=1e-6)
    assert model.epoch < 10


def test_float32_is_computed_in_float64():
    single, double = network(dtype="float32"), network()
    single.fit(X, y, 20), double.fit(X, y, 20)
    assert single.parameters.dtype == np.float32
    assert_allclose(single.history["loss"], double.history["loss"], rtol=1e-5)


def test_singular_problems(recwarn):
    """Fewer samples than parameters, constant inputs and dead units: the damping makes them regular."""
    empty = np.zeros((20, 3))
    for given, target, options in (
        (X[:5], y[:5], {}), (empty, y[:20], {}), (empty, y[:20], {"init": "zeros"}), (X, y, {"init": "zeros"}),
        (X[:5], y[:5], BAYES), (empty, y[:20], BAYES), (X, 0 * y, BAYES), (X, y, BAYES | {"init": "zeros"}),
    ):  # fmt: skip
        model = network(units=30, **options).fit(given, target, 30)
        assert np.isfinite(model.parameters).all()
        assert not model.diverged
        assert (model.effective_parameters_ is None) == (options.get("alpha") is None or options.get("init") == "zeros")
    dead = MLP([Layer(5, "relu"), Layer(1, "identity")], optimizer="lm", random_state=0).build(2)
    dead.biases[0][:] = -100
    assert_allclose(dead.fit(X, y, 20).predict(X), y.mean(), rtol=1e-4)
    assert not recwarn.list


def test_divergence():
    """The loss of the initial weights is not finite: they are kept."""
    large = np.full_like(X, 1e200)
    model = MLP([(1, "identity")], optimizer="lm", dtype="float64", random_state=0).build(2)
    before = model.parameters.copy()
    with pytest.warns(ConvergenceWarning, match="Training diverged after 0 iterations"):
        model.fit(large, y)
    assert model.diverged
    assert_array_equal(model.parameters, before)
    with pytest.raises(ValueError, match=r"Solver produced non-finite.*lm diverged in iteration 1"):
        regressor(activation="identity").fit(large, y)
    with pytest.raises(ValueError, match=r"Solver produced non-finite.*lm diverged in iteration 1"):
        regressor().fit(X, 1e200 * y)  # the gradient is finite, the sum of squares is not


def test_parameters_stay_finite_in_float32():
    """A minimum beyond the range of float32 is approached, and never stored as infinity."""
    signs = np.tile([1.0, -1.0], 5)
    model = MLP([(1, "identity")], optimizer="lm", random_state=0).fit(1e-3 * signs[:, None], 1e36 * signs, 50)
    assert 1e38 < model.weights[0][0, 0] < np.inf


@pytest.mark.parametrize("weight", [None, WEIGHT, np.abs(Y)])
@pytest.mark.parametrize("loss", ["squared_error", "mean_squared_error"])
def test_gauss_newton_approximation(monkeypatch, loss, weight):
    """J^T J and J^T r of all samples, with the penalty on weights only."""
    monkeypatch.setattr("fastmlp.training.squared_errors.BLOCK_BYTES", 1)
    model = network(2, loss=loss, alpha=0.7).build(2)
    errors = SquaredErrors(model._problem(), Samples(X, Y, weight), None, False)
    errors.expand(model.parameters)
    by_output = np.empty((len(X), 2, model.n_parameters))
    outputs = model._backend.kernels.output_jacobian(model.network, model.parameters, X, by_output)
    jacobian = by_output.reshape(-1, model.n_parameters)
    of_samples = np.ones(len(X)) if weight is None else weight
    row_weight = np.broadcast_to(of_samples.reshape(len(X), -1), Y.shape).ravel()
    penalised = np.zeros(model.n_parameters)
    for W in layer_views(model.network, penalised)[0]:
        W[:] = 0.7
    hessian = (jacobian.T * row_weight) @ jacobian + np.diag(penalised)
    assert_allclose(np.tril(errors.hessian), np.tril(hessian), atol=1e-9)
    gradient = jacobian.T @ (row_weight * (outputs - Y).ravel()) + penalised * model.parameters
    assert_allclose(errors.gradient, gradient, atol=1e-9)
    assert_allclose(errors.total, row_weight.sum() / 2)


def test_limits_and_convergence():
    for options, status, message in (
        ({"max_iter": 2}, 1, "the limit of iterations was reached. Increase max_iter"),
        ({"max_fun": 2}, 1, "the limit of loss evaluations was reached"),
    ):
        with pytest.warns(ConvergenceWarning, match=f"lm failed to converge after .*status={status}.*{message}"):
            assert regressor(**options).fit(X, y).n_iter_ <= 2
    with pytest.warns(ConvergenceWarning, match="the limit of loss evaluations was reached"):
        assert regressor(**BAYES, max_fun=1).fit(X, y).n_iter_ <= 1
    model = regressor(max_iter=1000, tol=1e-6).fit(X, y)
    gradient = loss_and_gradient_in_blocks(
        Problem(network()._backend.kernels, model._net.network), model._net.parameters, Samples(X, y[:, None])
    )[1]
    assert np.abs(gradient).max() < 1e-5
    assert model.n_iter_ < 1000
    assert model.loss_ == model.best_loss_ == model.loss_curve_[-1]


def test_early_stopping_holds_out_samples():
    model = regressor(hidden_layer_sizes=30, early_stopping=True, max_iter=300, tol=1e-4, alpha=0).fit(X[:80], y[:80])
    assert model.n_iter_ < 300
    assert len(model.validation_scores_) == len(model.loss_curve_) == model.n_iter_
    assert model.best_validation_score_ == max(model.validation_scores_)
    assert model.best_loss_ is None
    every = regressor(hidden_layer_sizes=30, max_iter=model.n_iter_, alpha=0)
    with pytest.warns(ConvergenceWarning):
        every.fit(X[:80], y[:80], eval_set=HALF[1])
    assert len(every.evals_result_["validation_0"]["r2"]) == every.n_iter_
    patient = network(units=30).fit(X[:80], y[:80], 300, validation_data=HALF[1], patience=5)
    assert patient.epoch == patient.best_epoch + 5
    assert patient.history["validation_loss"][patient.best_epoch - 1] == min(patient.history["validation_loss"])
    assert_allclose(patient.evaluate(*HALF[1])["loss"], min(patient.history["validation_loss"]))


def test_a_later_fit_continues(tmp_path):
    model = network().fit(X, y, 5)
    model.save(tmp_path / "part.fastmlp")
    whole = fastmlp.load(tmp_path / "part.fastmlp").fit(X, y, 20)
    assert_array_equal(whole.parameters, model.fit(X, y, 20).parameters)
    assert model.epoch == 25
    assert model.history["loss"] == sorted(model.history["loss"], reverse=True)
    model.optimizer = "adam"
    assert model.fit(X, y, 1).epoch == 26
    warm = regressor(warm_start=True, max_iter=3)
    with pytest.warns(ConvergenceWarning):
        assert warm.fit(X, y).loss_ > warm.fit(X, y).loss_


def test_interruption_between_blocks(monkeypatch):
    """The weights are those of the last step that lowered the loss."""
    monkeypatch.setattr("fastmlp.training.squared_errors.BLOCK_BYTES", 1)
    for reads in (1, 9, 30):
        model = network().build(2)
        losses = []
        samples = Samples(X, y[:, None])
        status, result = levenberg_marquardt.fit_levenberg_marquardt(
            model._problem(), model.parameters, samples, EXACT, AfterReads(reads), losses.append
        )
        assert status == "interrupted"
        assert_array_equal(result.x, model.parameters)
        assert result.nit == len(losses)
        if losses:
            loss, _ = loss_and_gradient_in_blocks(model._problem(), model.parameters, samples)
            assert loss == pytest.approx(losses[-1])


def test_alpha_of_a_linear_model_by_its_evidence():
    """scikit-learn's BayesianRidge makes the same estimate, but for the degree of freedom of the bias."""
    centred = np.column_stack([X, 0.02 * rng.standard_normal((200, 3))])
    centred -= centred.mean(axis=0)
    target = centred @ [1.0, -0.5, 3.0, 0.1, 0.0] + 0.3 * rng.standard_normal(200)
    theirs = BayesianRidge(tol=1e-10, max_iter=1000).fit(centred, target)
    for loss in ("squared_error", "mean_squared_error"):
        layers = [(1, "identity")]
        model = MLP(layers, loss, "lm", alpha="bayes", dtype="float64", random_state=0).fit(centred, target, 100)
        scale = 2 if loss == "mean_squared_error" else 1
        assert_allclose(model.alpha_ / scale, theirs.lambda_ / theirs.alpha_, rtol=0.01)
        assert_allclose(model.weights[0][:, 0], theirs.coef_, rtol=0.01, atol=1e-4)
        assert 3 < model.effective_parameters_ < 6


@pytest.mark.filterwarnings("ignore:lm failed to converge")
def test_chosen_alpha_generalises(tmp_path):
    few, held = slice(0, 30), slice(100, None)
    for seed in range(3):
        plain = regressor(hidden_layer_sizes=25, alpha=0, max_iter=100, random_state=seed)
        plain.fit(X[few], y[few])
        bayes = clone(plain).set_params(alpha="bayes", tol=1e-6, max_iter=1000).fit(X[few], y[few])
        assert bayes.score(X[held], y[held]) > max(0.95, plain.score(X[held], y[held]))
        assert 5 < bayes.effective_parameters_ < bayes._net.parameters.size / 2
    bayes.save(tmp_path / "bayes.fastmlp")
    for again in (fastmlp.load(tmp_path / "bayes.fastmlp"), pickle.loads(pickle.dumps(bayes))):
        assert (again.alpha_, again.effective_parameters_) == (bayes.alpha_, bayes.effective_parameters_)
        assert_array_equal(again.predict(X), bayes.predict(X))
    bayes.set_params(alpha=0.1, max_iter=3).fit(X, y)
    assert not hasattr(bayes, "alpha_")
    own = network(alpha="bayes").fit(X, y, 20)
    own.save(tmp_path / "own.fastmlp")
    for again in (fastmlp.load(tmp_path / "own.fastmlp"), copy.copy(own)):
        assert (again.alpha, again.alpha_, again.effective_parameters_) == (
            "bayes", own.alpha_, own.effective_parameters_,
        )  # fmt: skip
    assert own.alpha_ > 0
    own.alpha = 0.5
    assert own.alpha_ == 0.5


def test_searches_ensembles_and_classifiers():
    search = GridSearchCV(regressor(tol=1e-4, max_iter=200), {"alpha": ["bayes", 1e-3], "hidden_layer_sizes": [2, 5]})
    assert search.fit(X, y).best_score_ > 0.9
    ensemble = MLPEnsembleRegressor(regressor(tol=1e-4, max_iter=200), n_members=3, random_state=0).fit(X, Y)
    assert ensemble.score(X, Y) > 0.8
    labels = np.digitize(y, [-0.5, 0.5])
    model = MLPClassifier(loss="squared_error", solver="lm", hidden_layer_sizes=4, activation="tanh", random_state=0)
    assert model.set_params(class_weight="balanced").fit(X, labels).score(X, labels) > 0.9


def test_callbacks():
    for model, target in ((regressor(), y), (network(2), Y)):
        seen = []

        def third(model, epoch, results):
            seen.append((epoch, results["loss"]))  # noqa: B023
            return epoch == 3

        model.fit(X, target, callbacks=third)
        assert [epoch for epoch, _ in seen] == [1, 2, 3]
        curve = model.loss_curve_ if hasattr(model, "loss_curve_") else model.history["loss"]
        assert [loss for _, loss in seen] == curve
        for error in (StopIteration, KeyError):
            with pytest.raises(error, match="mine"):
                model.fit(X, target, callbacks=lambda *given: throw(error("mine")))  # noqa: B023


def throw(error):
    raise error


@pytest.mark.parametrize("small_work, n_jobs", [(np.inf, None), (0, 1)])
def test_threads_of_blas(monkeypatch, small_work, n_jobs):
    """Small work, and n_jobs, limit BLAS to one thread; afterwards it has as many as before."""
    monkeypatch.setattr(levenberg_marquardt, "SMALL_WORK", small_work)

    def threads():
        return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]

    seen, before = [], threads()
    network(n_jobs=n_jobs).fit(X, y, 2, callbacks=lambda *given: seen.extend(threads()))
    assert set(seen) == {1}
    assert threads() == before


def test_size_and_device_are_checked():
    at_most, more = (Network((1, units, 1), ("tanh", "identity"), "squared_error") for units in (3333, 3334))
    assert at_most.n_parameters == MAX_PARAMETERS
    cpu = SimpleNamespace(DEVICE=None)
    check_lm_network("solver='lm'", cpu, at_most)
    with pytest.raises(ValueError, match=r"solver='lm' is limited to 10,000 .*: 10,003 .*'lbfgs' or 'adam'"):
        check_lm_network("solver='lm'", cpu, more)
    with pytest.raises(ValueError, match="solver='lm' runs on the CPU only: use backend='auto', 'cython'"):
        check_lm_network("solver='lm'", SimpleNamespace(DEVICE="a GPU"), at_most)
    model = MLP([(101, "tanh"), (99, "tanh"), (1, "identity")], optimizer="lm", random_state=0)
    with pytest.raises(ValueError, match="optimizer 'lm' is limited to 10,000 parameters"):
        model.fit(X, y)
    with pytest.raises(ValueError, match="no weights yet"):
        model.parameters  # noqa: B018
