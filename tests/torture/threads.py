"""Fit, predict, save, copy and pickle in many threads at once, on separate models and on a shared one.

Separate models must be what they are alone, bit for bit. On a shared model one thread fits, again and again, while
others try to fit, predict, save, copy and pickle: each prediction must be that of the weights between two epochs or
two calls, each refusal one that says so, and the fits the same as without the other threads.
"""

import pickle
import sys
import threading
import time
import warnings
from collections import Counter

import crowd
import numpy as np
from threadpoolctl import threadpool_limits

import fastmlp
from fastmlp import MLP, Callback, Layer, MLPClassifier, MLPEnsembleRegressor, MLPRegressor, TabularMLPRegressor

SIZES = 2, 30  # rounds of each kind
FIGURE = (
    "{alone} models in threads of their own; {shared} shared models with {predictions} predictions during {calls} "
    "fits, {refused} refusals"
)
N_THREADS = 6
REFUSALS = "already being fitted", "being fitted by another thread", "not fitted yet", "has no weights yet"


def run(size, seed, folder):
    counts, faults, interval = (
        Counter(alone=0, shared=0, predictions=0, calls=0, refused=0),
        [],
        sys.getswitchinterval(),
    )
    with threadpool_limits(1, user_api="blas"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for number in range(size):
                rng = np.random.default_rng([seed, number])
                sys.setswitchinterval(float(rng.choice([1e-6, 1e-5, 1e-3, 5e-3])))
                faults += separate(rng, folder, counts)
                for name in SHARED:
                    faults += shared(name, rng, folder, counts)
        finally:
            sys.setswitchinterval(interval)
    return {**counts, "faults": faults}


def together(functions):
    """Call functions in threads of their own. Returns their results, or the errors."""
    found, gate = [None] * len(functions), threading.Barrier(len(functions))

    def call(place):
        gate.wait()
        try:
            found[place] = functions[place]()
        except Exception as error:
            found[place] = error

    threads = [threading.Thread(target=call, args=[place], daemon=True) for place in range(len(functions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(crowd.LIMIT)
    if any(thread.is_alive() for thread in threads):
        raise TimeoutError("threads hang")
    return found


def separate(rng, folder, counts):
    """Compare models that are made at once with those that are made one by one."""
    chosen = [crowd.settings(rng) for _ in range(N_THREADS)]
    alone = [crowd.made(*one, folder / "alone") for one in chosen]
    calls = [lambda one=one, place=place: crowd.made(*one, folder / f"m{place}") for place, one in enumerate(chosen)]
    found = together(calls)
    counts["alone"] += len(chosen)
    pairs = zip(chosen, found, alone)
    return [f"{one} made in a thread, at once with {chosen}: {got!r}" for one, got, right in pairs if got != right]


class Note(Callback):
    """Calls a function where the weights that other threads may see are complete."""

    def __init__(self, note):
        self._note = note

    def before_epoch(self, model, epoch):
        self._note()

    def after_epoch(self, model, epoch, results):
        self._note()


def new_network(optimizer, given):
    return MLP([Layer(12, "tanh"), Layer(1, "identity")], optimizer=optimizer, **given).build(6)


def fit_network(model, y, note, **more):
    model.fit(crowd.data()[0], y, 4, callbacks=Note(note), **more)


def fit_with_patience(model, y, note):
    X = crowd.data()[0]
    fit_network(model, y, note, validation_data=(X[:50], -y[:50]), patience=2)


def stream_network(model, y, note):
    X = crowd.data()[0]
    model.fit_stream([(X[:150], y[:150]), (X[150:], y[150:])], 3, callbacks=Note(note))


def make_steps(model, y, note):
    X, targets = crowd.data()[0].astype("f4"), y[:, None].astype("f4")
    step = model.compile_step(100)
    for start in 0, 100, 200:
        step(X[start : start + 100], targets[start : start + 100])
        note()


def make_passes(model, y, note):
    X, targets = crowd.data()[0].astype("f4"), y[:, None].astype("f4")
    for _ in range(3):
        error = model.forward(X) - targets
        model.apply(model.backward(error / len(X)))
        note()


def fit_regressor(model, y, note):
    model.fit(crowd.data()[0], y, callbacks=Note(note))


def fit_labels(model, y, note):
    X = crowd.data()[0]
    model.fit(X, np.where(y > 0, "yes", "no") if y[0] > 0 else np.digitize(y, [-0.5, 0.5]), callbacks=Note(note))


def fit_in_parts(model, y, note):
    X = crowd.data()[0]
    for start in range(0, 300, 60):
        model.partial_fit(X[start : start + 60], y[start : start + 60])
        note()


def fit_without_epochs(model, y, note):
    model.fit(crowd.data()[0], y)


# {name: (new model, function that fits it and calls ``note`` where predictions may change)}
SHARED = {
    "MLP": (lambda given: new_network("adam", given), fit_network),
    "MLP with patience": (lambda given: new_network("adam", given), fit_with_patience),
    "MLP by lbfgs": (lambda given: new_network("lbfgs", given), fit_network),
    "MLP by lm": (lambda given: new_network("lm", given), fit_network),
    "MLP on a stream": (lambda given: new_network("adam", given), stream_network),
    "MLP by steps": (lambda given: new_network("adam", given), make_steps),
    "MLP by passes": (lambda given: new_network("adam", given), make_passes),
    "MLPRegressor": (lambda given: MLPRegressor(hidden_layer_sizes=12, max_iter=4, **given), fit_regressor),
    "MLPRegressor, warm start": (
        lambda given: MLPRegressor(hidden_layer_sizes=12, max_iter=4, warm_start=True, **given), fit_regressor,
    ),
    "MLPRegressor by lbfgs, warm start": (
        lambda given: MLPRegressor(hidden_layer_sizes=12, max_iter=4, solver="lbfgs", warm_start=True, **given).fit(
            *crowd.data()[:2]
        ),
        fit_regressor,
    ),
    "MLPRegressor, early stopping": (
        lambda given: MLPRegressor(hidden_layer_sizes=12, max_iter=4, early_stopping=True, warm_start=True, **given),
        fit_regressor,
    ),
    "MLPRegressor in parts": (
        lambda given: MLPRegressor(hidden_layer_sizes=12, **given).partial_fit(*crowd.data()[:2]), fit_in_parts,
    ),
    "MLPClassifier, other classes": (lambda given: MLPClassifier(12, max_iter=4, **given), fit_labels),
    "MLPEnsembleRegressor": (
        lambda given: MLPEnsembleRegressor(
            MLPRegressor(hidden_layer_sizes=8, max_iter=2, backend=given["backend"]), n_members=2,
            n_jobs=given["n_jobs"], random_state=given["random_state"],
        ),
        fit_without_epochs,
    ),
    "TabularMLPRegressor": (
        lambda given: TabularMLPRegressor(epochs=2, n_jobs=given["n_jobs"], random_state=given["random_state"]),
        fit_without_epochs,
    ),
}  # fmt: skip

SEVERAL_CALLS = make_steps, make_passes, fit_in_parts


def shared(name, rng, folder, counts):
    """Fit a model in one thread while others use it. Returns faults."""
    make, fit = SHARED[name]
    given = crowd.settings(rng)[1]
    if name == "MLP by passes" or given["backend"] == "numpy":
        given["n_jobs"] = 1
    X, y, _ = crowd.data()
    path, what = folder / "shared", f"{name} with {given}"
    allowed, errors, over = set(), [], threading.Event()

    def fit_twice(model, note):
        note()
        for target in y, -y:
            while refused(lambda target=target: fit(model, target, note)):
                pass
            note()

    def refused(call):
        """Whether a call is refused because of that of another thread, which changes nothing."""
        try:
            call()
        except RuntimeError as error:
            check_refusal(error)
            return True
        return False

    def note(model):
        try:
            allowed.add(crowd.digest([model.predict(X)]))
        except Exception as error:
            check_refusal(error)

    def check_refusal(error):
        counts["refused"] += 1
        if not any(text in str(error) for text in REFUSALS):
            errors.append(f"{what}: {type(error).__name__}: {error}")

    alone = make(given)
    fit_twice(alone, lambda: note(alone))
    model = make(given)

    def fit_it():
        try:
            fit_twice(model, lambda: None)
        finally:
            over.set()

    def again_and_again(use):
        while True:
            last = over.is_set()
            try:
                use()
            except Exception as error:
                check_refusal(error)
                time.sleep(0.001)
            if last:
                return

    def predict():
        found = crowd.digest([model.predict(X)])
        counts["predictions"] += 1
        if found not in allowed:
            errors.append(f"{what}: a prediction of no state of the model")

    def save():
        model.save(path)
        if crowd.digest([fastmlp.load(path).predict(X)]) not in allowed:
            errors.append(f"{what}: a file of no state of the model")

    def copies():
        pickle.dumps(model)

    def fit_wrongly():  # refused whether a fit is running or not
        try:
            model.fit(X, y[:3])
        except ValueError as error:
            if "inconsistent" not in str(error):
                raise

    uses = [predict, predict, save, copies] + [fit_wrongly] * (fit not in SEVERAL_CALLS)
    calls = [lambda use=use: again_and_again(use) for use in uses]
    ended = together([fit_it, *calls])
    errors += [f"{what}: {one!r}" for one in ended if one is not None]
    right, got = (crowd.digest([one.predict(X)]) for one in (alone, model))
    if right != got:
        errors.append(f"{what}: a fit with other threads at work ended elsewhere")
    counts["shared"] += 1
    counts["calls"] += 2
    return sorted(set(errors))
