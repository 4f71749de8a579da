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


def step(progress, step_size, gamma):
    """factor = gamma^floor(t / step_size)."""
    return gamma ** np.floor(progress / step_size)


def exponential(progress, gamma):
    """factor = gamma^t."""
    return gamma**progress


def cosine(progress, epochs, end_factor):
    """factor = end_factor + (1 - end_factor) (1 + cos(pi t / epochs)) / 2; ``end_factor`` after that.

    Loshchilov & Hutter (2017).
    """
    return end_factor + (1 - end_factor) * (1 + np.cos(math.pi * np.minimum(progress / epochs, 1))) / 2


def reduce_on_plateau(progress, patience, min_delta, factor):
    """factor^n after n plateaus of the training loss, which ``Plateau`` counts."""
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
    "step": ScheduleRule(step, {"step_size": Range(10, 0, open_low=True), "gamma": Range(0.5, 0, 1, open_low=True)}),
    "exponential": ScheduleRule(exponential, {"gamma": Range(0.95, 0, 1, open_low=True)}),
    "cosine": ScheduleRule(cosine, {"epochs": Range(100, 0, open_low=True), "end_factor": Range(0.0, 0, 1)}),
    "reduce_on_plateau": ScheduleRule(
        reduce_on_plateau,
        {"patience": Range(10, 1), "min_delta": Range(1e-4, 0), "factor": Range(0.2, 0, 1, open_low=True)},
    ),
}


class Schedule(NamedTuple):
    """A row of SCHEDULES by name, its options in the row's order, and the epochs over which the rate first rises to its
    full value in a straight line (Goyal et al. 2017)."""

    name: str
    options: tuple[float, ...] = ()
    warmup_epochs: float = 0.0


class Plateau(NamedTuple):
    """State of "reduce_on_plateau": the best loss, epochs without a better one, and the current factor."""

    best: float = math.inf
    stalled: int = 0
    factor: float = 1.0

    def after(self, loss, patience, min_delta, factor):
        """The state after one more epoch; ``factor`` lowers the rate after ``patience`` epochs without improvement."""
        if loss < self.best - min_delta:
            return self._replace(best=loss, stalled=0)
        if self.stalled + 1 < patience:
            return self._replace(best=min(loss, self.best), stalled=self.stalled + 1)
        return Plateau(min(loss, self.best), 0, self.factor * factor)


def factors(schedule, plateau, starts, stops):
    """Factors of the rate for steps that begin and end at the given progress in epochs, two arrays."""
    values = SCHEDULES[schedule.name].function(starts, *schedule.options) * plateau.factor
    return values * np.minimum(stops / schedule.warmup_epochs, 1) if schedule.warmup_epochs else values
