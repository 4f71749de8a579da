"""Checks of hyper-parameters, sample weights and targets; each raises one clear error."""

import math
import os
from contextlib import suppress
from dataclasses import fields
from itertools import pairwise
from numbers import Integral, Real
from typing import NamedTuple

import numpy as np
from sklearn.utils import check_array, check_consistent_length, check_random_state

from fastmlp.kernels.rules import ACTIVATIONS, LOSSES
from fastmlp.kernels.spec import activation_row, loss_row

from .arrays import NUMBERS, as_numbers, is_listing, is_plain
from .sklearn_compat import check_sample_weight

LARGEST = float(np.finfo(np.float64).max)  # comparison with it is False for NaN and works for any int

NOT_NUMBERS = bool, np.timedelta64  # types that Python and NumPy count as integers


class Range(NamedTuple):
    """Allowed values of an option: finite numbers from ``low`` to ``high``; an open end is excluded."""

    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False


def known(kind, name, table):
    """Return ``name`` if the table has it; a ValueError lists the names otherwise."""
    if not isinstance(name, str) or name not in table:
        raise ValueError(f"unknown {kind} {name!r}. Known: {', '.join(table)}.")
    return name


def check_dtype(dtype):
    """The dtype float32 or float64, from its name or type."""
    try:
        found = None if dtype is None else np.dtype(dtype)
    except TypeError:
        found = None
    if found not in (np.float32, np.float64):
        wish = isinstance(dtype, str) and dtype == "bfloat16"
        instead = ": use dtype='float32' and matmul_precision='medium'" if wish else ""
        raise ValueError(f"dtype must be 'float32' or 'float64', got {dtype!r}{instead}.")
    return found


def check_integer(name, value, least):
    """The value as an int; ValueError unless it is an integer of at least ``least``."""
    if type(value) is int and value >= least:
        return value  # the usual case is fast
    if not isinstance(value, Integral) or isinstance(value, NOT_NUMBERS) or value < least:
        raise ValueError(f"{name} must be an integer of at least {least}, got {value!r}.")
    return int(value)


def check_n_jobs(n_jobs):
    """The number of threads as it is; ValueError unless it is None or an integer other than 0."""
    if n_jobs is not None and (isinstance(n_jobs, NOT_NUMBERS) or not isinstance(n_jobs, Integral) or n_jobs == 0):
        raise ValueError(f"n_jobs must be None, or an integer other than 0 (-1: all cores), got {n_jobs!r}.")
    return n_jobs


def check_seed(random_state):
    """The RandomState that ``random_state`` stands for."""
    try:
        return check_random_state(random_state)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"random_state must be None, a RandomState or a seed from 0 to {2**32 - 1}, got {random_state!r}."
        ) from error


def check_flags(**flags):
    """Each value as a bool; 1 and 0 are allowed as well."""
    for name, value in flags.items():
        if not isinstance(value, (Integral, np.bool_)) or value not in (0, 1):
            raise ValueError(f"{name} must be True or False, got {value!r}.")
    return map(bool, flags.values())


def check_real(name, value, low, high=math.inf, *, open_low=False, open_high=False):
    """The value as a float; ValueError unless it is a finite number in the range, whose ends are closed by default."""
    value = float(value) if isinstance(value, np.floating) else value  # LARGEST is not a float32
    good = isinstance(value, Real) and not isinstance(value, NOT_NUMBERS) and abs(value) <= LARGEST
    if not good or not low <= value <= high or (open_low and value == low) or (open_high and value == high):
        ends = f"{'(' if open_low else '['}{low:g}, {high:g}{')' if open_high or high == math.inf else ']'}"
        raise ValueError(f"{name} must be a number in {ends}, got {value!r}.")
    return float(value)


def check_network(activations, loss, n_outputs, loss_options=()):
    """Check the names, that softmax is used only for the output, and that the outputs suit the loss."""
    for name in activations:
        if isinstance(name, str):
            known("activation", name, ACTIVATIONS)
    for name in activations[:-1]:
        if activation_row(name).rowwise:
            raise ValueError(f"activation {name!r} can only be used in the output layer.")
    if isinstance(loss, str):
        known("loss", loss, LOSSES)
    link = loss_row(loss).link
    if link is not None and activations[-1] != link:
        raise ValueError(f"loss {loss!r} needs the output activation {link!r}, got {activations[-1]!r}.")
    levels = levels_of(loss_options)
    if levels and len(levels) != n_outputs:
        raise ValueError(
            f"{loss!r} with {len(levels)} levels needs an output layer of {len(levels)} units, one per level, got "
            f"{n_outputs}."
        )
    if activations[-1] == "softmax" and n_outputs == 1:
        raise ValueError("a softmax of one unit is always 1: use 'logistic' with 'binary_cross_entropy', or two units.")


def check_memory(n_parameters, dtype):
    """Raise ValueError if the parameters do not fit into the memory of this machine."""
    memory = 2**47  # address space of a process
    with suppress(AttributeError, ValueError, OSError):  # not available on every system
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    needed = n_parameters * np.dtype(dtype).itemsize
    if needed > memory:
        raise ValueError(
            f"this network would have {n_parameters:,} parameters, {needed // 10**9:,} GB in {np.dtype(dtype)}, and "
            f"this machine has {memory // 10**9:,} GB of memory: use fewer or narrower layers."
        )


def levels_of(loss_options):
    """The quantiles of a loss with one for each output; otherwise ()."""
    return loss_options[0] if loss_options and isinstance(loss_options[0], tuple) else ()


def for_levels(y, loss_options):
    """The target column repeated for each level of a list of quantiles; y for any other loss."""
    levels = levels_of(loss_options)
    if levels and y.shape[1] != 1:
        raise ValueError(f"a list of quantiles needs a single target column, got {y.shape[1]} columns in y.")
    return np.repeat(y, len(levels), axis=1) if levels else y


def check_weights(sample_weight, X, y, loss, dtype, in_parts=False):
    """Validate sample weights and convert them to ``dtype``.

    They must not be negative and must have a finite sum. All may be zero only if these samples are a part of the data
    (``in_parts``). A single number applies to all samples; None stays None. There may be a weight for each target in y,
    of shape (n_samples, n_outputs), unless the loss is that of a softmax.
    """
    if sample_weight is None:
        return None
    if isinstance(sample_weight, (str, dict)):
        raise ValueError(
            f"sample_weight must be a number for each sample, got {sample_weight!r}. To weight classes use "
            "class_weight."
        )
    if isinstance(sample_weight, Real):
        check_real("sample_weight", sample_weight, 0)
    else:
        sample_weight = as_numbers(sample_weight, "sample_weight")
    with np.errstate(over="ignore"):
        if np.ndim(sample_weight) == 2:
            sample_weight = _check_target_weights(sample_weight, y, loss, dtype)
        else:
            sample_weight = check_sample_weight(sample_weight, X, dtype=dtype, ensure_non_negative=True,
                                                allow_all_zero_weights=in_parts)  # fmt: skip
        if not np.isfinite(sample_weight.sum()):
            raise ValueError(f"sample_weight is too large: its sum is not finite in {sample_weight.dtype}.")
    return sample_weight


def _check_target_weights(sample_weight, y, loss, dtype):
    """Weights of the shape of y; those of a single output become weights of samples."""
    sample_weight = check_array(
        sample_weight, dtype=dtype, order="C", ensure_non_negative=True, input_name="sample_weight"
    )  # fmt: skip
    shape = np.shape(y)
    if sample_weight.shape != shape:
        raise ValueError(
            f"sample_weight must have a weight for each of the {shape[0]} samples, or the shape {shape} with one for "
            f"each target, got shape {sample_weight.shape}."
        )
    if loss_row(loss).link == "softmax":
        raise ValueError(
            f"sample_weight must have one weight per sample for the loss {loss!r}, because the outputs of a softmax "
            f"depend on each other, got shape {sample_weight.shape}."
        )
    return sample_weight.ravel() if shape[1] == 1 else sample_weight


def check_sum_of_weights(sample_weight, in_parts=False):
    """Raise ValueError if the weights have a sum that is not finite, or too small to divide by.

    All weights of a part of the samples may be zero. Denormal weights count as zero, as in the compiled backends.
    """
    with np.errstate(over="ignore"):
        if not np.isfinite(sample_weight.sum()):
            raise ValueError(
                "sample weights (times class weights) are too large: their sum is not finite in "
                f"{sample_weight.dtype}. Divide them by a constant."
            )
    tiny = np.finfo(sample_weight.dtype).tiny
    if not (sample_weight >= tiny).any() and not (in_parts and not sample_weight.any()):
        raise ValueError(
            f"sample weights (times class weights) are too small: none is a normal number in "
            f"{sample_weight.dtype} (at least {tiny:.3g}). Multiply them by a constant."
        )


def check_numeric(y):
    """Raise ValueError for strings and objects."""
    if y.dtype.kind not in NUMBERS:
        raise ValueError(f"y must be numbers, got {y.dtype}.")


def option_values(kind, name, given, defaults):
    """Values of all options in the table's order, from those given by name and the defaults."""
    for key in given:
        if key not in defaults:
            raise ValueError(f"{kind} {name!r} has no option {key!r}. Known: {', '.join(defaults) or 'none'}.")
    return tuple((defaults | given).values())


def check_option_values(kind, name, values, defaults, ranges, by_output=()):
    """Values of options as floats, or tuples of them; None takes the defaults.

    ``ranges`` has a Range for each option by name. Options ``by_output`` may be an increasing list instead of a number.
    """
    values = tuple(defaults.values()) if values is None else values
    if not isinstance(values, tuple) or len(values) != len(defaults):
        raise ValueError(
            f"options of {kind} {name!r} must be a tuple ({', '.join(defaults)}), got {values!r}. make_{kind} takes "
            "them by name."
        )
    checked = []
    for key, value in zip(defaults, values):
        given = value if key in by_output and is_listing(value) else [value]
        numbers = tuple(check_real(key, number, **ranges[key]._asdict()) for number in given)
        if not numbers or any(first >= second for first, second in pairwise(numbers)):
            raise ValueError(f"{key} must be a number, or an increasing list of numbers, got {value!r}.")
        checked.append(numbers if len(numbers) > 1 else numbers[0])
    return tuple(checked)


def from_record(kind, made_of, values, name=None):
    """An object from the tuple of all its fields, as model files hold it; ``name`` is that of the parameter."""
    try:
        if len(values) == len(fields(made_of)):
            return made_of(*values)
        error = None
    except (TypeError, ValueError) as caught:
        error = caught
    why = "" if error is None else f" {error}"
    raise ValueError(f"{name or kind} must be a name or the result of make_{kind}, got {values!r}.{why}") from error


def call_text(function, name, given):
    """The call that makes an object, as its repr."""
    return f"{function}({', '.join([repr(name), *(f'{key}={value!r}' for key, value in given.items())])})"


def check_targets(y, loss, n_outputs, X, dtype, loss_options=()):
    """Targets as a C-contiguous array of shape (n_samples, n_outputs); class numbers for softmax become one-hot, and a
    target is repeated for each of several quantiles."""
    plain = is_plain(y) and y.ndim in (1, 2) and len(y) == X.shape[0]
    if not plain:
        y = check_array(as_numbers(y, "y"), dtype=None, ensure_2d=False, input_name="y")
        check_consistent_length(X, y)
        check_numeric(y)
    if y.ndim == 1 and loss_row(loss).link == "softmax" and n_outputs > 1:
        labels = y.astype(np.int64)
        if not np.array_equal(labels, y) or labels.min() < 0 or labels.max() >= n_outputs:
            raise ValueError(f"class numbers in y must be integers from 0 to {n_outputs - 1}.")
        rows = np.zeros((len(labels), n_outputs), dtype)
        rows[np.arange(len(labels)), labels] = 1
        return rows
    y = for_levels(y.reshape(len(y), -1), loss_options)
    if y.shape[1] != n_outputs:
        raise ValueError(f"y has {y.shape[1]} columns, but the network has {n_outputs} outputs.")
    low, high = loss_row(loss).targets
    if (low > -math.inf and y.min() < low) or (high < math.inf and y.max() > high):
        raise ValueError(
            f"loss {loss!r} needs targets in [{low:g}, {high:g}], got values from {y.min():g} to {y.max():g}."
        )
    if loss_row(loss).link == "softmax" and not np.allclose(y.sum(axis=1), 1, atol=1e-4):
        raise ValueError(f"loss {loss!r} needs rows of y that sum to 1: a probability for each class.")
    if plain and y.dtype == dtype:
        return np.ascontiguousarray(y)
    with np.errstate(over="ignore"):
        return check_array(y, dtype=dtype, order="C", input_name="y")
