"""The parameter ``dtype``: a fit in that precision, whatever X is."""

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.base import clone

from fastmlp import MLPClassifier, MLPEnsembleRegressor, MLPRegressor, load

RNG = np.random.RandomState(0)
X = RNG.standard_normal((80, 3))
Y = X[:, 0] * X[:, 1]
KINDS = {"classifier": (MLPClassifier, (Y > 0).astype(int)), "regressor": (MLPRegressor, Y)}
FITS = {
    "fit": lambda made, X, y: made.fit(X, y),
    "early stopping": lambda made, X, y: made.set_params(early_stopping=True).fit(X, y),
    "eval_set": lambda made, X, y: made.fit(X, y, eval_set=(X, y)),
    "lbfgs": lambda made, X, y: made.set_params(solver="lbfgs").fit(X, y),
    "lm": lambda made, X, y: made.set_params(solver="lm", loss="squared_error").fit(X, y),
    "partial_fit": lambda made, X, y: (
        made.partial_fit(X, y, **classes(made)).partial_fit(X, y).partial_fit(X[:5], y[:5])
    ),
    "fit_stream": lambda made, X, y: made.fit_stream([(X[:40], y[:40]), (X[40:], y[40:])], **classes(made)),
    "sparse": lambda made, X, y: made.fit(csr_array(X), y),
    "weights": lambda made, X, y: made.fit(X, y, sample_weight=np.arange(1, 81.0)),
}
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def classes(made):
    return {"classes": [0, 1]} if isinstance(made, MLPClassifier) else {}


@pytest.mark.parametrize("fit", FITS.values(), ids=FITS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_fit_in_a_dtype_is_that_of_X_in_this_dtype(kind, dtype, fit):
    """The rounded X gives the same weights and predictions, from both precisions of X."""
    cls, y = KINDS[kind]
    data = X.astype("f4")
    expected = fit(cls(hidden_layer_sizes=(5,), max_iter=4, random_state=0), data.astype(dtype), y)
    for given in (data, data.astype("f8")):
        made = clone(expected).set_params(dtype=dtype)
        fit(made, given, y)
        for found, wanted in zip(
            [*made.coefs_, *made.intercepts_], [*expected.coefs_, *expected.intercepts_], strict=True
        ):
            assert found.dtype == dtype
            np.testing.assert_array_equal(found, wanted)
        np.testing.assert_array_equal(made.predict(given), expected.predict(data.astype(dtype)))


def test_inputs_are_scaled_before_they_are_rounded():
    """Columns whose mean is a million standard deviations keep their information."""
    far = X + 1e6
    wide, narrow = (
        MLPRegressor(scale="standard", dtype=dtype, max_iter=50, random_state=0).fit(far, Y)
        for dtype in (None, "float32")
    )
    assert narrow.coefs_[0].dtype == "float32"
    np.testing.assert_allclose(narrow.predict(far), wide.predict(far), atol=1e-3)


def test_values_too_large_for_float32_are_refused():
    large = X * np.where(np.arange(80) == 7, 1e200, 1)[:, None]
    for cls, y in KINDS.values():
        with pytest.raises(ValueError, match="X contains values too large for float32: scale it, or fit in float64"):
            cls(dtype="float32").fit(large, y)
        made = cls(dtype="float32", max_iter=2).fit(X, y)
        for method, given in ((made.predict, (large,)), (made.partial_fit, (large, y))):
            with pytest.raises(ValueError, match="X contains values too large for float32"):
                method(*given)


@pytest.mark.parametrize("wrong", ["float16", "bfloat16", np.float32, 32])
def test_other_dtypes_are_refused(wrong):
    with pytest.raises(ValueError, match="The 'dtype' parameter of MLPRegressor must be"):
        MLPRegressor(dtype=wrong).fit(X, Y)


def test_later_fits_copies_files_and_ensembles_keep_the_dtype(tmp_path):
    made = MLPRegressor(dtype="float32", warm_start=True, max_iter=2, random_state=0).fit(X, Y)
    made.save(tmp_path / "m")
    for other in (made.fit(X, Y), made.set_params(dtype=None).fit(X, Y), load(tmp_path / "m")):
        assert other.coefs_[0].dtype == other.predict(X).dtype == "float32"
    assert load(tmp_path / "m").dtype == "float32"
    ensemble = MLPEnsembleRegressor(MLPRegressor(dtype="float32", max_iter=2), n_members=2, random_state=0).fit(X, Y)
    assert {member.coefs_[0].dtype.name for member in ensemble.members_} == {"float32"}
