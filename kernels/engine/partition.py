"""How an engine's threads share a network: the table of its layers, parts of a whole, and the barrier between phases.

Compiled twice, like engine/products.py.
"""

from __future__ import annotations

from .primitives import Integers, arrivals, arrive, give_way

SPINS = 4000  # looks at the barrier before the processor is offered to others

# Columns of the table of layers, which engine/plan.py fills. WEIGHTS is an offset into the flat parameters; INPUTS,
# OUTPUTS and DELTAS into the workspace, whose rows are STRIDE apart; SQUARES into the sums of squares. ACTIVATE and
# DERIVE are codes of rules. In engine/online.py STRIDE is of the rows of weights, WIDTH the padded FAN_OUT, LOCAL an
# offset into the rearranged parameters, and NARROW says that a matrix is transposed there.
# Those from SPECIAL on are for layers that do more than f(A W + b), see engine/layer_features.py. SLOPES and BENDS are
# offsets like OUTPUTS, or -1; LEARNED counts learned slopes; DEVIATE is a code; SOURCE is the layer that a skip comes
# from, or -1.
(
    FAN_IN, FAN_OUT, WEIGHTS, INPUTS, OUTPUTS, DELTAS, STRIDE, SQUARES, ACTIVATE, DERIVE, PACKED, WIDTH, LOCAL, NARROW,
    SPECIAL, OF_INPUT, SLOPES, BENDS, LEARNED, DEVIATE, SOURCE, WEIGHTED, FIELDS,
) = range(23)  # fmt: skip

# What a run asks for beside its network: penalties, decays, bounds, and noise; then DROPOUT and FACTOR of each layer.
(
    LASSO, ACTIVITY_L1, ACTIVITY_L2, COUPLED_DECAY, DECOUPLED_DECAY, CLIP_NORM, CLIP_VALUE, MAX_NORM, INPUT_DROPOUT,
    INPUT_DEVIATION, LAYERS,
) = range(11)  # fmt: skip
DROPOUT, FACTOR, LAYER_EXTRAS = range(3)

# What the update of a step knows, a copy for each thread; the optimizer's options follow.
RATE, L2, L1, SHRINK, CLIP, SCALE, OPTIONS = range(7)


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
