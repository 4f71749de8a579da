"""scale='standard' equals a StandardScaler in a pipeline, and is folded into the weights of exports."""

import pickle
import runpy

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_matrix
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_wine
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from fastmlp import (
    MLP,
    MLPClassifier,
    MLPEnsembleRegressor,
    MLPRegressor,
    input_gradient,
    load,
    to_numpy_source,
    to_sklearn,
)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
X, y = load_wine(return_X_y=True)
X = np.column_stack([X, np.full(len(X), 0.1)])  # and a constant column
OPTIONS = {"hidden_layer_sizes": (8,), "activation": "tanh", "max_iter": 20, "random_state": 0}


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
def test_scale_equals_a_standard_scaler(kind, solver):
    found = kind(scale="standard" if kind is MLPClassifier else "inputs", solver=solver, **OPTIONS).fit(X, y)
    wanted = make_pipeline(StandardScaler(), kind(solver=solver, **OPTIONS)).fit(X, y)
    assert_allclose(found.coefs_[0], wanted[-1].coefs_[0], rtol=1e-6, atol=1e-9)
    assert_allclose(found.predict(X), wanted.predict(X), rtol=1e-6)
    assert found.score(X, y) == pytest.approx(wanted.score(X, y))
    assert found.score(X, y) > kind(solver=solver, **OPTIONS).fit(X, y).score(X, y)


PRICES = 200_000 + 30_000 * StandardScaler().fit_transform(X[:, :2])
LONGER = OPTIONS | {"max_iter": 300, "learning_rate_init": 0.01}


@pytest.mark.parametrize("target", [PRICES[:, 0], PRICES], ids=["one", "two"])
@pytest.mark.parametrize("scale", ["standard", "targets"])
def test_targets_are_scaled_like_those_of_a_transformed_target_regressor(scale, target, backend):
    inputs = StandardScaler() if scale == "standard" else FunctionTransformer()
    pipeline = make_pipeline(inputs, MLPRegressor(backend=backend, **OPTIONS))
    wanted = TransformedTargetRegressor(pipeline, transformer=StandardScaler()).fit(X, target)
    found = MLPRegressor(scale=scale, backend=backend, **OPTIONS).fit(X, target)
    assert_allclose(found.predict(X), wanted.predict(X), rtol=1e-9)
    assert found.loss_ == pytest.approx(wanted.regressor_[-1].loss_, rel=1e-9)


def test_targets_far_from_zero(tmp_path):
    """Targets like prices: without ``scale`` R^2 is below -10."""
    price = PRICES[:, 0]
    with pytest.warns(UserWarning, match=r"y is far from 0 .*Pass scale='standard'"):
        plain = MLPRegressor(**LONGER).fit(X, price)
    assert plain.score(X, price) < -10
    with pytest.warns(UserWarning, match=r"y is far from 0 .*Scale y to mean 0"):
        MLP([(1, "identity")]).fit(X, price, epochs=1)
    no_weight = np.append(np.zeros(len(X)), 1e9), np.append(np.ones(len(X)), 0)
    MLPRegressor(max_iter=2).fit(np.vstack([X, X[:1]]), *no_weight)  # has no warning about the targets
    blocks = [(X[start::3], price[start::3]) for start in range(3)]
    held_out = {"early_stopping": True, "n_iter_no_change": 50}
    for name, model in {
        "fit": MLPRegressor(scale="standard", **LONGER).fit(X, price),
        "held out": MLPRegressor(scale="standard", **LONGER | held_out).fit(X, price),
        "stream": MLPRegressor(scale="standard", **LONGER).fit_stream(blocks),
        "float32": MLPRegressor(scale="standard", **LONGER).fit(X.astype("f4"), price),
        "ensemble": MLPEnsembleRegressor(MLPRegressor(scale="standard", **LONGER), n_members=2).fit(X, price),
    }.items():
        assert model.score(X, price) > 0.9, name
    model.save(tmp_path / "m")
    assert_array_equal(load(tmp_path / "m").predict(X), model.predict(X))
    seconds = 1.7e9 + price / 1000  # float32 cannot represent these
    late = MLPRegressor(scale="standard", **LONGER).fit(X.astype("f4"), seconds)
    assert late.score(X.astype("f4"), seconds) > 0.9


def test_values_of_scale():
    counts = np.abs(y - 1)
    model = MLPRegressor("poisson", scale="standard", **OPTIONS).fit(X, counts)
    assert model._net.target_scaling is None
    with pytest.raises(ValueError, match="scale='targets' cannot be used with loss='poisson'"):
        MLPRegressor("poisson", scale="targets", **OPTIONS).fit(X, counts)
    with pytest.raises(ValueError, match="'scale' parameter of MLPClassifier"):
        MLPClassifier(scale="targets").fit(X, y)
    MLPRegressor(scale="targets", **OPTIONS).fit(csr_matrix(X), y)
    mean, spread = MLPRegressor(scale="standard", dropout=0.1, **OPTIONS).fit(X, PRICES[:, 0]).predict(X, mc_samples=9)
    assert 50_000 < mean.min() < mean.max() < 400_000
    assert (spread > 10).all()
    added = {"hidden_layer_sizes": (1, 8), "skip": 2, "skip_weights": False}
    with pytest.raises(ValueError, match="skip connections add to the last layer"):
        to_numpy_source(MLPRegressor(scale="targets", **OPTIONS | added).fit(X[:, :1], PRICES[:, 0]))


def test_exports_take_original_inputs(tmp_path):
    for skip in (0, 2):
        model = MLPRegressor(scale="standard", skip=skip, **OPTIONS).fit(X, 50 + 20 * y)
        predict = model.compile_predict()
        assert_allclose([predict(row)[0] for row in X], model.predict(X), rtol=1e-9)
        to_numpy_source(model, tmp_path / "m.py")
        assert_allclose(runpy.run_path(str(tmp_path / "m.py"))["predict"](X), model.predict(X), rtol=1e-9)
        step = 1e-4 * X.std(axis=0)[0] * np.eye(X.shape[1])[0]
        slope = (model.predict(X + step) - model.predict(X - step)) / (2 * step[0])
        assert_allclose(input_gradient(model, X)[:, 0], slope, rtol=1e-4, atol=1e-8)


def test_scaling_is_saved_with_the_model(tmp_path):
    model = MLPClassifier(scale="standard", **OPTIONS).fit(X, y)
    model.save(tmp_path / "m")
    for again in (load(tmp_path / "m"), pickle.loads(pickle.dumps(model))):
        assert_array_equal(again.predict_proba(X), model.predict_proba(X))
    assert_array_equal(model.set_params(scale=None).predict_proba(X), again.predict_proba(X))
    with pytest.raises(ValueError, match="has no scale"):
        to_sklearn(MLPClassifier(scale="standard"))
    with pytest.raises(ValueError, match="set after the fit"):
        to_sklearn(model)
    model._net.scaling = model._net.scaling[0][:3], model._net.scaling[1]
    model.save(tmp_path / "m")
    with pytest.raises(ValueError, match="damaged"):
        load(tmp_path / "m")


def test_scaling_uses_sample_weights():
    """A sample with weight 0 is ignored."""
    rows, weight = np.vstack([X, 1e6 + X[:1]]), np.append(np.arange(len(X)) % 3, 0.0)
    found = MLPClassifier(scale="standard", **OPTIONS).fit(rows, np.append(y, 0), sample_weight=weight)
    wanted = StandardScaler().fit(X, sample_weight=weight[:-1])
    assert_allclose(found._net.scaling, [wanted.mean_, wanted.scale_], rtol=1e-9)


def test_later_fits_keep_the_scale_of_the_first():
    model = MLPClassifier(scale="standard", **OPTIONS)
    model.partial_fit(X[:100], y[:100], classes=[0, 1, 2])
    mean = X[:100].mean(axis=0)
    assert_allclose(model._net.scaling[0], mean)
    model.partial_fit(X[100:], y[100:])
    assert_allclose(model._net.scaling[0], mean)
    model.fit(X, y)
    assert_allclose(model._net.scaling[0], X.mean(axis=0))
    model.set_params(scale=None).fit(X, y)
    assert_array_equal(model.predict(X), MLPClassifier(**OPTIONS).fit(X, y).predict(X))


def test_held_out_samples_are_not_used_for_the_scaling():
    """Neither those of early stopping nor those of an eval_set, which are in original units."""
    model = MLPClassifier(scale="standard", early_stopping=True, **OPTIONS).fit(X, y)
    assert not np.allclose(model._net.scaling[0][:-1], X.mean(axis=0)[:-1], rtol=1e-9)
    assert max(model.validation_scores_) > 0.5
    model = MLPClassifier(scale="standard", **OPTIONS).fit(X, y, eval_set=(X, y))
    assert model.evals_result_["validation_0"]["accuracy"][-1] == model.score(X, y)


def test_sparse_input_is_refused():
    model = MLPClassifier(scale="standard", **OPTIONS).fit(X, y)
    with pytest.raises(ValueError, match="scale does not support sparse X"):
        model.fit(csr_matrix(X), y)
    with pytest.raises(ValueError, match="scale does not support sparse X"):
        model.partial_fit(csr_matrix(X), y)
    model = MLPClassifier(scale="standard", **OPTIONS).fit(X, y)
    with pytest.raises(TypeError, match=r"[Ss]parse data was passed"):
        model.predict(csr_matrix(X))
    assert_array_equal(model.predict(X), MLPClassifier(scale="standard", **OPTIONS).fit(X, y).predict(X))
    with pytest.raises(ValueError, match="scale"):
        MLPClassifier(scale="minmax").fit(X, y)


def test_models_that_add_inputs_without_weights_cannot_be_exported():
    model = MLPRegressor(
        scale="standard", **OPTIONS | {"hidden_layer_sizes": (8, X.shape[1])}, skip=2, skip_weights=False
    )
    model.fit(X, y)
    assert np.isfinite(model.predict(X)).all()
    with pytest.raises(ValueError, match="skip connections add the inputs to a layer"):
        to_numpy_source(model)


@pytest.mark.parametrize(
    "learn",
    [
        lambda model: model.fit(X * 1e200, y),
        lambda model: model.fit(X, y * 1e200),
        lambda model: model.fit(np.vstack([np.full_like(X[:1], 2.0**600), X[1:128]]), y[:128]),  # the variance is
        lambda model: model.fit(X[:128], np.r_[2.0**600, y[1:128]]),  # infinite, above it is NaN
        lambda model: model.fit(X, y, np.full(len(y), 1e300)),
        lambda model: model.partial_fit(X * 1e200, y),
        lambda model: model.fit_stream([(X * 1e200, y)]),
    ],
)
def test_numbers_too_large_to_scale_are_refused(learn):
    """Their standard deviation is not finite, so that predictions would be NaN."""
    model = MLPRegressor(scale="standard", **OPTIONS)
    with pytest.raises(ValueError, match="is too large for scale"):
        learn(model)
    assert not hasattr(model, "coefs_")


@pytest.mark.parametrize("use", [MLPRegressor.compile_predict, to_numpy_source, lambda model: input_gradient(model, X)])
def test_scaled_weights_too_large_for_float32_are_refused(use):
    """predict scales in float64; compile_predict and derivatives would return NaN without an error."""
    X32 = X.astype("float32")
    model = MLPRegressor(scale="standard", **OPTIONS).fit(X32, y * 1e100)
    assert np.isfinite(model.predict(X32)).all()
    with pytest.raises(ValueError, match="weights with folded scaling are too large for float32"):
        use(model)
