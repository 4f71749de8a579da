"""Levels of the x86-64 instruction set for which the engine is compiled, best first, and a limit on them for tests."""

import os

LEVELS = "x86_64_v4", "x86_64_v3", "baseline"


def allowed_levels():
    """The levels up to FASTMLP_LEVEL in the environment; all of them without it."""
    limit = os.environ.get("FASTMLP_LEVEL") or LEVELS[0]
    if limit not in LEVELS:
        raise ImportError(f"FASTMLP_LEVEL must be one of {', '.join(LEVELS)}, got {limit!r}")
    return LEVELS[LEVELS.index(limit) :]
