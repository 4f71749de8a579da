"""Sparse X in every container, for every way to train and predict: the numbers of dense X up to rounding."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import sparse

from fastmlp import MLP, Layer, MLPClassifier, MLPEnsembleClassifier, MLPRegressor
from fastmlp.backends import registry
from fastmlp.kernels.spec import Network, Noise, Skip
from fastmlp.prediction import sparse as choice
from fastmlp.training import epochs
from fastmlp.training.outcomes import DivergenceError

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.RandomState(0)
X = sparse.random(120, 300, 0.03, "csr", random_state=RNG, data_rvs=RNG.standard_normal).toarray()
X[[3, 50]] = 0
y = np.arange(120) % 3
WEIGHT = np.linspace(0.1, 2, 120)
TARGETS = np.stack([X[:, :150].sum(axis=1), X[:, 150:].sum(axis=1)], axis=1)
OPTIONS = {"hidden_layer_sizes": (12,), "max_iter": 4, "random_state": 0, "dtype": "float64"}


def classifier(**options):
    return MLPClassifier(**{**OPTIONS, **options})


def csr():
    return sparse.csr_matrix(X)


def wide_indices():
    matrix = csr()
    matrix.indices, matrix.indptr = matrix.indices.astype("i8"), matrix.indptr.astype("i8")
    return matrix


def unsorted():
    """Also with duplicates and explicit zeros."""
    indices, values, starts = [], [], [0]
    for row in csr():
        order = np.random.RandomState(len(indices)).permutation(row.nnz)
        indices += [*row.indices[order], *row.indices[:1], 7]
        values += [*row.data[order] - np.isin(row.indices[order], row.indices[:1]), *np.ones(min(row.nnz, 1)), 0]
        starts.append(len(indices))
    return sparse.csr_matrix((np.array(values), np.array(indices, "i4"), np.array(starts, "i4")), X.shape)


def with_unused_space():
    matrix = csr()
    matrix.indices, matrix.data = np.append(matrix.indices, 10**6), np.append(matrix.data, np.nan)
    return matrix


CONTAINERS = {
    "csr_matrix": csr, "csr_array": lambda: sparse.csr_array(X), "csc": lambda: sparse.csc_matrix(X),
    "coo": lambda: sparse.coo_array(X), "bsr": lambda: sparse.bsr_matrix(X), "lil": lambda: sparse.lil_matrix(X),
    "indices of 64 bits": wide_indices, "unsorted": unsorted, "unused space": with_unused_space,
}  # fmt: skip


@pytest.fixture
def never_dense(monkeypatch):
    """Fail where sparse X becomes dense; scikit-learn makes labels so."""

    def refusing(toarray):
        def convert(matrix, *given, **options):
            assert matrix.shape[1] != X.shape[1], "sparse X was made dense"
            return toarray(matrix, *given, **options)

        return convert

    for kind in (sparse.csr_matrix, sparse.csr_array):
        monkeypatch.setattr(kind, "toarray", refusing(kind.toarray))


@pytest.mark.parametrize("container", CONTAINERS)
def test_every_container(container, request):
    expected = classifier().fit(X, y)
    given = CONTAINERS[container]()
    request.getfixturevalue("never_dense")
    found = classifier().fit(given, y)
    assert_allclose(found.coefs_[0], expected.coefs_[0], atol=1e-9)
    for rows in (slice(None), slice(3, 4), slice(2, 7)):
        part = given if rows == slice(None) else csr()[rows]
        assert_allclose(found.predict_proba(part), expected.predict_proba(X[rows]), atol=1e-9)


def stream(model, X):
    return model.fit_stream([(X[:50], y[:50]), (X[50:], y[50:])], classes=range(3))


def partial(model, X):
    for i in range(0, 120, 40):
        for _ in range(3):
            model.partial_fit(X[i : i + 40], y[i : i + 40], classes=range(3))
    return model.partial_fit(X[:1], y[:1])


def network(X, fit, **options):
    options = {"dtype": "float64", "random_state": 0, **options}
    return fit(MLP([(12, "tanh"), (3, "softmax")], loss="categorical_cross_entropy", **options), X)


LABELS = np.eye(3)[y]
WAYS = {
    "fit": lambda X: classifier().fit(X, y),
    "early stopping": lambda X: classifier(early_stopping=True, max_iter=20).fit(X, y),
    "weights": lambda X: classifier().fit(X, y, sample_weight=WEIGHT),
    "class weights": lambda X: classifier(class_weight="balanced").fit(X, y),
    "eval_set": lambda X: classifier().fit(X, y, eval_set=(X[:30], y[:30])),
    "batches of one": lambda X: classifier(batch_size=1, max_iter=1).fit(X, y),
    "sgd": lambda X: classifier(solver="sgd", batch_size=16).fit(X, y),
    "lbfgs": lambda X: classifier(solver="lbfgs").fit(X, y),
    "no hidden layer": lambda X: classifier(hidden_layer_sizes=()).fit(X, y),
    "partial_fit": lambda X: partial(classifier(), X),
    "fit_stream": lambda X: stream(classifier(), X),
    "ensemble": lambda X: MLPEnsembleClassifier(classifier(), n_members=2, random_state=0).fit(X, y),
    "regressor": lambda X: MLPRegressor(**OPTIONS).fit(X, TARGETS),
    "scaled targets": lambda X: MLPRegressor(**OPTIONS, scale="targets").fit(X, TARGETS),
    "MLP": lambda X: network(X, lambda model, X: model.fit(X, LABELS, epochs=3)),
    "MLP, validation": lambda X: network(
        X, lambda model, X: model.fit(X, LABELS, epochs=9, validation_data=(X[:40], LABELS[:40]), patience=2)
    ),
    "MLP, stream": lambda X: network(X, lambda model, X: model.fit_stream([(X, LABELS)], epochs=2, batch_size=25)),
    "MLP, dropout": lambda X: MLP(
        [Layer(12, "prelu", dropout=0.3), Layer(9, "tanh"), Layer(3, "softmax", skip=2)],
        loss="categorical_cross_entropy", random_state=0, dtype="float64",
    ).fit(X, LABELS, epochs=2),
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_train(way, request):
    expected = WAYS[way](X)
    sparse_X = csr()
    request.getfixturevalue("never_dense")
    found = WAYS[way](sparse_X)
    tolerance = 1e-4 if way == "lbfgs" else 1e-9  # a line search may take another step
    for name in ("predict_proba", "predict", "layer_outputs"):
        if hasattr(found, name):
            for ours, theirs in zip(getattr(found, name)(sparse_X), getattr(expected, name)(X)):
                assert_allclose(ours, theirs, atol=tolerance)
    if hasattr(found, "score"):
        targets = TARGETS if isinstance(found, MLPRegressor) else y
        assert found.score(sparse_X, targets, WEIGHT) == pytest.approx(expected.score(X, targets, WEIGHT))
    else:
        assert found.evaluate(sparse_X, LABELS) == pytest.approx(expected.evaluate(X, LABELS))


def test_long_steps_and_overflowing_outputs_of_sparse_rows(never_dense, monkeypatch):
    """A step above LARGE_STEP_FLOPS is made in blocks; outputs of the first samples are checked."""
    options = {**OPTIONS, "batch_size": 120, "solver": "sgd"}
    expected = MLPClassifier(**options).fit(csr(), y)
    monkeypatch.setattr(epochs, "LARGE_STEP_FLOPS", 6 * 40 * 12 * 20)
    monkeypatch.setattr(epochs, "LARGE_WEIGHT", 0.0)
    assert_allclose(MLPClassifier(**options).fit(csr(), y).coefs_[0], expected.coefs_[0], atol=1e-9)
    with pytest.raises(DivergenceError):
        MLPRegressor(**{**options, "learning_rate_init": 1e200}).fit(csr(), TARGETS)


NEED_DENSE = {
    "backend": ("numpy", {}, None, 0.01),
    "filled": ("cython", {}, None, 0.16),
    "input dropout": ("cython", {}, Noise(input_dropout=0.1), 0.01),
    "input noise": ("cython", {}, Noise(input_std=0.1), 0.01),
    "skip": ("cython", {"skips": (None, Skip(0, True))}, None, 0.01),
    "rounded": ("cython", {"matmul_precision": "high"}, None, 0.01),
}


@pytest.mark.parametrize("reason", [None, *NEED_DENSE])
def test_reasons_for_dense_rows(reason):
    backend, options, noise, filled = NEED_DENSE.get(reason, ("cython", {}, Noise(dropout=(0.5,)), 0.14))
    net = Network((100, 5, 2), ("tanh", "identity"), "squared_error", **options)
    matrix = sparse.random(50, 100, filled, "csr", random_state=0)
    rows = choice.sparse_rows(registry.choose(backend).kernels, net, matrix, np.dtype("f8"), noise)
    assert (rows is None) == (reason is not None)
    if rows is not None:
        assert rows.values is matrix.data
        assert rows.indices is matrix.indices
        assert len(rows) == 50
        assert rows.n_nonzeros == matrix.nnz
        assert rows[10:20].n_nonzeros == matrix[10:20].nnz


FALLBACKS = {
    "numpy": {"backend": "numpy"},
    "skip": {"layers": [Layer(5, "tanh"), Layer(1, "identity", skip=2)]},
    "input dropout": {"input_dropout": 0.2},
    "input noise": {"input_noise": 0.2},
    "reduced precision": {"matmul_precision": "medium", "dtype": "float32"},
}


@pytest.mark.parametrize("case", FALLBACKS)
def test_where_dense_rows_are_needed(case):
    models = [
        MLP(**{"layers": [(5, "tanh"), (1, "identity")], "random_state": 0, "dtype": "float64", **FALLBACKS[case]}).fit(
            rows, TARGETS[:, 0], epochs=2, batch_size=16
        )
        for rows in (X, csr())
    ]
    assert_allclose(models[0].parameters, models[1].parameters, atol=1e-12)
