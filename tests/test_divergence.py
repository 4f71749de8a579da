"""A diverging fit stops, says what to do, and keeps the last good weights."""

import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from fastmlp import MLP, MLPRegressor, make_optimizer

rng = np.random.RandomState(0)
X, y = rng.standard_normal((30, 3)), np.arange(30) % 2


def diverging_rows():
    return X * 1e3, X @ np.ones(3) * 1e3


def test_a_diverging_estimator_keeps_the_last_finite_weights(backend):
    data, target = diverging_rows()
    model = MLPRegressor(
        hidden_layer_sizes=(5,), activation="identity", solver="sgd", learning_rate_init=1e-4, backend=backend,
        random_state=0, batch_size=10,
    )  # fmt: skip
    with pytest.warns(ConvergenceWarning, match="diverged in iteration [0-9]+.*lower learning_rate_init"):
        model.fit(data, target)
    assert all(np.isfinite(array).all() for array in model.coefs_ + model.intercepts_)
    assert len(model.loss_curve_) == model.n_iter_
    assert np.isfinite(model.loss_curve_).all()
    assert np.isfinite(model.predict(data)).all()


def test_a_diverging_model_keeps_the_weights_of_the_last_good_epoch(backend):
    data, target = diverging_rows()
    options = {"optimizer": make_optimizer("sgd", 1e-6), "random_state": 0, "backend": backend}
    model = MLP([(5, "identity"), (1, "identity")], **options)
    with pytest.warns(ConvergenceWarning, match=r"diverged in epoch (\d+); the weights of the end of epoch \d+ are"):
        model.fit(data, target, epochs=300)
    assert 0 < model.epoch < 300
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        twin = MLP([(5, "identity"), (1, "identity")], **options).fit(data, target, epochs=model.epoch)
    np.testing.assert_array_equal(model.parameters, twin.parameters)


def test_a_diverging_poisson_mean_is_not_taken_for_a_fit(backend):
    """Its exponential overflows: infinity must not be hidden by a limit."""
    data = np.linspace(-120, 120, 60)[:, None]
    model = MLPRegressor(
        loss="poisson", hidden_layer_sizes=(), solver="sgd", momentum=0, random_state=3, max_iter=5, backend=backend
    )
    with pytest.warns(ConvergenceWarning, match="diverged in iteration"):
        model.fit(data, np.abs(data[:, 0]).round())
    assert np.isfinite(model._parameters).all()


def test_an_estimator_that_diverges_at_once_has_its_attributes():
    with pytest.warns(ConvergenceWarning, match="iteration 1.*end of iteration 0"):
        model = MLPRegressor().fit(X * 1e200, y)
    assert (model.loss_, model.n_iter_, model.loss_curve_) == (np.inf, 0, [])


def test_a_mean_that_underflows_to_zero_is_no_divergence(backend):
    """Nothing is expected and nothing comes: a perfect prediction."""
    model = MLP([(1, "exp")], "poisson", make_optimizer("sgd", 1e-6), backend=backend).build(1)
    model.parameters[:] = [-1, 0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.fit([[2000.0], [500.0]], [0, 0], epochs=3)
    assert model.history["loss"] == [0, 0, 0]


def test_after_divergence_the_optimizer_starts_afresh_and_the_rate_can_be_lowered():
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


def test_weights_that_overflow_in_the_last_step_are_noticed(backend):
    """The loss of a step is that of the weights before it: a finite one may leave infinite weights behind."""
    model = MLP([(1, "identity")], optimizer=make_optimizer("sgd", 1e30), random_state=0, backend=backend)
    with pytest.warns(ConvergenceWarning, match="diverged in epoch 1"):
        model.fit([[1e15]], [1.0], epochs=1)
    assert np.isfinite(model.parameters).all()
    assert model.history["loss"] == []


def test_diverging_lbfgs_warns_and_stays_finite():
    data, target = X * 1e200, X @ np.ones(3)
    with pytest.warns(ConvergenceWarning), np.errstate(all="ignore"):
        model = MLPRegressor(solver="lbfgs", activation="identity", max_iter=50).fit(data, target)
    assert np.isfinite(model._parameters).all()
