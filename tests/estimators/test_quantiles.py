"""A list of quantiles in one network: coverage, losses and scores, crossing, files and exports."""

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import d2_pinball_score, mean_pinball_loss

import fastmlp
from fastmlp import MLP, MLPEnsembleRegressor, MLPRegressor, input_gradient, load, make_loss

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

LEVELS = [0.1, 0.5, 0.9]
LOSS = make_loss("quantile", quantile=LEVELS)
rng = np.random.RandomState(0)
X = rng.uniform(-1, 1, (2000, 1))
SPREAD = np.where(X[:, 0] > 0, 0.6, 0.2)
y = np.sin(3 * X[:, 0]) + SPREAD * rng.standard_normal(2000)


def regressor(loss=LOSS, **more):
    options = {"hidden_layer_sizes": (16,), "activation": "tanh", "learning_rate_init": 0.01, "random_state": 0}
    return MLPRegressor(loss, **options | {"max_iter": 60, "n_iter_no_change": 60} | more)


def pinball(y, prediction):
    return np.mean([mean_pinball_loss(y, column, alpha=level) for column, level in zip(prediction.T, LEVELS)])


def test_predictions_are_the_quantiles_of_noise_that_depends_on_x():
    prediction = regressor().fit(X, y).predict(X)
    assert prediction.shape == (2000, 3)
    for side in (X[:, 0] > 0, X[:, 0] < 0):
        np.testing.assert_allclose((y[side, None] < prediction[side]).mean(axis=0), LEVELS, atol=0.03)
    exact = np.sin(3 * X) + SPREAD[:, None] * norm.ppf(LEVELS)
    inside = np.abs(np.abs(X[:, 0]) - 0.5) < 0.4
    assert np.abs(prediction - exact)[inside].mean() < 0.1


@pytest.mark.parametrize("batch_size", [1, 40])
def test_a_linear_model_is_one_for_each_level(backend, batch_size):
    model = MLP([(3, "identity")], LOSS, dtype="float64", backend=backend, random_state=0).build(1)
    singles = []
    for j, level in enumerate(LEVELS):
        loss = make_loss("quantile", quantile=level)
        single = MLP([(1, "identity")], loss, dtype="float64", backend=backend).build(1)
        single.parameters[:] = [model.weights[0][0, j], model.biases[0][j]]
        singles.append(single)
    for one in (model, *singles):
        one.fit(X[:120], y[:120], 3, batch_size, shuffle=False)
    losses = [single.evaluate(X, y)["loss"] for single in singles]
    assert model.evaluate(X, y)["loss"] == pytest.approx(np.mean(losses))
    np.testing.assert_allclose(model.predict(X), np.hstack([single.predict(X) for single in singles]), rtol=1e-9)


def test_losses_and_scores_are_those_of_scikit_learn():
    model = regressor(max_iter=3).fit(X, y, eval_set=(X[:500], y[:500]))
    prediction = model.predict(X[:500])
    assert model.evals_result_["validation_0"]["neg_loss"][-1] == pytest.approx(-pinball(y[:500], prediction))
    expected = [d2_pinball_score(y[:500], column, alpha=level) for column, level in zip(prediction.T, LEVELS)]
    assert model.score(X[:500], y[:500]) == pytest.approx(np.mean(expected))
    network = MLP([(8, "tanh"), (3, "identity")], LOSS, random_state=0).fit(X, y, 2)
    assert network.evaluate(X, y)["loss"] == pytest.approx(pinball(y, network.predict(X)), rel=1e-5)


@pytest.mark.parametrize("scale", [None, "standard"])
def test_early_stopping_keeps_the_weights_of_the_lowest_loss(scale):
    model = regressor(early_stopping=True, scale=scale, n_iter_no_change=3).fit(X, y)
    assert model.best_validation_score_ == max(model.validation_scores_) < 0
    np.testing.assert_allclose((y[:, None] < model.predict(X)).mean(axis=0), LEVELS, atol=0.05)


def test_sorted_predictions_do_not_cross_and_have_no_higher_loss():
    """After a single epoch quantiles cross."""
    few, noise, options = X[:300], y[:300], {"max_iter": 1}
    plain = regressor(**options).fit(few, noise)
    model = regressor(**options, non_crossing=True, dtype="float64").fit(few, noise)
    everywhere = np.linspace(-3, 3, 1000)[:, None]
    assert (np.diff(plain.predict(everywhere), axis=1) < 0).any()
    for without in (model, MLPEnsembleRegressor(model, n_members=2, random_state=0).fit(few, noise)):
        assert (np.diff(without.predict(everywhere), axis=1) >= 0).all()
    np.testing.assert_array_equal(model.predict(everywhere), np.sort(plain.predict(everywhere), axis=1))
    assert pinball(noise, model.predict(few)) <= pinball(noise, plain.predict(few))
    for call in (model.compile_predict, lambda: fastmlp.to_numpy_source(model), lambda: input_gradient(model, few)):
        with pytest.raises(ValueError, match="non_crossing=True"):
            call()


def test_an_ensemble_predicts_and_scores_each_level():
    ensemble = MLPEnsembleRegressor(regressor(max_iter=5), n_members=2, random_state=0).fit(X, y)
    prediction = ensemble.predict(X)
    np.testing.assert_allclose(prediction, np.mean([member.predict(X) for member in ensemble.members_], axis=0))
    expected = [d2_pinball_score(y, column, alpha=level) for column, level in zip(prediction.T, LEVELS)]
    assert ensemble.score(X, y) == pytest.approx(np.mean(expected))


def test_calls_with_parts_of_the_data():
    whole, parts = (regressor(max_iter=1, shuffle=False, batch_size=500) for _ in range(2))
    whole.fit(X, y)
    parts.fit_stream([(X[:1000], y[:1000]), (X[1000:], y[1000:])])
    np.testing.assert_array_equal(whole.predict(X), parts.predict(X))
    first, later = (regressor(shuffle=False, batch_size=500) for _ in range(2))
    first.partial_fit(X, y, epochs=3)
    for _ in range(3):  # the second and third call are not validated again
        later.partial_fit(X, y)
    np.testing.assert_array_equal(first.predict(X), later.predict(X))
    column = MLP([(3, "identity")], LOSS, random_state=0).fit(X, y[:, None], 2).predict(X)
    np.testing.assert_array_equal(MLP([(3, "identity")], LOSS, random_state=0).fit(X, y, 2).predict(X), column)
    network, single = MLP([(3, "identity")], LOSS, random_state=0).build(1), (X.astype("f"), y.astype("f"))
    network.compile_step(2000)(single[0], np.repeat(single[1][:, None], 3, axis=1))
    expected = MLP([(3, "identity")], LOSS, random_state=0).fit(*single, 1, None, shuffle=False)
    np.testing.assert_array_equal(network.parameters, expected.parameters)


def test_files_and_exports(tmp_path):
    network = MLP([(8, "tanh"), (3, "identity")], LOSS, random_state=0).fit(X, y, 2)
    for number, model in enumerate((regressor(max_iter=3, scale="standard").fit(X, y), network)):
        model.save(tmp_path / f"{number}.fmlp")
        loaded = load(tmp_path / f"{number}.fmlp")
        np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
        row = X[0].astype(model.dtype if model is network else "float64")
        np.testing.assert_allclose(model.compile_predict()(row), model.predict(X[:1])[0], rtol=1e-5)
        loaded.fit(X, y)
        assert loaded.predict(X).shape == (2000, 3)
    exported: dict = {}
    exec(fastmlp.to_numpy_source(network), exported)
    np.testing.assert_allclose(exported["predict"](X[:9]), network.predict(X[:9]), rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="loss"):
        fastmlp.to_sklearn(regressor(max_iter=3).fit(X, y))


def test_missing_targets_and_weights():
    there = rng.uniform(size=2000) > 0.2
    given = np.where(there, y, np.nan)
    model = regressor(missing_targets="ignore", solver="lbfgs", max_iter=20).fit(X, given)
    weighted = regressor(solver="lbfgs", max_iter=20).fit(X, y, there.astype(float))
    np.testing.assert_allclose(model.predict(X), weighted.predict(X), rtol=1e-6)
    assert model.score(X, given) == pytest.approx(model.score(X[there], y[there]))


REFUSED = [
    (lambda: make_loss("quantile", quantile=[0.9, 0.1]), "increasing list"),
    (lambda: make_loss("quantile", quantile=[0.1, 0.1]), "increasing list"),
    (lambda: make_loss("quantile", quantile=[]), "increasing list"),
    (lambda: make_loss("quantile", quantile=[0.5, 1.0]), r"quantile must be a number in \(0, 1\), got 1.0"),
    (lambda: make_loss("quantile", quantile=[0.5, "high"]), r"quantile must be a number in \(0, 1\), got 'high'"),
    (lambda: make_loss("huber", delta=[1, 2]), "delta must be a number"),
    (lambda: MLP([(2, "identity")], LOSS), "3 levels needs an output layer of 3 units, one per level, got 2"),
    (lambda: MLP([(3, "identity")], LOSS).fit(X, np.hstack([X, X, X])), "single target column, got 3"),
    (lambda: regressor().fit(X, np.hstack([X, X])), "single target column, got 2"),
    (lambda: regressor("quantile", non_crossing=True).fit(X, y), "needs a loss with a list of quantiles"),
    (lambda: fastmlp.MLPClassifier(loss=LOSS).fit(X, rng.randint(3, size=2000)), "without a list of quantiles"),
    (lambda: regressor(max_iter=1).fit(X, y, eval_set=(X, y), eval_metric="r2"), "cannot be computed for"),
]


@pytest.mark.parametrize("call, message", REFUSED)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_files_with_another_number_of_levels_are_refused():
    saved = regressor(max_iter=1).fit(X, y).saved_state()
    sizes, activations, loss, _, *more = saved["net"]["network"]
    saved["net"]["network"] = (sizes, activations, loss, ((0.1, 0.9),), *more)
    with pytest.raises(ValueError, match="2 levels needs an output layer of 2 units"):
        MLPRegressor.from_saved_state(saved)


def test_layers_changed_to_another_number_of_outputs():
    """The kernels would read levels that do not exist."""
    model = MLP([(3, "identity")], LOSS, random_state=0).fit(X, y, 1)
    model.layers = [(5, "identity")]
    with pytest.raises(ValueError, match="3 levels"):
        model.build(1)


def test_a_list_of_one_quantile_is_that_quantile():
    assert make_loss("quantile", quantile=[0.3]) == make_loss("quantile", quantile=0.3)
    assert make_loss("quantile", quantile=np.array(LEVELS)) == LOSS == eval(repr(LOSS), {"make_loss": make_loss})
