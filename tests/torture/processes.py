"""Fork, spawn, forkserver and loky at moments when other threads are in a fit: children fit and predict the same bits.

A forked child also fits the models that the threads of its parent were fitting. The backend numpy and L-BFGS are
left out while children are forked: OpenBLAS can hang there (docs/how-to/threads.md).
"""

import contextlib
import multiprocessing
import os
import select
import signal
import sys
import threading
import time
import traceback
import warnings
from collections import Counter

import crowd
import numpy as np
from joblib import Parallel, delayed
from threadpoolctl import threadpool_limits

from fastmlp import MLPClassifier

SIZES = 6, 250  # children
FIGURE = "{fork} children forked, {spawn} spawned, {forkserver} of a fork server, {loky} of loky, each during fits"
OTHERS = 0.02  # share of the children that are not forked: they start slowly
WITHOUT_BLAS = [name for name in crowd.FITS if "lbfgs" not in name]


def run(size, seed, folder):
    kinds = [kind for kind in ("fork", "spawn", "forkserver") if kind in multiprocessing.get_all_start_methods()]
    counts, faults = Counter(fork=0, spawn=0, forkserver=0, loky=0), []
    rng, over = np.random.default_rng(seed), threading.Event()
    others = [kind for kind in (*kinds, "loky") if kind != "fork"]
    with threadpool_limits(1, user_api="blas"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        busy = [Busy(backend, over) for backend in ("cython", "numba")]
        try:
            for number in range(size):
                forks = "fork" in kinds and rng.random() > OTHERS and number >= len(others)
                kind = "fork" if forks else others[number % len(others)]
                name = WITHOUT_BLAS[rng.integers(len(WITHOUT_BLAS))]
                given = crowd.settings(rng)[1] | {"backend": str(rng.choice(["cython", "numba"]))}
                right = crowd.made(name, given, folder / "model")
                time.sleep(float(rng.uniform(0, 0.01)))
                try:
                    found = CHILDREN[kind](name, given, folder / "child", [one.model for one in busy])
                except Exception as error:
                    found = repr(error)
                counts[kind] += 1
                if found != right:
                    faults.append(f"number {number}: {name} with {given} by {kind}: {found}")
        finally:
            over.set()
            for one in busy:
                one.join()
    faults += [f"a fit of the parent: {one.error}" for one in busy if one.error]
    return {**counts, "faults": faults}


class Busy(threading.Thread):
    """A thread that fits one model again and again, and compares the result."""

    def __init__(self, backend, over):
        super().__init__(daemon=True)
        self._over, self.error = over, ""
        self.model = MLPClassifier(64, max_iter=5, batch_size=50, random_state=0, backend=backend, n_jobs=2)
        self.start()

    def run(self):
        X, _, labels = crowd.data()
        found = set()
        while not self._over.is_set() and not self.error:
            try:
                found.add(crowd.digest([self.model.fit(X, labels).predict_proba(X)]))
            except Exception:
                self.error = traceback.format_exc()
        if len(found) > 1:
            self.error = self.error or "results differ"


def forked(name, given, path, busy):
    """What a forked child makes; it also fits the models that were being fitted."""
    from_child, to_parent = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.close(from_child)
            found = crowd.made(name, given, path)
            X, _, labels = crowd.data()
            fitted = {crowd.digest([model.fit(X, labels).predict_proba(X)]) for model in busy[:1] * 2}
            found = found if len(fitted) == 1 else "the child's fits differ"
        except BaseException:
            found = traceback.format_exc()
        os.write(to_parent, found.encode())
        os._exit(0)
    os.close(to_parent)
    try:
        ended = select.select([from_child], [], [], crowd.LIMIT)[0]
        return os.read(from_child, 65536).decode() if ended else "hangs"
    finally:
        os.close(from_child)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def started(kind):
    """A function that returns what a child of this kind of start makes."""

    def child(name, given, path, busy):
        context = multiprocessing.get_context(kind)
        results = context.SimpleQueue()
        process = context.Process(target=answer, args=(results, name, given, path))
        process.start()
        process.join(crowd.LIMIT)
        hangs = process.is_alive()
        if hangs:
            process.kill()
        return "hangs" if hangs else f"ended with {process.exitcode}" if results.empty() else results.get()

    return child


def answer(results, name, given, path):
    with warnings.catch_warnings(), threadpool_limits(1, user_api="blas"):
        warnings.simplefilter("ignore")
        results.put(crowd.made(name, given, path))


def by_loky(name, given, path, busy):
    """What a worker of loky makes."""
    return Parallel(n_jobs=2, backend="loky", timeout=crowd.LIMIT)(
        delayed(in_a_worker)(sys.path, name, given, f"{path}{place}") for place in range(2)
    )[0]


def in_a_worker(path_of_modules, name, given, path):
    sys.path[:] = path_of_modules
    import crowd

    return crowd.made(name, given, path)


CHILDREN = {"fork": forked, "spawn": started("spawn"), "forkserver": started("forkserver"), "loky": by_loky}
