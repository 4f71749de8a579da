"""Ctrl-C (SIGINT) and SIGTERM at random moments of a fit, each in a process of its own.

After SIGINT the model is as before or has usable weights, and the fit of an MLP goes on to the same bits; a new fit in
the same process gives the right bits, and no thread is left at work. SIGTERM ends the process. In some processes a
handler of the user's predicts while the main thread is anywhere in a fit.
"""

import contextlib
import os
import pickle
import select
import signal
import time
import traceback
import warnings
from collections import Counter
from functools import cache

import crowd
import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from fastmlp import MLP, Layer, MLPClassifier, MLPEnsembleRegressor, MLPRegressor, TabularMLPRegressor

SIZES = 40, 1000  # signals
FIGURE = (
    "{signals} signals: {interrupted} fits returned early, {raised} raised KeyboardInterrupt, {late} had ended, "
    "{ended} processes ended by SIGTERM, {handlers} predicted in the handler of a timer"
)
EPOCHS = 12


def network(backend, optimizer="adam"):
    layers = [Layer(16, "tanh"), Layer(1, "identity")]
    return MLP(layers, optimizer=optimizer, random_state=0, backend=backend)


def fit_network(model):
    X, y, _ = crowd.data(600)
    model.fit(X, y, EPOCHS - model.epoch)


def fit_numbers(model):
    model.fit(*crowd.data(600)[:2])


def fit_labels(model):
    X, _, labels = crowd.data(600)
    model.fit(X, labels)


def fit_stream(model):
    X, y, _ = crowd.data(600)
    model.fit_stream([(X[:200], y[:200]), (X[200:], y[200:])])


# {name: (new model, function that fits it)}
FITS = {
    "MLP": (lambda backend: network(backend), fit_network),
    "MLP by lbfgs": (lambda backend: network(backend, "lbfgs"), fit_network),
    "MLPClassifier": (lambda backend: MLPClassifier(16, max_iter=20, random_state=0, backend=backend), fit_labels),
    "MLPClassifier with threads": (
        lambda backend: MLPClassifier(128, max_iter=2, batch_size=500, n_jobs=2, random_state=0, backend=backend),
        fit_labels,
    ),
    "MLPRegressor, early stopping": (
        lambda backend: MLPRegressor(
            hidden_layer_sizes=16, max_iter=20, early_stopping=True, random_state=0, backend=backend
        ),
        fit_numbers,
    ),
    "MLPRegressor by lbfgs": (
        lambda backend: MLPRegressor(
            hidden_layer_sizes=16, max_iter=20, solver="lbfgs", random_state=0, backend=backend
        ),
        fit_numbers,
    ),
    "MLPRegressor on a stream": (
        lambda backend: MLPRegressor(hidden_layer_sizes=16, max_iter=10, backend=backend, random_state=0), fit_stream,
    ),
    "MLPEnsembleRegressor": (
        lambda backend: MLPEnsembleRegressor(
            MLPRegressor(hidden_layer_sizes=8, max_iter=8, backend=backend), n_members=3, random_state=0
        ),
        fit_numbers,
    ),
    "TabularMLPRegressor": (
        lambda backend: TabularMLPRegressor(epochs=3, n_members=2, random_state=0), fit_numbers,
    ),
}  # fmt: skip


def run(size, seed, folder):
    if not hasattr(os, "fork"):
        pytest.skip("needs os.fork")
    counts, faults = Counter(signals=0, interrupted=0, raised=0, late=0, ended=0, handlers=0), []
    with threadpool_limits(1, user_api="blas"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rng = np.random.default_rng(seed)
        for number in range(size):
            key = list(FITS)[rng.integers(len(FITS))], str(rng.choice(crowd.BACKENDS, p=(0.45, 0.45, 0.1)))
            kind = ("SIGINT", "SIGINT", "SIGINT", "SIGTERM", "handler")[rng.integers(5)]
            right, seconds = undisturbed(*key)
            delay = float(rng.uniform(0, 1.3) * seconds)
            outcome, fault = in_a_process(key, kind, delay, right)
            counts["signals"] += 1
            counts[outcome] += 1
            if fault:
                faults.append(f"number {number}, {key}, {kind} after {1000 * delay:.1f} ms: {fault}")
    return {**counts, "faults": faults}


@cache
def undisturbed(name, backend):
    """(digest of the predictions after a fit without signals, its seconds); the fit compiles what its children use."""
    make, fit = FITS[name]
    fit(make(backend))
    model, begun = make(backend), time.perf_counter()
    fit(model)
    return crowd.digest([model.predict(crowd.data()[0])]), time.perf_counter() - begun


def in_a_process(key, kind, delay, right):
    """Send a signal to a fit in a forked process. Returns (what came of it, a fault or '')."""
    from_child, to_parent = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.close(from_child)
            found = signalled(key, kind, right, to_parent)
        except BaseException:
            found = "late", traceback.format_exc()
        os.write(to_parent, pickle.dumps(found))
        os._exit(0)
    os.close(to_parent)
    try:
        if not os.read(from_child, 1):
            return "late", "the process ended before the fit"
        time.sleep(delay)
        os.kill(child, signal.SIGTERM if kind == "SIGTERM" else signal.SIGINT)
        if not select.select([from_child], [], [], crowd.LIMIT)[0]:
            return "late", "hangs"
        answer = os.read(from_child, 65536)
        if answer:
            return pickle.loads(answer)
        return "ended", ""
    finally:
        os.close(from_child)
        if kind != "SIGTERM":
            os.kill(child, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if kind == "SIGTERM" and status not in (-signal.SIGTERM, 0):
            raise RuntimeError(f"a process ended with {status} after SIGTERM")


def signalled(key, kind, right, to_parent):
    """Fit while signals come, and check what is left. Returns (what came of it, a fault or '')."""
    (name, backend), X = key, crowd.data()[0]
    make, fit = FITS[name]
    model, untouched = make(backend), vars(make(backend)).keys()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if kind == "handler":
        return "handlers", predicting(make, fit, backend, right, to_parent)
    outcome = "late"
    try:
        os.write(to_parent, b"x")
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            fit(model)
        if any("interrupted" in str(one.message) for one in found):
            outcome = "interrupted"
    except KeyboardInterrupt:
        outcome = "raised"
    with contextlib.suppress(KeyboardInterrupt):
        time.sleep(0.05)  # the signal may come only now
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    trained = vars(model).keys() > untouched if not isinstance(model, MLP) else model._state is not None
    if (outcome != "raised" or trained) and not usable(model, X):
        return outcome, "weights are not finite"
    if name == "MLP":  # goes on where it stopped
        if model.epoch < EPOCHS:
            fit(model)
        if crowd.digest([model.predict(X)]) != right:
            return outcome, "the rest of the fit leads elsewhere"
    for fitted in make(backend), model:
        if fitted is model and isinstance(model, MLP):
            continue
        fit(fitted)
        if crowd.digest([fitted.predict(X)]) != right:
            return outcome, "a later fit leads elsewhere"
    return outcome, "" if becomes_idle() else "threads are at work after the fit"


def becomes_idle():
    """Whether no thread is at work soon; those of OpenBLAS wait for more work for some tens of milliseconds."""
    for _ in range(30):
        begun = time.process_time()
        time.sleep(0.03)
        if time.process_time() - begun < 0.01:
            return True
    return False


def usable(model, X):
    """Whether outputs are finite."""
    found = model.predict_proba(X) if hasattr(model, "predict_proba") else model.predict(X)
    return np.isfinite(found).all()


def predicting(make, fit, backend, right, to_parent):
    """Fit while a handler of signals predicts with this model and with another one. Returns a fault or ''."""
    X, model, other, errors = crowd.data()[0], make(backend), make(backend), []
    fit(other)

    def handle(number, frame):
        try:
            if crowd.digest([other.predict(X)]) != right:
                errors.append("a handler predicts something else")
        except Exception:
            errors.append(traceback.format_exc())
        signal.setitimer(signal.ITIMER_PROF, 0.002)  # of the processor's time, so that the fit goes on

    signal.signal(signal.SIGINT, handle)
    signal.signal(signal.SIGPROF, handle)
    signal.setitimer(signal.ITIMER_PROF, 0.001)
    os.write(to_parent, b"x")
    fit(model)
    for _ in range(200):
        other.predict(X)
    signal.signal(signal.SIGPROF, signal.SIG_IGN)
    if crowd.digest([model.predict(X)]) != right:
        errors.append("the fit leads elsewhere")
    return "\n".join(errors[:1])
