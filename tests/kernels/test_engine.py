"""The compiled engine: identical bits for every number of threads, division of work and instruction set level."""

import importlib
import multiprocessing
import threading
import time
import weakref
from itertools import pairwise

import numpy as np
import pytest

from fastmlp import MLP
from fastmlp.backends import registry
from fastmlp.kernels import machine
from fastmlp.kernels.cpu import cython as cython_cpu
from fastmlp.kernels.cpu import thread_pool
from fastmlp.kernels.cpu.columns import columns_by_thread
from fastmlp.kernels.cpu.contract import Contract
from fastmlp.kernels.engine import plan
from fastmlp.kernels.engine.plan import Plan
from fastmlp.kernels.engine.requirements import constants
from fastmlp.kernels.reference import contract as reference
from fastmlp.kernels.spec import Batches, Penalty, new_slots, optimizer
from interrupted import interrupted_predictions, needs_signals
from patience import PATIENCE
from problems import COMPILED, DTYPES, OUTPUTS, Problem, grid, relative_error

# The batch size and the widths determine how threads share the work: by groups of rows whose gradients are summed, by
# columns of the first matrix, or by rows and weights; the last one is large enough to be packed.
SHARED = {
    "groups": ((5, 9, 4, 3), 64),
    "columns": ((160, 37, 3), 16),
    "columns, one vector": ((160, 8, 3), 16),
    "weights": ((40, 37, 20, 3), 16),
    "weights in place, packed": ((104, 1300, 130), 40),
}


@pytest.fixture
def threads_pay(monkeypatch):
    """Use several threads even for very little work."""
    monkeypatch.setattr(plan, "CALL_FLOPS", 0)
    monkeypatch.setattr(plan, "THREAD_FLOPS", 1)
    monkeypatch.setattr(thread_pool, "cores", lambda: 8)


@pytest.fixture
def small_cache(monkeypatch):
    """Copy weights of more than 256 KiB by panels, as on a processor with a small cache."""
    monkeypatch.setattr(plan, "CACHE_BYTES", 2**19)
    monkeypatch.setattr(plan, "PACK_ROWS", 1)
    plan._recent.cache_clear()
    yield
    plan._recent.cache_clear()


def trained(kernels, sizes, batch, dtype, n_threads, alpha=0.1):
    problem = Problem("squared_error", "identity", ("tanh",) * (len(sizes) - 2), sizes, rows=70, dtype=dtype)
    slots = new_slots("adam", problem.parameters.size, dtype)
    batches, penalty = problem.batches(batch, problem.weight), Penalty(alpha=alpha)
    with thread_pool.limited_to(n_threads):
        sums = kernels.train_epoch(problem.network, optimizer("adam"), problem.parameters, slots, 0, batches, penalty)
        gradient = kernels.loss_and_gradient(problem.network, problem.parameters, problem.X, problem.y, penalty=penalty)
        outputs = kernels.forward(problem.network, problem.parameters, problem.X)
    return problem.parameters, slots, outputs, gradient[2], [*sums, *gradient[:2]]


@pytest.mark.parametrize("name", COMPILED)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHARED)
def test_the_same_bits_for_every_number_of_threads(threads_pay, small_cache, shape, dtype, name):
    kernels = registry.choose(name).kernels
    alone = trained(kernels, *SHARED[shape], dtype, 1)
    for n_threads in (2, 5, 3, 2):  # descending, so that buffers are reused
        for found, expected in zip(trained(kernels, *SHARED[shape], dtype, n_threads), alone):
            np.testing.assert_array_equal(found, expected)
    expected = trained(reference, *SHARED[shape], "float64", 1)
    for found, wanted in zip(alone, expected):
        assert relative_error(found, wanted) < {"float32": 2e-4, "float64": 1e-10}[dtype]


@pytest.mark.parametrize("name", COMPILED)
@pytest.mark.parametrize("sizes, rows", [((5, 7, 3), 9000), ((260, 260, 5), 9000), ((40, 8, 1100), 16)])
def test_products_in_several_passes_equal_the_reference(small_cache, name, sizes, rows):
    """More rows, in total and per group, than one pass handles; packed or not; more outputs than the pass depth."""
    problem = Problem(sizes=sizes, rows=rows)
    given = problem.network, problem.parameters, problem.X, problem.y, problem.weight, Penalty(alpha=0.1)
    found, expected = registry.choose(name).kernels.loss_and_gradient(*given), reference.loss_and_gradient(*given)
    assert relative_error(found[2], expected[2]) < 1e-11


def test_division_of_work_for_each_shape(small_cache):
    engine, dtype = cython_cpu._contract.engine, np.dtype("float32")
    plans = {
        name: Plan(
            engine, Problem(sizes=sizes, hidden=("tanh",) * (len(sizes) - 2)).network, dtype, batch, plan.TRAINING
        )
        for name, (sizes, batch) in SHARED.items()
    }
    assert {name: (made.n_groups > 0, made.by_columns) for name, made in plans.items()} == {
        "groups": (True, False), "columns": (False, True), "columns, one vector": (False, True),
        "weights": (False, False), "weights in place, packed": (False, False),
    }  # fmt: skip
    assert any(layer.packed for layer in plans["weights in place, packed"].layers)


@pytest.mark.parametrize("name", COMPILED)
def test_the_size_of_the_cache_does_not_change_results(small_cache, name, monkeypatch):
    kernels, (sizes, batch) = registry.choose(name).kernels, SHARED["weights in place, packed"]
    packed = trained(kernels, sizes, batch, "float32", 1)
    monkeypatch.setattr(plan, "CACHE_BYTES", 2**40)
    plan._recent.cache_clear()
    for found, expected in zip(trained(kernels, sizes, batch, "float32", 1), packed):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("size, expected", [("2048K", 2**21), ("1280K", 1280 * 1024), ("", 0), (None, 0)])
def test_second_level_cache(tmp_path, monkeypatch, size, expected):
    monkeypatch.setattr(machine, "SECOND_LEVEL_CACHE", tmp_path)
    (tmp_path / "level").write_text("2\n")
    if size is not None:
        (tmp_path / "size").write_text(size + "\n")
    assert machine.second_level_cache() == expected


@pytest.mark.parametrize("level", ["baseline", "x86_64_v3", "x86_64_v4"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_supported_level_equals_the_reference(small_cache, level, dtype):
    baseline = importlib.import_module("fastmlp.kernels.cpu.engine_baseline")
    if level != "baseline" and not baseline.processor_has(level):
        pytest.skip(f"this processor does not support {level}")
    entries = importlib.import_module(f"fastmlp.kernels.cpu.engine_{level}")
    kernels = Contract(cython_cpu._engine_of(entries))
    for sizes, batch in (*SHARED.values(), ((7, 17, 2), 1)):
        runs = []
        for kind in (dtype, "float64"):
            problem = Problem("squared_error", "identity", ("tanh",) * (len(sizes) - 2), sizes, rows=70, dtype=kind)
            slots = new_slots("adam", problem.parameters.size, kind)
            module = reference if runs else kernels
            module.train_epoch(
                problem.network, optimizer("adam"), problem.parameters, slots, 0, problem.batches(batch),
                Penalty(alpha=0.1),
            )  # fmt: skip
            runs.append(problem.parameters)
        assert relative_error(*runs) < {"float32": 2e-4, "float64": 1e-10}[dtype]


@pytest.mark.parametrize("name", COMPILED)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("loss, output", grid(OUTPUTS))
def test_batches_of_one_row_equal_the_reference(name, dtype, loss, output):
    for sizes, hidden in (((4, 16, 3), ("tanh",)), ((5, 37, 20, 2), ("logistic", "relu")), ((20, 3, 30), ("exp",))):
        runs = []
        for kernels, kind in ((registry.choose(name).kernels, dtype), (reference, "float64")):
            problem = Problem(loss, output, hidden, sizes, rows=20, dtype=dtype)
            problem.weight[3] = 0
            X, y, weight, parameters = (
                array.astype(kind) for array in (problem.X, problem.y, problem.weight, problem.parameters / 3)
            )
            slots = new_slots("momentum", parameters.size, kind)
            rule = optimizer("momentum", 0.001)
            sums = kernels.train_epoch(
                problem.network,
                rule,
                parameters,
                slots,
                0,
                Batches(X, y, problem.order, 1, weight),
                Penalty(alpha=0.01),
            )
            runs.append((parameters, slots, sums))
        for found, expected in zip(*runs):
            assert relative_error(found, expected) < {"float32": 1e-5, "float64": 1e-10}[dtype]


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_row_predictor_equals_forward_and_copies_the_weights(kernels, dtype):
    for sizes, hidden in (((8, 64, 64, 1), ("tanh", "tanh")), ((20, 3, 5), ("logistic",)), ((3, 2), ())):
        problem = Problem(hidden=hidden, sizes=sizes, dtype=dtype)
        predict = kernels.row_predictor(problem.network, problem.parameters)
        expected = kernels.forward(problem.network, problem.parameters, problem.X)
        problem.parameters[:] = 0  # the predictor has a copy
        for row, output in zip(problem.X, expected):
            np.testing.assert_allclose(predict(row), output, rtol=1e-5 if dtype == "float32" else 1e-12, atol=1e-6)


@pytest.mark.parametrize("backend", COMPILED)
def test_a_compiled_prediction_refuses_rows_of_a_wrong_type_or_layout(backend):
    predict = MLP([(2, "identity")], backend=backend).build(3).compile_predict()
    for wrong in (np.zeros(2, "f4"), np.zeros(4, "f4"), np.zeros(3, "f8"), np.zeros((2, 3), "f4"), np.zeros(3, "i4")):
        with pytest.raises(ValueError, match="must be 3 numbers"):
            predict(wrong)
    assert predict(np.zeros(3, "f4")).shape == (2,)
    assert predict(np.zeros((1, 3), "f4")).shape == (2,)


@pytest.mark.parametrize("n_rows", [3, 11, 17, 1024, 1665, 1670])
def test_predictions_do_not_depend_on_threads(threads_pay, kernels, n_rows):
    """Also if the rows of a thread end with an incomplete tile."""
    problem = Problem(sizes=(24, 17, 5), rows=n_rows)
    outputs = []
    for n_threads in (1, 2, 3):
        with thread_pool.limited_to(n_threads):
            outputs.append(kernels.forward(problem.network, problem.parameters, problem.X))
    np.testing.assert_array_equal(outputs[0], outputs[1])
    np.testing.assert_array_equal(outputs[0], outputs[2])


@pytest.mark.parametrize("name", COMPILED)
def test_a_gradient_never_modifies_the_weights(threads_pay, name):
    """Another thread may be reading them."""
    problem = Problem(sizes=(160, 37, 3), rows=16)
    problem.parameters.flags.writeable = False
    given = problem.network, problem.parameters, problem.X, problem.y
    with thread_pool.limited_to(2):
        found = registry.choose(name).kernels.loss_and_gradient(*given)
    assert relative_error(found[2], reference.loss_and_gradient(*given)[2]) < 1e-12


@pytest.mark.parametrize("name", COMPILED)
@pytest.mark.parametrize("batch", [1, 16])
def test_denormal_numbers_are_enabled_again_after_each_call(name, batch):
    problem, kernels = Problem(dtype="float32"), registry.choose(name).kernels
    sgd, slots = optimizer("sgd"), new_slots("sgd", problem.parameters.size, "float32")
    tiny = np.array([1e-40], "f4")
    for call in (
        lambda: kernels.train_epoch(problem.network, sgd, problem.parameters, slots, 0, problem.batches(batch)),
        lambda: kernels.forward(problem.network, problem.parameters, problem.X),
        lambda: kernels.row_predictor(problem.network, problem.parameters)(problem.X[0]),
    ):
        call()
        assert (tiny + np.float32(0))[0] > 0


@pytest.mark.parametrize("batch", [1, 16])
def test_constants_of_a_call_survive_clearing_the_cache(monkeypatch, batch):
    problem = Problem()
    sgd, slots = optimizer("sgd", 0.0123), new_slots("sgd", problem.parameters.size, "float64")
    contract, rates = cython_cpu._contract, weakref.ref(constants((0.0123,)).array)

    def emptied(entry):
        def run(*given):
            constants.cache_clear()
            assert rates() is not None
            entry(*given)

        return run

    for name in ("run_train", "run_online"):
        monkeypatch.setattr(contract.engine.entries, name, emptied(getattr(contract.engine.entries, name)))
    contract.train_epoch(problem.network, sgd, problem.parameters, slots, 0, problem.batches(batch))


def test_columns_are_restored_after_an_error():
    matrix = np.arange(120.0).reshape(3, 40)
    before = matrix.copy()
    with pytest.raises(KeyboardInterrupt), columns_by_thread([matrix], 16, 2):
        assert not np.array_equal(matrix, before)
        raise KeyboardInterrupt
    np.testing.assert_array_equal(matrix, before)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_starts_its_own_thread_pool():
    if "fork" not in multiprocessing.get_all_start_methods():
        pytest.skip("this system cannot fork")
    work = 3, abs, lambda thread: (thread,), np.zeros(8, np.int64)
    thread_pool.run(*work)
    child = multiprocessing.get_context("fork").Process(target=thread_pool.run, args=work)
    child.start()
    child.join(PATIENCE)
    hangs = child.is_alive()
    child.kill()
    assert not hangs


@pytest.mark.parametrize("failing", [0, 2])
def test_the_thread_pool_runs_each_member_once_and_raises_their_errors(failing):
    counter, seen = np.zeros(8, np.int64), []
    thread_pool.run(3, seen.append, lambda thread: (thread,), counter)
    assert sorted(seen) == [0, 1, 2]

    def fail(thread):
        if thread == failing:
            raise RuntimeError("no memory")
        while counter[0] == 0:  # as at a barrier
            time.sleep(0.001)

    with pytest.raises(RuntimeError, match="no memory"):
        thread_pool.run(3, fail, lambda thread: (thread,), counter)


@pytest.mark.parametrize("name", COMPILED)
def test_chunks_of_an_epoch_do_not_change_a_bit(name):
    """Also before a short last batch, which must not count as a different batch size."""
    runs = []
    for cuts in ((0, 1666), (0, 1536, 1666)):
        problem = Problem(sizes=(20, 32, 3), rows=1666)
        slots, step = new_slots("adam", problem.parameters.size, "float64"), 0
        for start, stop in pairwise(cuts):
            *_, made = registry.choose(name).kernels.train_epoch(
                problem.network, optimizer("adam"), problem.parameters, slots, step,
                problem.batches(512, order=problem.order[start:stop]),
            )  # fmt: skip
            step += made
        runs.append(problem.parameters)
    np.testing.assert_array_equal(*runs)


@needs_signals
def test_ctrl_c_in_the_thread_pool():
    words = interrupted_predictions(
        """
from fastmlp import MLP
from fastmlp.kernels.cpu import thread_pool
from fastmlp.kernels.engine import plan
plan.CALL_FLOPS, plan.THREAD_FLOPS, thread_pool.cores = 0, 1, lambda: 8
model = MLP([(64, "tanh"), (1, "identity")], n_jobs=3, random_state=0).build(50)
X = np.zeros((3000, 50), "f4")
""",
        """
finite = bool(np.isfinite(model.predict(X)).all())
print(len(thread_pool._taken), finite)
""",
    )
    assert words == ["0", "True"]


def test_simultaneous_fits_share_the_cores(monkeypatch):
    """The second fit gets the remaining core, a third only its own thread, and a short call reserves none."""
    monkeypatch.setattr(thread_pool, "cores", lambda: 3)
    first_is_running, go_on = threading.Event(), threading.Event()

    def first():
        with thread_pool.limited_to(2), thread_pool.taken(5) as n_threads:
            sizes.append(n_threads)
            first_is_running.set()
            go_on.wait(PATIENCE)

    sizes, other = [], threading.Thread(target=first)
    other.start()
    first_is_running.wait(PATIENCE)
    with thread_pool.limited_to(3):
        with thread_pool.taken(3) as second:
            sizes.append(second)
            third = threading.Thread(target=lambda: sizes.append(threads_of_a_call(3)))
            third.start()
            third.join()
        with thread_pool.taken(0) as short:
            sizes.append(short)
        go_on.set()
        other.join()
        with pytest.raises(KeyError), thread_pool.taken(3):
            raise KeyError
        sizes.append(threads_of_a_call(3))
        sizes.append(threads_of_a_call(2))
    sizes.append(threads_of_a_call(3))  # without a limit that allows more
    assert sizes == [2, 1, 1, 1, 3, 2, 1]
    thread_pool.taken(3).__enter__()  # and Ctrl-C before the block
    with thread_pool.limited_to(3):
        assert threads_of_a_call(3) == 3


def threads_of_a_call(wanted):
    with thread_pool.taken(wanted) as n_threads:
        return n_threads


def test_threads_sleep_between_fits(threads_pay):
    model = MLP([(64, "tanh"), (1, "identity")], n_jobs=2, random_state=0)
    X = np.random.RandomState(0).standard_normal((2000, 16)).astype("f4")
    model.fit(X, X[:, 0], epochs=3)
    for _ in range(100):  # threads spin briefly before they sleep
        before = time.process_time()
        time.sleep(0.05)
        if time.process_time() - before < 0.005:
            return
    pytest.fail("threads keep running after the fit")
