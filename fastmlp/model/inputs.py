"""Entries of ``inputs`` of an MLP, one for each column of X: Plain, OneHot, Embedding, Periodic, PiecewiseLinear."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from fastmlp.kernels import inputs as kinds
from fastmlp.kernels.inputs import InputColumn, Inputs, column_views
from fastmlp.typing import InputSpec
from fastmlp.validation.arrays import is_listing
from fastmlp.validation.checks import check_integer, check_real

MOST_VALUES = 2**24  # float32 holds all whole numbers up to here


class _Input:
    """Base class of the entries, which convert themselves to an InputColumn."""

    def _draw(self, random_state, views):
        """Set the initial parameters, if there are some, in views by name."""


@dataclass(frozen=True)
class Plain(_Input):
    """A column of numbers that is used as it is."""

    def _column(self):
        return InputColumn()


@dataclass(frozen=True)
class OneHot(_Input):
    """A column of codes, with an input for each code that is 1 for this code and 0 for others.

    Parameters
    ----------
    n_values : int
        Number of codes: X holds whole numbers from 0 to n_values - 1. All inputs are 0 for any other value.

    Raises
    ------
    ValueError
        If ``n_values`` is out of range.
    """

    n_values: int

    def __post_init__(self):
        object.__setattr__(self, "n_values", _check_n_values(self.n_values))

    def _column(self):
        return InputColumn(kinds.ONE_HOT, self.n_values)


@dataclass(frozen=True)
class Embedding(_Input):
    """A column of codes, with a trained vector for each code.

    Weight decay applies to the vectors, the penalties ``alpha`` and ``l1`` do not. The gradient of a step takes time
    in proportion to the batch, but every step updates the whole table, because averages such as Adam's change it.

    Parameters
    ----------
    n_values : int
        Number of codes: X holds whole numbers from 0 to n_values - 1. All inputs are 0 for any other value.
    size : int
        Length of a vector, the number of inputs that the column becomes.
    std : float > 0, default=1
        Standard deviation of the initial numbers, which are normal.
    rate : float > 0, default=1
        Factor of the learning rate.

    Raises
    ------
    ValueError
        If a value is out of range.
    """

    n_values: int
    size: int
    std: float = 1.0
    rate: float = 1.0

    def __post_init__(self):
        checked = {"n_values": _check_n_values(self.n_values), "size": check_integer("size", self.size, 1)}
        _set_checked(self, checked)

    def _column(self):
        return InputColumn(kinds.EMBEDDING, self.n_values, self.size, rate=self.rate)

    def _draw(self, random_state, views):
        views["table"][...] = random_state.normal(0, self.std, views["table"].shape)


@dataclass(frozen=True)
class Periodic(_Input):
    """A column of numbers x that becomes x itself, and trained sums of cosines of different frequencies.

    These are the numbers b_d + sum over k of V_kd cos(2 pi (w_k x + p_k)) with trained w, p, V and b of each column:
    "PBLD" of Holzmueller, Grinsztajn & Steinwart 2024 (Better by default), after the periodic embeddings of Gorishniy,
    Rubachev & Babenko 2022. Initially p is uniform in [-1/2, 1/2), V and b in +-1 / sqrt(n_frequencies). Scale x to a
    standard deviation of about 1. Weight decay applies to w and V, the penalties ``alpha`` and ``l1`` do not.

    Parameters
    ----------
    n_frequencies : int, default=16
        Number of cosines.
    size : int, default=3
        Number of sums; the column becomes 1 + size inputs.
    std : float > 0, default=0.1
        Standard deviation of the initial frequencies w, which are normal.
    rate : float > 0, default=1
        Factor of the learning rate; 0.1 in the paper.

    Raises
    ------
    ValueError
        If a value is out of range.
    """

    n_frequencies: int = 16
    size: int = 3
    std: float = 0.1
    rate: float = 1.0

    def __post_init__(self):
        sizes = {name: check_integer(name, getattr(self, name), 1) for name in ("n_frequencies", "size")}
        _set_checked(self, sizes)

    def _column(self):
        return InputColumn(kinds.PERIODIC, self.n_frequencies, self.size, rate=self.rate)

    def _draw(self, random_state, views):
        bound = 1 / math.sqrt(self.n_frequencies)
        views["w"][...] = random_state.normal(0, self.std, self.n_frequencies)
        views["V"][...] = random_state.uniform(-bound, bound, views["V"].shape)
        views["p"][...] = random_state.uniform(-0.5, 0.5, self.n_frequencies)
        views["b"][...] = random_state.uniform(-bound, bound, self.size)


@dataclass(frozen=True)
class PiecewiseLinear(_Input):
    """A column of numbers, coded by its place in bins between consecutive edges e (Gorishniy et al. 2022).

    The input of a bin is clip((x - e_j) / (e_j+1 - e_j), 0, 1): 1 for the bins below x, 0 for those above it, and the
    place of x in its own bin. Quantiles of the training data are good edges.

    Parameters
    ----------
    edges : array-like of shape (n_bins + 1,)
        Strictly increasing numbers, at least two. Stored as a tuple.

    Raises
    ------
    ValueError
        If the edges are not strictly increasing finite numbers.
    """

    edges: ArrayLike

    def __post_init__(self):
        try:
            edges = np.asarray(self.edges)
        except ValueError:  # lists of different lengths
            edges = np.empty(0)
        good = edges.ndim == 1 and edges.size > 1 and edges.dtype.kind in "iuf"
        edges = edges.astype(np.float64) if good else edges
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            widths = np.diff(edges) if good else np.zeros(1)
            good = good and (widths > 0).all() and np.isfinite([widths, 1 / widths]).all()
        if not good:
            raise ValueError(f"edges must be at least two strictly increasing finite numbers, got {self.edges!r}.")
        object.__setattr__(self, "edges", tuple(edges.tolist()))

    def _column(self):
        return InputColumn(kinds.PIECEWISE_LINEAR, len(self.edges) - 1, edges=self.edges)


def _check_n_values(given):
    if check_integer("n_values", given, 1) > MOST_VALUES:
        raise ValueError(
            f"n_values must be at most {MOST_VALUES}, up to which float32 holds whole numbers, got {given}."
        )
    return int(given)


def _set_checked(made, checked):
    """Set checked fields of a frozen object, and its ``std`` and ``rate``."""
    reals = {name: check_real(name, getattr(made, name), 0, open_low=True) for name in ("std", "rate")}
    for name, value in (checked | reals).items():
        object.__setattr__(made, name, value)


def check_inputs(given: Sequence[InputSpec] | None) -> tuple[InputSpec, ...] | None:
    """Validate ``inputs`` of an MLP."""
    if given is None:
        return None
    good = is_listing(given) and len(given) > 0 and all(isinstance(one, _Input) for one in given)
    if not good:
        raise ValueError(
            "inputs must be a list of Plain(), OneHot(...), Embedding(...), Periodic(...) or PiecewiseLinear(...), one "
            f"for each column of X, got {given!r}."
        )
    return tuple(given)


def inputs_of(given, scale, n_columns):
    """The record Inputs of the kernels for ``inputs``, ``input_scale`` and a number of columns, or None."""
    if given is None and scale is None:
        return None
    if given is not None and len(given) != n_columns:
        raise ValueError(f"inputs must have one entry for each column of X: got {len(given)} for {n_columns} columns.")
    return Inputs(tuple(one._column() for one in given or (Plain(),) * n_columns), scale)


def draw_input_parameters(given, inputs, random_state, parameters):
    """Initial parameters of the input stage, in place: random numbers column by column, and factors of 1."""
    views, scales = column_views(inputs, parameters)
    for one, own in zip(given or (), views):
        one._draw(random_state, own)
    if scales is not None:
        scales[:] = 1


def summary(given):
    """The ``inputs`` of a model in its repr."""
    counts = Counter(type(one).__name__ for one in given)
    return f"[{', '.join(f'{count} {name}' for name, count in counts.items())}]"
