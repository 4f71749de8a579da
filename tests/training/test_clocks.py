"""Clocks that stand still or are set back: no division by zero, and no duration below zero."""

import time

import numpy as np
import pytest

from fastmlp import MLP, Layer, TabularMLPRegressor
from fastmlp.cli.speed import samples_per_second
from fastmlp.training.durations import SHORTEST, seconds_since

X = np.random.default_rng(0).standard_normal((60, 3))
Y = X[:, 0]


@pytest.fixture(params=[0, -1, 1e6], ids=["stands still", "runs backwards", "jumps"])
def clock(request, monkeypatch):
    now = [0.0]

    def read():
        now[0] += request.param
        return now[0]

    monkeypatch.setattr(time, "perf_counter", read)
    monkeypatch.setattr(time, "monotonic", read)


def test_durations_are_positive(clock):
    assert seconds_since(time.perf_counter()) >= SHORTEST > 0


def test_a_limit_of_time(clock):
    model = TabularMLPRegressor(hidden_layer_sizes=(4,), epochs=2, time_limit=5, random_state=0)
    with np.errstate(all="raise"):
        assert np.isfinite(model.fit(X, Y).predict(X)).all()


def test_speeds(clock):
    model = MLP([Layer(1, "identity")], random_state=0, backend="numpy").fit(X, Y, 1)
    found = samples_per_second(model, X, Y, ["numpy"], 20)
    assert 0 < found["numpy"] < np.inf
