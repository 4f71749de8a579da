"""Fit a few models with the installed package, to test a wheel on the machine that built it."""

import platform
import tempfile
from pathlib import Path

import numpy as np
from sklearn import neural_network
from sklearn.datasets import load_digits, load_iris

import fastmlp

BACKENDS = "cython", "numba", "numpy"


def check_classifier(backend):
    """Compare with scikit-learn's loss within 1e-6, on Iris in float64."""
    X, y = load_iris(return_X_y=True)
    options = {"hidden_layer_sizes": (16,), "max_iter": 50, "tol": 0, "n_iter_no_change": 50, "random_state": 0}
    ours = fastmlp.MLPClassifier(**options, backend=backend).fit(X, y)
    theirs = neural_network.MLPClassifier(**options).fit(X, y)
    assert ours.backend_ == backend, ours.backend_reason_
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=1e-6)


def check_model(backend):
    """Require more than 90 % accuracy on the digits, and the same predictions from a file, in float32."""
    X, y = load_digits(return_X_y=True)
    X = (X / 16).astype("float32")
    layers = [fastmlp.Layer(64, "gelu", dropout=0.1), fastmlp.Layer(10, "softmax")]
    model = fastmlp.MLP(layers, "categorical_cross_entropy", "adamw", backend=backend, random_state=0)
    model.fit(X, y, epochs=15)
    assert model.evaluate(X, y)["accuracy"] > 0.9
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "digits.fastmlp")
        model.save(path)
        np.testing.assert_array_equal(fastmlp.load(path).predict(X), model.predict(X))
    return model.parameters.copy()


def main():
    print(f"fastmlp {fastmlp.__version__} from {fastmlp.__file__}, {platform.platform()}, {platform.machine()}")
    found = {}
    for backend in BACKENDS:
        check_classifier(backend)
        found[backend] = check_model(backend)
        print(f"{backend}: fits agree with scikit-learn's, and a saved model predicts the same")
    for backend in ("cython", "numba"):
        np.testing.assert_allclose(found[backend], found["numpy"], rtol=0, atol=1e-3)


if __name__ == "__main__":
    main()
