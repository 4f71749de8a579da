"""Division of work between threads, the barrier between phases, and the options of a call.

Compiled twice, like engine/products.py.
"""

from __future__ import annotations

from .primitives import Integers, arrivals, arrive, give_way

SPINS = 4000  # polls of the barrier before the thread yields

# Options of a call, in one array of float64 for every compiled backend: penalties, decays,
# bounds, and noise; then DROPOUT and FACTOR of each layer.
LASSO, ACTIVITY_L1, ACTIVITY_L2, COUPLED_DECAY, DECOUPLED_DECAY, CLIP_NORM, CLIP_VALUE, MAX_NORM = range(8)
INPUT_DROPOUT, INPUT_STD, LAYERS = range(8, 11)
DROPOUT, FACTOR, LAYER_EXTRAS = range(3)


def wait_for_all(counter: Integers, n_threads: int, generation: int) -> None:
    """Barrier: return when all threads have arrived ``generation`` times."""
    if n_threads > 1:
        arrive(counter)
        spins = 0
        while arrivals(counter) < n_threads * generation:
            spins += 1
            if spins > SPINS:
                give_way()


def share(n: int, unit: int, part: int, n_parts: int) -> int:
    """Start of part ``part`` of ``n`` items, at a multiple of ``unit``."""
    units = (n + unit - 1) // unit
    begin = units * part // n_parts * unit
    return begin if begin < n else n
