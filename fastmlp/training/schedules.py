"""Schedules of the learning rate: a factor for each step, from the progress of the fit in epochs."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np


def constant(progress):
    """factor = 1."""
    return np.ones_like(progress)


def inverse_scaling(progress, power):
    """factor = 1 / (1 + t)^power, which converges for powers from 1/2 to 1 (Robbins & Monro 1951)."""
    return (1 + progress) ** -power


def step(progress, every, decay):
    """factor = decay^floor(t / every)."""
    return decay ** np.floor(progress / every)


def exponential(progress, decay):
    """factor = decay^t."""
    return decay**progress


def cosine(progress, epochs, lowest):
    """factor = lowest + (1 - lowest) (1 + cos(pi t / epochs)) / 2, then ``lowest`` (Loshchilov & Hutter 2017)."""
    return lowest + (1 - lowest) * (1 + np.cos(math.pi * np.minimum(progress / epochs, 1))) / 2


def adaptive(progress, patience, tolerance, decay):
    """factor = decay^n after n plateaus of the loss: ``Plateau`` knows n, and nothing else changes the rate."""
    return np.ones_like(progress)


class Range(NamedTuple):
    """A default, and the range of what may be given instead; ends that are ``open`` do not belong to it."""

    default: float
    low: float
    high: float = math.inf
    open_low: bool = False


class ScheduleRule(NamedTuple):
    """``function(progress, *options)`` for an array of progress in epochs."""

    function: Callable
    options: dict[str, Range]


SCHEDULES = {
    "constant": ScheduleRule(constant, {}),
    "inverse_scaling": ScheduleRule(inverse_scaling, {"power": Range(0.5, 0)}),
    "step": ScheduleRule(step, {"every": Range(10, 0, open_low=True), "decay": Range(0.5, 0, 1, open_low=True)}),
    "exponential": ScheduleRule(exponential, {"decay": Range(0.95, 0, 1, open_low=True)}),
    "cosine": ScheduleRule(cosine, {"epochs": Range(100, 0, open_low=True), "lowest": Range(0.0, 0, 1)}),
    "adaptive": ScheduleRule(
        adaptive,
        {"patience": Range(10, 1), "tolerance": Range(1e-4, 0), "decay": Range(0.2, 0, 1, open_low=True)},
    ),
}


class Schedule(NamedTuple):
    """A row of SCHEDULES by name, its options in the row's order, and the epochs over which the rate first rises to its
    full value in a straight line (Goyal et al. 2017)."""

    name: str
    options: tuple[float, ...] = ()
    warm_up: float = 0.0


class Plateau(NamedTuple):
    """What the schedule "adaptive" knows: the best loss, how many epochs have not bettered it, the factor by now."""

    best: float = math.inf
    stalled: int = 0
    factor: float = 1.0

    def after(self, loss, patience, tolerance, decay):
        """The state after one more epoch: a better loss by ``tolerance``, or after ``patience`` others a lower one."""
        if loss < self.best - tolerance:
            return self._replace(best=loss, stalled=0)
        if self.stalled + 1 < patience:
            return self._replace(best=min(loss, self.best), stalled=self.stalled + 1)
        return Plateau(min(loss, self.best), 0, self.factor * decay)


def factors(schedule, plateau, starts, stops):
    """Factors of the rate for steps that begin and end at the given progress in epochs, two arrays."""
    values = SCHEDULES[schedule.name].function(starts, *schedule.options) * plateau.factor
    return values * np.minimum(stops / schedule.warm_up, 1) if schedule.warm_up else values
