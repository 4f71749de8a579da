"""Fits, checkpoints, limits of time, progress bars and commands while clocks jump, stand still or run backwards."""

import json
import random
import time
import warnings
from contextlib import ExitStack, contextmanager, redirect_stderr
from io import StringIO
from unittest.mock import patch

import numpy as np
import tqdm.std
from click.testing import CliRunner

import fastmlp
from fastmlp import MLP, Checkpoint, Layer, MLPRegressor, Progress, TabularMLPRegressor
from fastmlp.cli.main import main
from fastmlp.training import epochs

SIZES = 2, 40
FIGURE = "{runs} runs of {kinds} kinds under {clocks} clocks: no other bits, no negative duration, no endless loop"
MOST_SECONDS = 60  # of a run, which takes less than one

rng = np.random.default_rng(0)
X = rng.standard_normal((300, 4))
Y = np.sin(X[:, 0])

CLOCKS = {
    "jumps": lambda rng: rng.choice([-1e6, -10, 0, 0, 0, 0, 0.001, 0.1, 10, 1e6]),
    "stands still": lambda rng: 0.0,
    "runs backwards": lambda rng: -rng.random(),
    "a day at a time": lambda rng: 86400.0,
}


@contextmanager
def clock(step, rng):
    """Replace all clocks of this process by one that changes by ``step(rng)`` at each call."""
    now, sound = [1e9], time.monotonic
    end = sound() + MOST_SECONDS

    def read():
        assert sound() < end, "the run has no end"
        now[0] += step(rng)
        return now[0]

    with ExitStack() as stack:
        for name in ("time", "monotonic", "perf_counter"):
            stack.enter_context(patch.object(time, name, read))
        stack.enter_context(patch.object(tqdm.std, "time", read))
        yield


def network():
    return MLP([Layer(8, "tanh"), Layer(1, "identity")], random_state=0, backend="cython")


def fit(folder):
    model, path = network(), folder / "m"
    model.fit(X, Y, 3, 20, progress=True, callbacks=[Checkpoint(path, 9, seconds=0.5), Progress(3)])
    return model.parameters, fastmlp.load(path).parameters


def stream(folder):
    blocks = [(X[:100], Y[:100]), (X[100:], Y[100:])]
    callbacks = Checkpoint(folder / "m", seconds=0.5)
    return (network().fit_stream(blocks, 3, 20, n_samples=300, progress=True, callbacks=callbacks).parameters,)


def estimator(folder):
    model = MLPRegressor(hidden_layer_sizes=(8,), max_iter=4, random_state=0, backend="cython")
    return (model.fit(X, Y, callbacks=Checkpoint(folder / "m", seconds=0.5)).coefs_[0],)


def limited_time(folder):
    """How many epochs there are depends on the clock, but there is a fit."""
    model = TabularMLPRegressor(hidden_layer_sizes=(8,), epochs=2, time_limit=5, random_state=0).fit(X, Y)
    assert np.isfinite(model.predict(X)).all()
    return ()


def command(folder):
    np.savez(folder / "data.npz", X=X, y=Y)
    out = folder / "m"
    given = "train", folder / "data.npz", "--plain", "--epochs", 2, "--out", out, "--compare", "--json"
    result = CliRunner().invoke(main, [*map(str, given)])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["seconds"] >= 0, f"{found['seconds']} seconds"
    assert all(speed > 0 for speed in found["samples_per_second"].values()), found
    return (fastmlp.load(out).model.parameters,)


RUNS = {run.__name__: run for run in (fit, stream, estimator, limited_time, command)}


def run(size, seed, folder):
    rng, faults, n_runs = random.Random(f"clocks {seed}"), [], 0
    with patch.object(epochs, "FIRST_CHUNK_FLOPS", 0), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = {name: attempt(folder) for name, attempt in RUNS.items()}
        for _ in range(size):
            for clock_name, step in CLOCKS.items():
                for name, attempt in RUNS.items():
                    n_runs += 1
                    try:
                        with clock(step, rng), redirect_stderr(StringIO()):
                            found = attempt(folder)
                        assert all(map(np.array_equal, found, expected[name])), "other bits"
                    except Exception as error:
                        faults.append(f"{name}, a clock that {clock_name}: {error!r}")
    return {"runs": n_runs, "kinds": len(RUNS), "clocks": len(CLOCKS), "faults": faults}
