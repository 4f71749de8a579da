"""Random fits of estimators on few samples, in batches and of one sample: of arrays, streams, parts and sparse X."""

import warnings

import numpy as np
from scipy import sparse

from fastmlp import MLPClassifier, MLPRegressor

CALLS = "fit", "fit_stream", "partial_fit", "sparse"
TOLERANCE = {"float64": 1e-6, "float32": 1e-2}
OPTIONS = {
    "activation": ("tanh", "logistic", "softplus", "gelu"), "solver": ("sgd", "adam", "lbfgs"),
    "batch_size": (1, 7, 32), "dropout": (0.0, 0.3), "early_stopping": (False, True), "alpha": (0.0, 0.01),
    "scale": (None, "standard"),
}  # fmt: skip


class OddFit:
    """An estimator with data, from a seed and a number; the same methods as an OddCase."""

    kind = "fit"

    def __init__(self, seed, number, dtypes):
        rng = np.random.RandomState([seed, number])
        self.dtype, self.threads = str(rng.choice(dtypes)), int(rng.randint(1, 4))
        self._estimator = (MLPClassifier, MLPRegressor)[rng.randint(2)]
        rows, columns = int(rng.choice([11, 17, 33, 64, 150])), int(rng.choice([1, 3, 8, 16, 33]))
        widths = [int(width) for width in rng.choice([1, 3, 8, 17, 40], rng.randint(1, 4))]
        self._options = {name: values[rng.randint(len(values))] for name, values in OPTIONS.items()}
        self._options |= {"hidden_layer_sizes": widths, "epsilon": 0.1, "max_iter": 3, "n_jobs": self.threads}
        self._call = CALLS[rng.randint(len(CALLS))]
        if self._call in ("fit_stream", "partial_fit"):  # which see a part of the samples
            self._options |= {"early_stopping": False, "scale": None, "solver": "adam"}
        if self._call == "sparse":
            self._options["scale"] = None
        if self._options["solver"] == "lbfgs":
            self._options["dropout"] = 0.0
        self._X = rng.standard_normal((rows, columns)).astype(self.dtype)
        self._y = np.arange(rows) % 3 if self._estimator is MLPClassifier else self._X @ np.ones((columns, 2))

    def __str__(self):
        return f"{self._call} of {self._X.shape}, {self.dtype}: {self._estimator.__name__} {self._options}"

    def tolerance(self):
        return TOLERANCE[self.dtype]

    def results(self, backend):
        X, y = self._X.copy(), self._y.copy()
        if self._call == "sparse":
            X = sparse.csr_array(X * (np.abs(X) > 0.7))
        model = self._estimator(**self._options, backend=backend, random_state=0)
        halves = slice(len(y) // 2 + 1), slice(len(y) // 2 + 1, None)
        more = {"classes": [0, 1, 2]} if self._estimator is MLPClassifier else {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of fits that have not converged
            if self._call == "fit_stream":
                model.fit_stream([(X[rows], y[rows]) for rows in halves], **more)
            elif self._call == "partial_fit":
                for rows in halves:
                    model.partial_fit(X[rows], y[rows], **more)
            else:
                model.fit(X, y)
        outputs = model.predict_proba(X) if self._estimator is MLPClassifier else model.predict(X)
        arrays = [outputs, *model.coefs_, *model.intercepts_]
        return {f"array {i}": np.array(array, "f8") for i, array in enumerate(arrays)}
