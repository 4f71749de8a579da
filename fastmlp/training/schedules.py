"""Schedules of the learning rate: a factor for each step, from the progress of the fit in epochs."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from fastmlp.docstrings import with_names
from fastmlp.validation.checks import (
    Range,
    call_text,
    check_option_values,
    check_real,
    from_record,
    known,
    option_values,
)


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


def cosine_log(progress, epochs, n_cycles):
    """factor = (1 - cos(2 pi log2(1 + (2^n_cycles - 1) t / epochs))) / 2, then that of t = epochs.

    Waves, each twice as long as the one before it; a whole number of them ends at 0. Holzmueller, Grinsztajn &
    Steinwart (2024), with four.
    """
    waves = np.log2(1 + (2**n_cycles - 1) * np.minimum(progress / epochs, 1))
    return (1 - np.cos(2 * math.pi * waves)) / 2


def reduce_on_plateau(progress, patience, min_delta, factor):
    """factor^n after n plateaus of the training loss, which ``Plateau`` counts."""
    return np.ones_like(progress)


class ScheduleRule(NamedTuple):
    """``function(progress, *options)`` for an array of progress in epochs; ``options`` are the defaults."""

    function: Callable
    options: dict[str, float]


SCHEDULES = {
    "constant": ScheduleRule(constant, {}),
    "inverse_scaling": ScheduleRule(inverse_scaling, {"power": 0.5}),
    "step": ScheduleRule(step, {"step_size": 10, "gamma": 0.5}),
    "exponential": ScheduleRule(exponential, {"gamma": 0.95}),
    "cosine": ScheduleRule(cosine, {"epochs": 100, "end_factor": 0.0}),
    "cosine_log": ScheduleRule(cosine_log, {"epochs": 100, "n_cycles": 4}),
    "reduce_on_plateau": ScheduleRule(reduce_on_plateau, {"patience": 10, "min_delta": 1e-4, "factor": 0.2}),
}
RANGES = {
    "power": Range(0), "step_size": Range(0, open_low=True), "gamma": Range(0, 1, open_low=True),
    "epochs": Range(0, open_low=True), "end_factor": Range(0, 1), "n_cycles": Range(1, 50), "patience": Range(1),
    "min_delta": Range(0), "factor": Range(0, 1, open_low=True),
}  # fmt: skip
OLD_NAMES = {"adaptive": "reduce_on_plateau"}  # in files of earlier versions


@dataclass(frozen=True, repr=False)
class Schedule:
    """A schedule in the table SCHEDULES with the values of its options, in the order of the table, and warm-up.

    ``make_schedule`` takes options by name; None uses the defaults. Values are validated on construction.
    """

    name: str
    options: tuple[float, ...] | None = None
    warmup_epochs: float = 0.0

    def __post_init__(self):
        rule = SCHEDULES[known("schedule", self.name, SCHEDULES)]
        options = check_option_values("schedule", self.name, self.options, rule.options, RANGES)
        object.__setattr__(self, "options", options)
        object.__setattr__(self, "warmup_epochs", check_real("warmup_epochs", self.warmup_epochs, 0))

    def __repr__(self):
        given = dict(zip(SCHEDULES[self.name].options, self.options, strict=True))
        warmup = {"warmup_epochs": self.warmup_epochs} if self.warmup_epochs else {}
        return call_text("make_schedule", self.name, warmup | given)


@with_names(SCHEDULES=SCHEDULES)
def make_schedule(name: str, *, warmup_epochs: float = 0.0, **options: float) -> Schedule:
    """Make a learning rate schedule, for ``make_optimizer`` and the ``learning_rate`` of the estimators.

    Parameters
    ----------
    name : {SCHEDULES}
    warmup_epochs : float >= 0, default=0
        Number of epochs over which the rate rises linearly to its full value (Goyal et al. 2017).
    **options : float
        The rate is multiplied by a factor, with t the time in epochs, counted in steps. Defaults are given:

        - 'inverse_scaling': (1 + t)^-power, with power=0.5;
        - 'step': gamma^floor(t / step_size), with gamma=0.5 and step_size=10;
        - 'exponential': gamma^t, with gamma=0.95;
        - 'cosine': a half cosine wave from 1 to end_factor=0 within epochs=100 (Loshchilov & Hutter 2017);
        - 'cosine_log': n_cycles=4 cosine waves within epochs=100, from 0 up to 1 and back, each twice as long as the
          one before it: (1 - cos(2 pi log2(1 + (2^n_cycles - 1) t / epochs))) / 2 (Holzmueller, Grinsztajn & Steinwart
          2024);
        - 'reduce_on_plateau': multiplied by factor=0.2 whenever the training loss has not improved by more than
          min_delta=1e-4 for patience=10 epochs, as in Keras's ReduceLROnPlateau.

    Returns
    -------
    Schedule

    Raises
    ------
    ValueError
        If the name or an option is unknown, or a value is out of range.
    """
    rule = SCHEDULES[known("schedule", name, SCHEDULES)]
    return Schedule(name, option_values("schedule", name, options, rule.options), warmup_epochs)


def check_schedule(given, name="schedule"):
    """Validate a schedule or its name. Returns a Schedule."""
    if isinstance(given, Schedule):
        return given
    if isinstance(given, tuple):  # from a model file
        return from_record("schedule", Schedule, tuple(OLD_NAMES.get(value, value) for value in given), name)
    return Schedule(given)


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
