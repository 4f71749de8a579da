"""Chunks of an epoch are short enough for Ctrl-C, and long enough that the overhead of calls is small."""

import numpy as np
import pytest

from fastmlp.training.chunking import CHUNK_SECONDS, LONGEST_SECONDS, ChunkSize


def settled(overhead, slope, first=1, noise=0.0, calls=12):
    """(batches, seconds) of the last of several calls that take overhead + batches x slope."""
    pace, rng = ChunkSize(first), np.random.default_rng(0)
    for _ in range(calls):
        batches = pace.batches
        seconds = (overhead + batches * slope) * (1 + noise * rng.random())
        pace.update(batches, seconds)
    return batches, overhead + batches * slope


@pytest.mark.parametrize("noise", [0.0, 0.2])
@pytest.mark.parametrize("first", [1, 1000])
@pytest.mark.parametrize("slope", [1e-6, 1e-4, 1e-3])
def test_calls_without_overhead_take_a_tenth_of_a_second(slope, first, noise):
    _, seconds = settled(2e-5, slope, first, noise)
    assert CHUNK_SECONDS / 2 < seconds < 2 * CHUNK_SECONDS


@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_the_overhead_is_a_tenth_of_a_call(noise):
    """Like ten million parameters on a GPU. With chunks sized by the total time alone, it would be nine tenths."""
    seconds = settled(0.04, 0.001, noise=noise)[1]
    assert 0.04 / seconds < 0.2
    assert seconds < 1.1 * LONGEST_SECONDS


def test_a_call_that_hung_does_not_make_later_calls_too_long():
    pace = ChunkSize(10)
    for seconds in (0.01, 3.0, 0.1, 2.0):
        pace.update(pace.batches, seconds)
        assert pace.batches * 0.001 < 1.1 * LONGEST_SECONDS or pace.batches == 1


@pytest.mark.parametrize("seconds", [0.3, 5.0])
def test_large_steps_are_made_one_at_a_time(seconds):
    assert settled(0, seconds)[0] == 1
