"""Durations that can be divided by."""

import time

SHORTEST = 1e-6  # seconds; a clock may stand still for as long, or be set back


def seconds_since(start):
    """Seconds since ``start``, a value of ``time.perf_counter``, never zero or negative."""
    return max(time.perf_counter() - start, SHORTEST)
