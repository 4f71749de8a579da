"""Values for generated calls: small sound data, and values at and beyond the bounds of what is allowed."""

import datetime
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
from scipy import sparse

N_COLUMNS = 3
LONG_WORK = 50  # larger values of a parameter that means work would be allowed, and would take hours
HUGE = (2**40, 2**62, 10**30)  # no machine has memory for so many units


class Problem:
    """Sound data drawn from a generator: numbers for a regressor, labels for a classifier."""

    def __init__(self, rng, classifies):
        n_samples = int(rng.integers(12, 30))
        dtype = rng.choice([np.float32, np.float64])
        self.rng, self.classifies = rng, classifies
        self.X = rng.standard_normal((n_samples, N_COLUMNS)).astype(dtype)
        labels = np.arange(n_samples) % 2
        self.y = labels if classifies else (self.X @ np.arange(1, N_COLUMNS + 1)).astype(dtype)
        self.weight = rng.uniform(0.5, 2, n_samples).astype(dtype)

    def table(self):
        frame = pd.DataFrame(self.X, columns=[f"number {i}" for i in range(N_COLUMNS)])
        frame["colour"] = self.rng.choice(["red", "green", "blue"], len(frame))
        return frame

    def blocks(self):
        half = len(self.X) // 2
        return [(self.X[:half], self.y[:half]), (self.X[half:], self.y[half:])]


def own_error(*_args):
    raise OwnError("the error of a user's own function")


class OwnError(Exception):
    """An error of ours, which must reach the caller unchanged."""


ODD = (
    None, True, False, 0, 1, 2, -1, -2, 0.0, 0.5, 1.0, -0.5, 1.5, np.nan, np.inf, -np.inf, 1e-300, 1e300, 1e38, 1e-45,
    -(2**63), "", "text", "auto", "adam", "ünï", "\0", b"bytes", (), [], {}, set(), (1,), (1, 2, 3), [0.5], ["a", None],
    {"a": 1}, {0: 1}, range(3), Decimal("0.5"), Fraction(1, 2), 1j, np.float32(0.1), np.int64(2), np.uint8(3),
    np.bool_(True), np.array(0.5), np.array([]), np.zeros((2, 2)), np.array([np.nan]), np.array(["a"]), object(),
    object, len, own_error, ..., datetime.date(2026, 1, 1), np.datetime64("2026-01-01"), np.timedelta64(1, "D"),
    slice(2), (None, None), [[]], [[1, 2], [3]], ("adam", None), (len, len), frozenset({1}),
)  # fmt: skip


def odd(rng, is_work):
    """A value that most parameters do not allow; or a huge one, which none of those that mean work can hold."""
    if rng.random() < 0.1:
        return HUGE[rng.integers(len(HUGE))]
    value = ODD[rng.integers(len(ODD))]
    too_long = isinstance(value, (int, float, np.floating)) and abs(value) > LONG_WORK
    return odd(rng, is_work) if is_work and too_long else value


def damaged(indices, starts):
    """A sparse matrix whose parts do not fit together."""
    X = sparse.csr_matrix(np.eye(12, N_COLUMNS))
    X.indices, X.indptr = np.array(indices(X.indices), np.int32), np.array(starts(X.indptr), np.int32)
    return X


def _set(array, place, value):
    changed = np.array(array)
    changed.flat[place % changed.size] = value
    return changed


SPOILED = (
    lambda a: a[:, None],
    lambda a: a.ravel(),
    lambda a: a[:-1],
    lambda a: a[:0],
    lambda a: a[:1],
    lambda a: a[..., :0],
    lambda a: a[..., :1],
    lambda a: np.concatenate([a, a], axis=-1),
    lambda a: a[0],
    lambda a: a.astype(complex),
    lambda a: a.astype(str),
    lambda a: a.astype(object),
    lambda a: a.astype(bool),
    lambda a: a.astype("datetime64[s]") if a.dtype.kind == "i" else np.zeros(a.shape, "datetime64[s]"),
    lambda a: a.astype(np.float16),
    lambda a: a.astype(np.longdouble),
    lambda a: (a * 10).astype(np.int8),
    lambda a: a.astype(np.float64) * 1e300,
    lambda a: a.astype(np.float64) * 1e-310,
    lambda a: a * 0,
    lambda a: _set(a.astype(np.float64), 4, np.nan),
    lambda a: _set(a.astype(np.float64), 3, np.inf),
    lambda a: _set(a.astype(np.float64), 5, -1e308),
    lambda a: _set(a.astype(object), 5, None),
    lambda a: _set(a.astype(object), 5, "text"),
    lambda a: _set(a.astype(object), 5, [1, 2]),
    lambda a: _set(a.astype(object), 5, 10**400),
    lambda a: _set(a.astype(object), 2, datetime.date(2026, 1, 1)),
    lambda a: np.ma.masked_greater(a, 0.5),
    lambda a: np.rec.fromarrays([a.ravel()], names="a"),
    lambda a: a.tolist(),
    lambda a: [*a.tolist(), [1.0]],
    lambda a: iter(a.tolist()),
    lambda a: dict(enumerate(a.tolist())),
    lambda a: {"a": a},
    lambda a: memoryview(np.ascontiguousarray(a)),
    lambda a: pd.DataFrame(a),
    lambda a: pd.DataFrame(a.reshape(len(a), -1)[:, [0, 0]], columns=["a", "a"]),
    lambda a: pd.Series(a.ravel()),
    lambda a: pd.DataFrame(a.reshape(len(a), -1)).astype("category"),
    lambda a: pd.DataFrame(a.reshape(len(a), -1)).astype("Float64"),
    lambda a: sparse.csr_matrix(a.reshape(len(a), -1)),
    lambda a: sparse.coo_array(a),
    lambda a: sparse.csr_matrix(a.reshape(len(a), -1)).astype(complex),
    lambda a: damaged(lambda i: i + 99, lambda s: s),
    lambda a: damaged(lambda i: i - 99, lambda s: s),
    lambda a: damaged(lambda i: i, lambda s: s * 99),
    lambda a: np.broadcast_to(a[:1], a.shape),
    lambda a: a[::-1],
    lambda a: np.asfortranarray(a),
    lambda a: a.astype(a.dtype.newbyteorder()),
)


def spoiled(rng, sound):
    """Sound data in an odd form, or with odd values."""
    if isinstance(sound, (tuple, list)):  # pairs of data, or blocks of them
        if not sound:
            return rng.choice([None, 0])
        place = int(rng.integers(len(sound)))
        return type(sound)([spoiled(rng, part) if i == place else part for i, part in enumerate(sound)])
    if isinstance(sound, pd.DataFrame):
        sound = sound.iloc[:, :N_COLUMNS].to_numpy()
    try:
        return SPOILED[rng.integers(len(SPOILED))](np.asarray(sound))
    except Exception:  # it has been spoiled before, and has no such form
        return odd(rng, False)
