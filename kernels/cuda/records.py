"""Records passed between the host-side functions of the backend."""

from typing import Any, NamedTuple


class State(NamedTuple):
    """Device arrays that training changes. ``results``: sum of losses, sum of penalties, number of updates."""

    parameters: Any
    slots: Any
    gradient: Any
    results: Any


class Settings(NamedTuple):
    """Settings of a run. ``extras`` is laid out as in engine/partition.py; ``step``: number of updates made before."""

    extras: Any
    options: Any
    loss_options: Any
    alpha: float
    seed: int
    step: int
