"""How an engine's threads share work: parts of a whole, and the barrier between phases. And what a call may ask for.

Compiled twice, like engine/products.py.
"""

from __future__ import annotations

from .primitives import Integers, arrivals, arrive, give_way

SPINS = 4000  # looks at the barrier before the processor is offered to others

# What a call asks for beside its network, in one array of float64 for every compiled backend: penalties, decays,
# bounds, and noise; then DROPOUT and FACTOR of each layer.
LASSO, ACTIVITY_L1, ACTIVITY_L2, COUPLED_DECAY, DECOUPLED_DECAY, CLIP_NORM, CLIP_VALUE, MAX_NORM = range(8)
INPUT_DROPOUT, INPUT_DEVIATION, LAYERS = range(8, 11)
DROPOUT, FACTOR, LAYER_EXTRAS = range(3)


def wait_for_all(counter: Integers, n_threads: int, generation: int) -> None:
    """Barrier: returns when all threads have come ``generation`` times."""
    if n_threads > 1:
        arrive(counter)
        spins = 0
        while arrivals(counter) < n_threads * generation:
            spins += 1
            if spins > SPINS:
                give_way()


def share(n: int, unit: int, part: int, n_parts: int) -> int:
    """Where part ``part`` of ``n`` things begins, cut at multiples of ``unit``."""
    units = (n + unit - 1) // unit
    begin = units * part // n_parts * unit
    return begin if begin < n else n
