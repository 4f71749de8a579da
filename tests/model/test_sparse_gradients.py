"""forward and backward of an MLP on CSR matrices."""

import numpy as np
import pytest
from scipy import sparse

from fastmlp import MLP, Layer

RNG = np.random.RandomState(0)
WORDS = sparse.random(40, 60, 0.08, "csr", random_state=np.random.RandomState(1))
WORDS.data = RNG.standard_normal(WORDS.nnz)  # some rows are empty
SPARSE_CASES = {
    "plain": [Layer(9, "tanh"), Layer(2, "identity")],
    "slopes, skips and dropout": [
        Layer(9, "prelu", dropout=0.3), Layer(7, "gelu", 0.2), Layer(7, "tanh"), Layer(2, "softmax", skip=2),
    ],
    "a skip from the inputs": [Layer(9, "tanh"), Layer(2, "identity", skip=2)],
}  # fmt: skip


def sparse_model(backend="cython", dtype="float32", layers=SPARSE_CASES["plain"], n_inputs=60, **options):
    return MLP(layers, "squared_error", random_state=0, backend=backend, dtype=dtype, **options).build(n_inputs)


def words(density):
    return sparse.random(30, 60, density, "csr", dtype="f4", random_state=np.random.RandomState(0))


@pytest.fixture
def never_dense(monkeypatch):
    """Sparse matrices refuse to become arrays."""

    def refuse(*given, **asked):
        raise AssertionError("became dense")

    for kind in (sparse.csr_matrix, sparse.csr_array):
        monkeypatch.setattr(kind, "toarray", refuse)


@pytest.mark.parametrize("layers", SPARSE_CASES.values(), ids=SPARSE_CASES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_sparse_matrix_gives_the_numbers_of_its_array(backend, dtype, layers):
    """In turn with arrays and other numbers of rows; it may change before ``backward``."""
    m, right = (sparse_model(backend, dtype, layers) for _ in range(2))
    tolerance = {"rtol": 2e-5, "atol": 2e-6} if dtype == "float32" else {"rtol": 1e-12, "atol": 1e-14}
    kinds = [sparse.csr_matrix, sparse.csr_array, lambda matrix: matrix.toarray()]
    for number, stop in enumerate((40, 1, 17, 0, 40, 3)):
        array = WORDS[:stop].astype(dtype).toarray()
        given = kinds[number % 3](WORDS[:stop].astype(dtype))
        out, expected = m.forward(given), right.forward(array)
        assert out.shape == (stop, 2)
        np.testing.assert_allclose(out, expected, **tolerance)
        for kept in (given,) if number % 3 == 2 else (given.data, given.indices, given.indptr):
            kept[...] = 0
        for accumulate in (False, True):
            g = np.random.RandomState(number).standard_normal(out.shape).astype(dtype)
            found, wanted = (one.backward(g, accumulate) for one in (m, right))
            np.testing.assert_allclose(found, wanted, **tolerance)
        m.apply(found)
        right.copy_parameters(m)
        right._state.step = m._state.step  # of the random numbers


@pytest.mark.parametrize("name", ["cython", "numba"])
def test_a_sparse_matrix_is_read_as_it_is(never_dense, name):
    """Also with unsorted indices, duplicates, explicit zeros, indices of 64 bits and unused space."""
    m = sparse_model(name, "float64", n_inputs=100)
    values, indices, starts = np.array([1.0, 2, 0, 4, 5, 9]), np.array([70, 3, 8, 3, 99, 5000]), np.array([0, 0, 4, 5])
    X, array = sparse.csr_matrix((3, 100)), np.zeros((3, 100))
    X.data, X.indices, X.indptr = values, indices, starts
    array[1, [3, 70]], array[2, 99] = (6, 1), 5
    np.testing.assert_allclose(m.forward(X), m.forward(array), rtol=1e-13)
    m.forward(X)
    found = m.backward(np.ones((3, 2)))
    m.forward(array)
    np.testing.assert_allclose(found, m.backward(np.ones((3, 2))), rtol=1e-13)
    for kept, before in ((X.indices, indices), (X.data, values), (X.indptr, starts)):
        np.testing.assert_array_equal(kept, before)


DENSE = {
    "many values": {"density": 0.2},
    "dropout of inputs": {"input_dropout": 0.1},
    "a skip from the inputs": {"layers": SPARSE_CASES["a skip from the inputs"]},
    "reduced precision": {"matmul_precision": "medium"},
    "numpy": {"backend": "numpy"},
}


@pytest.mark.parametrize("case", DENSE)
def test_a_sparse_matrix_becomes_an_array_where_that_is_faster_or_needed(never_dense, case):
    options = {"density": 0.05, **DENSE[case]}
    matrix, m = words(options.pop("density")), sparse_model(**options)
    with pytest.raises(AssertionError, match="became dense"):
        m.forward(matrix)


@pytest.mark.parametrize("density", [0.05, 0.5])
def test_derivatives_of_a_sparse_matrix_are_refused(backend, density):
    """The gradient of the parameters is still available."""
    m, matrix = sparse_model(backend), words(density)
    g = m.forward(matrix)
    with pytest.raises(ValueError, match=r"input_gradient is not available .* call forward\(X.toarray\(\)\)"):
        m.backward(g, input_gradient=True)
    found = m.backward(g)
    m.forward(matrix.toarray())
    expected, of_X = m.backward(g, input_gradient=True)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert of_X.shape == (30, 60)


def spoiled(**changes):
    matrix = WORDS.astype("f4")
    for name, change in changes.items():
        array = getattr(matrix, name).copy()
        setattr(matrix, name, change(array) if callable(change) else array)
    return matrix


def with_entry(position, value):
    def change(array):
        array[position] = value
        return array

    return change


INVALID = {
    "index too large": {"indices": with_entry(5, 60)},
    "negative index": {"indices": with_entry(5, -1)},
    "decreasing": {"indptr": with_entry(4, 10**6)},
    "beyond the end": {"indptr": with_entry(-1, 10**6)},
    "not from the start": {"indptr": with_entry(0, 1)},
    "negative start": {"indptr": with_entry(0, -5)},
    "few values": {"data": lambda array: array[:9]},
    "few starts": {"indptr": lambda array: array[:9]},
    "unsigned": {"indices": lambda array: array.astype("u4")},
}


@pytest.mark.parametrize("case", INVALID)
def test_invalid_sparse_matrices_are_refused(backend, case):
    m = sparse_model(backend)
    g = m.forward(WORDS.astype("f4"))
    expected = m.backward(g)
    with pytest.raises(
        ValueError, match=r"X is an invalid CSR matrix: .* int32 or int64.* not decrease.* from 0 to 59"
    ):
        m.forward(spoiled(**INVALID[case]))
    np.testing.assert_array_equal(m.backward(g), expected)


def test_sparse_matrices_that_do_not_fit_are_refused(backend):
    m, matrix = sparse_model(backend), WORDS.astype("f4")
    swapped = matrix.copy()
    swapped.data = swapped.data.astype(">f4" if np.little_endian else "<f4")
    for given in (WORDS, matrix[:, :59], swapped, matrix.astype("i4"), sparse.csr_array(np.ones(60, "f4"))):
        with pytest.raises(ValueError, match=r"X must be a float32 csr_array or csr_matrix of shape \(n_samples, 60\)"):
            m.forward(given)
    for kind in ("csc", "coo", "lil", "bsr", "dia", "dok"):
        with pytest.raises(ValueError, match=rf"got {kind}_matrix: use X.tocsr\(\)"):
            m.forward(matrix.asformat(kind))
    matrix.data[3] = np.nan
    assert np.isnan(m.forward(matrix)).any()
