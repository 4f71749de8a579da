"""The thread limit applies during a fit, and is removed afterwards."""

import threading

import numpy as np
import pytest
from joblib import Parallel, delayed
from threadpoolctl import threadpool_info, threadpool_limits

from fastmlp import MLP, MLPClassifier
from fastmlp.backends.threads import ThreadLimit, threads_of
from fastmlp.kernels.cpu import cython as cython_cpu
from fastmlp.kernels.reference import contract as numpy_reference
from interrupted import interrupted_predictions, needs_signals
from patience import PATIENCE

rng = np.random.RandomState(0)
X = rng.standard_normal((300, 8))
y = (X[:, 0] > 0).astype(int)


def blas_threads():
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}


def fit(seed, n_jobs=None, backend="auto"):
    layers = [(16, "relu"), (2, "softmax")]
    model = MLP(layers, "categorical_cross_entropy", random_state=seed, n_jobs=n_jobs, backend=backend)
    return model.fit(X, y, epochs=5).parameters


def test_the_limit_applies_inside_and_is_removed_afterwards():
    with threadpool_limits(2, user_api="blas"):
        with ThreadLimit(1, numpy_reference):
            assert blas_threads() == {1}
        assert blas_threads() == {2}
        with ThreadLimit(None, numpy_reference):
            assert blas_threads() == {2}


def test_overlapping_limits_restore_the_original_limit():
    """Two threads set limits; OpenBLAS lets only the thread that set a limit remove it."""
    threadpool_limits(2, user_api="blas").__exit__(None, None, None)  # no thread holds a limit
    before, seen = blas_threads(), []
    first_is_in, second_is_in, first_is_out, second_is_out = (threading.Event() for _ in range(4))

    def first():
        with ThreadLimit(1, numpy_reference):
            seen.append(blas_threads())
            first_is_in.set()
            second_is_in.wait(PATIENCE)
        first_is_out.set()
        second_is_out.wait(PATIENCE)  # the thread stays alive, like one of a pool

    def second():
        first_is_in.wait(PATIENCE)
        with ThreadLimit(1, numpy_reference):
            second_is_in.set()
            first_is_out.wait(PATIENCE)
        second_is_out.set()

    together = [threading.Thread(target=one) for one in (first, second)]
    for thread in together:
        thread.start()
    for thread in together:
        thread.join()
    assert seen == [{1}]
    assert blas_threads() == before
    with ThreadLimit(1, numpy_reference):
        assert blas_threads() == {1}
    assert blas_threads() == before


def test_the_limit_is_removed_after_an_error():
    with threadpool_limits(2, user_api="blas"):
        with pytest.raises(RuntimeError), ThreadLimit(1, numpy_reference):
            raise RuntimeError
        assert blas_threads() == {2}


@pytest.mark.parametrize("cores, n_jobs, expected", [(4, -1, 4), (4, -2, 3), (4, -9, 1), (4, 3, 3), (4, None, None)])
def test_negative_numbers_count_from_all_cores(monkeypatch, cores, n_jobs, expected):
    monkeypatch.setattr("joblib.cpu_count", lambda: cores)
    assert threads_of(n_jobs) == expected


SHORT = {"max_iter": 5, "n_jobs": 1, "tol": 1e9, "n_iter_no_change": 1, "random_state": 0}


@pytest.mark.parametrize("backend, expected", [("numpy", {1}), ("cython", {2})])
def test_a_fit_is_limited(monkeypatch, backend, expected):
    """BLAS is limited for the reference backend only: the compiled backends do not use it."""
    seen = []
    from fastmlp.training import in_memory as training

    original = training.Epochs.run
    monkeypatch.setattr(training.Epochs, "run", lambda *given: (seen.append(blas_threads()), original(*given))[1])
    with threadpool_limits(2, user_api="blas"):
        fit(0, 1, backend)
        MLPClassifier(backend=backend, **SHORT).fit(X, y)
        assert blas_threads() == {2}
    assert seen
    assert all(threads == expected for threads in seen)


@pytest.mark.parametrize("kernels, expected", [(numpy_reference, {1}), (cython_cpu, {2})])
def test_a_prediction_is_limited(monkeypatch, kernels, expected):
    seen, original, backend = [], kernels.forward, {numpy_reference: "numpy", cython_cpu: "cython"}[kernels]
    monkeypatch.setattr(
        kernels, "forward", lambda *args, **more: (seen.append(blas_threads()), original(*args, **more))[1]
    )
    model = MLPClassifier(backend=backend, **SHORT).fit(X, y)
    network = MLP([(1, "identity")], n_jobs=1, backend=backend).fit(X, y)
    with threadpool_limits(2, user_api="blas"):
        model.predict(X)
        network.predict(X)
    assert seen == [expected, expected]


@needs_signals
def test_ctrl_c_between_predictions_leaves_no_limit_behind():
    words = interrupted_predictions(
        """
from threadpoolctl import threadpool_info
from fastmlp import MLP
blas = lambda: [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]
model = MLP([(8, "tanh"), (1, "identity")], n_jobs=1, backend="numpy", random_state=0).build(5)
X = np.zeros((1, 5), "f4")
model.predict(X)
before = blas()
""",
        "print(blas() == before)",
    )
    assert words == ["True"]


@pytest.mark.parametrize("kind", ["loky", "threading"])
def test_fits_in_joblib_workers_equal_fits_alone(kind):
    def model(seed):
        return MLPClassifier(max_iter=5, tol=1e9, n_iter_no_change=2, random_state=seed)

    together = Parallel(n_jobs=2, backend=kind)(delayed(model(seed).fit)(X, y) for seed in range(4))
    for seed, fitted in enumerate(together):
        np.testing.assert_allclose(fitted.coefs_[0], model(seed).fit(X, y).coefs_[0], rtol=1e-9, atol=1e-12)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fit_after_fork(backend):
    import multiprocessing

    if "fork" not in multiprocessing.get_all_start_methods():
        pytest.skip("this system cannot fork")
    expected = fit(3)
    with multiprocessing.get_context("fork").Pool(1) as pool:
        np.testing.assert_array_equal(pool.apply_async(fit, (3,)).get(timeout=PATIENCE), expected)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_child_forked_while_the_limit_is_being_set_can_fit():
    """At the fork the lock may be held by a thread that does not exist in the child."""
    import multiprocessing

    if "fork" not in multiprocessing.get_all_start_methods():
        pytest.skip("this system cannot fork")
    with ThreadLimit._lock:
        child = multiprocessing.get_context("fork").Process(target=fit, args=(0, 1))
        child.start()
    child.join(PATIENCE)
    hangs = child.is_alive()
    child.kill()
    assert not hangs
    assert child.exitcode == 0
