"""The same data in another form: each fit and prediction gives the same bits.

Forms are strided, reversed, in Fortran order, read-only, big-endian, a memory map, masked, and frames of pandas, polars
and Arrow; of float64 also lists, tuples, float16, objects and long double. Sparse matrices, whose products add up in
another order, give the same to rounding.
"""

import warnings

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
from scipy import sparse

import fastmlp

SIZES = 2, 50  # data sets
FIGURE = "{results} fits of {forms} forms of {data_sets} data sets, {different} different from that of the plain array"
SPARSE = {"csr", "csc", "csr_array"}
TOLERANCE = {np.dtype(np.float32): 1e-4, np.dtype(np.float64): 1e-10}
SMALL = {"hidden_layer_sizes": (4,), "max_iter": 3, "random_state": 0}


def run(size, seed, folder):
    counts = {"results": 0, "forms": 0, "data_sets": size, "different": 0, "faults": []}
    forms = set()
    for number in range(size):
        rng = np.random.default_rng([seed, number])
        X, y = data(rng)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for name, work in WORK.items():
                plain = work(X.dtype, y, X)
                for form, other in forms_of(X, folder / f"{number}").items():
                    forms.add(form)
                    fault = difference(plain, work, other, y, form, X.dtype)
                    counts["results"] += 1
                    counts["different"] += fault is not None
                    if fault:
                        counts["faults"].append(f"data set {number}, {X.dtype} {X.shape}, {name} of {form}: {fault}")
    return counts | {"forms": len(forms)}


def data(rng):
    """Numbers that float16 holds too, a third of them 0, and a target."""
    shape = int(rng.integers(5, 70)), int(rng.integers(1, 12))
    X = rng.integers(-8, 9, shape) / 4 * (rng.random(shape) < 0.67)
    X = X.astype(rng.choice([np.float32, np.float64]))
    return X, (X.sum(axis=1) + np.arange(len(X)) % 2).astype(X.dtype)


def forms_of(X, path):
    """The same numbers in other containers, layouts and dtypes, by name."""
    names = [f"column {i}" for i in range(X.shape[1])]
    wide = np.full((2 * X.shape[0], 3 * X.shape[1]), np.nan, X.dtype)
    wide[::2, ::3] = X
    read_only = X.copy()
    read_only.flags.writeable = False
    np.save(path.with_suffix(".npy"), X)
    forms = {
        "strided": wide[::2, ::3],
        "reversed": np.ascontiguousarray(X[::-1, ::-1])[::-1, ::-1],
        "Fortran order": np.asfortranarray(X),
        "read-only": read_only,
        "big-endian": X.astype(X.dtype.newbyteorder(">")),
        "memory map": np.load(path.with_suffix(".npy"), mmap_mode="r"),
        "pandas": pd.DataFrame(X, columns=names),
        "polars": pl.DataFrame(X, schema=names),
        "Arrow": pa.table(dict(zip(names, X.T.copy()))),
        "masked": np.ma.masked_array(X),
        "csr": sparse.csr_matrix(X),
        "csc": sparse.csc_matrix(X),
        "csr_array": sparse.csr_array(X),
    }
    if X.dtype == np.float64:  # other types become float64
        forms |= {"lists": X.tolist(), "tuples": tuple(map(tuple, X.tolist())), "float16": X.astype(np.float16),
                  "objects": X.astype(object), "longdouble": X.astype(np.longdouble)}  # fmt: skip
    return forms


def _estimator(kind, classifies=False, **more):
    """Fit to one form and predict, both with it; then the weights."""

    def work(dtype, y, other):
        model = getattr(fastmlp, kind)(**SMALL | more)
        model.fit(other, (y > y.mean()).astype(int) if classifies else y)
        predicted = model.predict_proba(other) if classifies else model.predict(other)
        return [*model.coefs_, *model.intercepts_, predicted, np.array(model.loss_)]

    return work


def _partial_fit(dtype, y, other):
    model = fastmlp.MLPRegressor(**SMALL)
    for _ in range(3):
        model.partial_fit(other, y)
    return [*model.coefs_, model.predict(other)]


def _stream(dtype, y, other):
    model = fastmlp.MLPRegressor(**SMALL).fit_stream([(other, y)])
    return [*model.coefs_, model.predict(other)]


def _mlp(**more):
    def work(dtype, y, other):
        model = fastmlp.MLP([(4, "tanh"), (1, "identity")], dtype=dtype, random_state=0, **more)
        model.fit(other, y, 3, 8, validation_data=(other, y))
        found = model.evaluate(other, y)
        return [model.parameters, model.predict(other), np.array([*found.values()]), *model.layer_outputs(other)]

    return work


def _ensemble(dtype, y, other):
    member = fastmlp.MLPRegressor(**SMALL)
    return [fastmlp.MLPEnsembleRegressor(member, n_members=2, random_state=0).fit(other, y).predict(other)]


WORK = {
    "MLPRegressor": _estimator("MLPRegressor"),
    "MLPClassifier": _estimator("MLPClassifier", classifies=True),
    "MLPRegressor with lbfgs": _estimator("MLPRegressor", solver="lbfgs"),
    "MLPRegressor on numpy": _estimator("MLPRegressor", backend="numpy"),
    "partial_fit": _partial_fit,
    "fit_stream": _stream,
    "MLP": _mlp(),
    "MLP with he_uniform and a penalty": _mlp(init="he_uniform", alpha=0.1),
    "MLPEnsembleRegressor": _ensemble,
}


def difference(plain, work, other, y, form, dtype):
    """What differs, or None."""
    before = _bytes(other)
    try:
        found = work(dtype, y, other)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    if before is not None and _bytes(other) != before:
        return "the data have been changed"
    for one, two in zip(plain, found, strict=True):
        if one.dtype != two.dtype or one.shape != two.shape:
            return f"{two.dtype} {two.shape} instead of {one.dtype} {one.shape}"
        if form in SPARSE:
            limit = TOLERANCE[dtype] * max(1, np.abs(one).max())
            if not np.abs(one - two).max() <= limit:
                return f"differs by {np.abs(one - two).max():.3g}"
        elif one.tobytes() != two.tobytes():
            return f"differs by {np.abs(one - two).max():.3g}"
    return None


def _bytes(other):
    return other.tobytes() if isinstance(other, np.ndarray) and other.dtype != object else None
