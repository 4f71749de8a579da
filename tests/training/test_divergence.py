"""A diverging fit stops, advises what to do, and keeps the last finite weights."""

import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning, FitFailedWarning
from sklearn.model_selection import GridSearchCV

from fastmlp import MLP, MLPClassifier, MLPEnsembleRegressor, MLPRegressor, make_optimizer

SCIKIT = "Solver produced non-finite parameter weights. The input data may contain large values and need to be"

pytestmark = pytest.mark.filterwarnings("ignore:y is far from 0")
rng = np.random.RandomState(0)
X, y = rng.standard_normal((30, 3)), np.arange(30) % 2


DIVERGING = {
    "hidden_layer_sizes": (5,), "activation": "identity", "solver": "sgd", "learning_rate_init": 1e-4, "batch_size": 10,
}  # fmt: skip


def diverging_rows():
    return X * 1e3, X @ np.ones(3) * 1e3


def fit(model):
    return model.fit(*diverging_rows())


def partial_fit(model):
    for _ in range(20):
        model.partial_fit(*diverging_rows())


def fit_stream(model):
    data, target = diverging_rows()
    model.fit_stream([(data[:15], target[:15]), (data[15:], target[15:])])


@pytest.mark.parametrize("learn", [fit, partial_fit, fit_stream])
def test_a_diverging_estimator_raises_and_keeps_the_last_finite_weights(learn, backend):
    model = MLPRegressor(**DIVERGING, backend=backend, random_state=0)
    with pytest.raises(ValueError, match=f"{SCIKIT}.*diverged in iteration [0-9]+.*lower the learning rate"):
        learn(model)
    assert all(np.isfinite(array).all() for array in model.coefs_ + model.intercepts_)
    if learn is not partial_fit:
        assert len(model.loss_curve_) == model.n_iter_
    assert np.isfinite(model.loss_curve_).all()
    assert np.isfinite(model.predict(diverging_rows()[0])).all()


@pytest.mark.parametrize("model", [MLP([(1, "identity")]), MLPRegressor(hidden_layer_sizes=(2,), max_iter=3)])
def test_divergence_of_another_estimator_in_a_callback_is_an_error_of_the_callback(model):
    def callback(model, epoch, results):
        fit(MLPRegressor(**DIVERGING, max_iter=20))

    with pytest.raises(ValueError, match=SCIKIT):
        model.fit(X, y, callbacks=callback)
    assert not getattr(model, "diverged", False)


def test_a_diverging_ensemble_raises_and_keeps_its_members():
    members = MLPRegressor(**DIVERGING)
    ensemble = MLPEnsembleRegressor(members, n_members=3, random_state=0)
    with pytest.raises(ValueError, match=f"^3 of 3 members diverged. {SCIKIT}"):
        ensemble.fit(*diverging_rows())
    assert len(ensemble.members_) == 3
    assert np.isfinite(ensemble.predict(diverging_rows()[0])).all()


def test_a_search_skips_diverging_candidates():
    data, target = diverging_rows()
    model = MLPRegressor(**DIVERGING, max_iter=20)
    search = GridSearchCV(model, {"learning_rate_init": [1e-4, 1e-12]}, cv=2, error_score=-1e9)
    with pytest.warns(FitFailedWarning, match="diverged"), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        search.fit(data, target)
    assert search.best_params_ == {"learning_rate_init": 1e-12}
    assert search.cv_results_["mean_test_score"][0] == -1e9


def test_early_stopping_restores_its_best_weights_instead_of_raising():
    data, target = diverging_rows()
    model = MLPRegressor(**DIVERGING, early_stopping=True, random_state=0)
    with pytest.warns(ConvergenceWarning, match="fitted with the weights of its best iteration"):
        model.fit(data, target)
    assert np.isfinite(model.predict(data)).all()
    assert len(model.loss_curve_) == len(model.validation_scores_) == model.n_iter_
    assert np.isnan(model.loss_)


@pytest.mark.parametrize("kind", ["classifier", "regressor", "MLP", "partial_fit", "fit_stream", "poisson"])
def test_outputs_that_overflow_after_the_last_step_are_detected(kind, backend):
    """Weights of 1e38 are finite, but their outputs are not."""
    data, options = X.astype(np.float32), {"learning_rate_init": 1e38, "max_iter": 1, "backend": backend}
    if kind == "MLP":
        adam = make_optimizer("adam", 1e38)
        model = MLP([(9, "relu"), (2, "softmax")], "categorical_cross_entropy", adam, backend=backend, random_state=0)
        with pytest.warns(ConvergenceWarning, match="diverged in epoch 1; the weights from the end of epoch 0"):
            model.fit(data, y, epochs=1)
        assert model.diverged
        assert np.isfinite(model.predict(data)).all()
        return
    model = (MLPClassifier if kind == "classifier" else MLPRegressor)(random_state=0, **options)
    if kind == "poisson":  # overflows even with small weights
        data = 100 * np.abs(data)
        model.set_params(loss="poisson", learning_rate_init=5.0, hidden_layer_sizes=(), init="zeros")
    target = 1000 * y + 1000 if kind == "poisson" else y
    with pytest.raises(ValueError, match=r"diverged in iteration 1; .* the end of iteration 0"):
        if kind == "fit_stream":
            model.fit_stream([(data, target)])
        elif kind == "partial_fit":
            model.partial_fit(data, target)
        else:
            model.fit(data, target)
    assert np.isfinite(model.predict(data)).all()
    assert (model.n_iter_, model.loss_curve_) == (0, [])


def test_a_diverging_model_keeps_the_weights_of_the_last_good_epoch(backend):
    data, target = diverging_rows()
    options = {"optimizer": make_optimizer("sgd", 1e-6), "random_state": 0, "backend": backend}
    model = MLP([(5, "identity"), (1, "identity")], **options)
    with pytest.warns(ConvergenceWarning, match=r"diverged in epoch (\d+); the weights from the end of epoch \d+ are"):
        model.fit(data, target, epochs=300)
    assert 0 < model.epoch < 300
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        twin = MLP([(5, "identity"), (1, "identity")], **options).fit(data, target, epochs=model.epoch)
    np.testing.assert_array_equal(model.parameters, twin.parameters)


def test_an_infinite_poisson_mean_is_divergence(backend):
    """The exponential overflows, and must not be clipped to a finite number."""
    data = np.linspace(-120, 120, 60)[:, None]
    model = MLPRegressor(
        loss="poisson", hidden_layer_sizes=(), solver="sgd", momentum=0, random_state=3, max_iter=5, backend=backend
    )
    with pytest.raises(ValueError, match="diverged in iteration"):
        model.fit(data, np.abs(data[:, 0]).round())
    assert np.isfinite(model._net.parameters).all()


def test_an_estimator_that_diverges_in_the_first_epoch_has_its_attributes():
    model = MLPRegressor()
    with pytest.raises(ValueError, match=r"iteration 1.*end of iteration 0"):
        model.fit(X * 1e200, y)
    assert (model.loss_, model.n_iter_, model.loss_curve_) == (np.inf, 0, [])


def test_a_mean_that_underflows_to_zero_is_not_divergence(backend):
    """With counts of 0, a mean of 0 is a perfect prediction."""
    model = MLP([(1, "exp")], "poisson", make_optimizer("sgd", 1e-6), backend=backend).build(1)
    model.parameters[:] = [-1, 0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.fit([[2000.0], [500.0]], [0, 0], epochs=3)
    assert model.history["loss"] == [0, 0, 0]


def test_after_divergence_the_optimizer_is_reset_and_the_learning_rate_can_be_lowered():
    data, target = diverging_rows()
    model = MLP([(5, "identity"), (1, "identity")], optimizer=make_optimizer("momentum", 1e-6), random_state=0)
    with pytest.warns(ConvergenceWarning, match="lower the learning rate"):
        model.fit(data, target, epochs=300)
    assert (model._state.slots == 0).all()
    assert model._state.step == 0
    model.optimizer = make_optimizer("momentum", 1e-9)
    model.parameters[:] = 0.01
    losses = model.fit(data, target, epochs=5).history["loss"]
    assert losses[-1] < losses[-5]


def test_weights_that_overflow_in_the_last_step_are_detected(backend):
    """The loss of a step is that of the weights before it, so it can be finite when the new weights are not."""
    model = MLP([(1, "identity")], optimizer=make_optimizer("sgd", 1e30), random_state=0, backend=backend)
    with pytest.warns(ConvergenceWarning, match="diverged in epoch 1"):
        model.fit([[1e15]], [1.0], epochs=1)
    assert np.isfinite(model.parameters).all()
    assert model.history["loss"] == []


def test_diverging_lbfgs_stays_finite():
    data, target = X * 1e200, X @ np.ones(3)
    model = MLPRegressor(solver="lbfgs", activation="identity", max_iter=50)
    with pytest.raises(ValueError, match=f"{SCIKIT}.*lbfgs diverged"), np.errstate(all="ignore"):
        model.fit(data, target)
    assert np.isfinite(model._net.parameters).all()
    own = MLP([(1, "identity")], optimizer="lbfgs", dtype="float64")
    with pytest.warns(ConvergenceWarning, match="diverged after 0 iterations"):
        own.fit(data, target)
    assert own.diverged
    assert not own.fit(X, target).diverged
