"""Numba compiles a function of the engine once, in the module of its caller."""

from __future__ import annotations

from ctypes import addressof

import numba
import numpy as np
import pytest

from fastmlp.kernels.engine.primitives import Number, Vector, bint
from fastmlp.kernels.engine.records import Run
from fastmlp.kernels.numba import together
from fastmlp.kernels.numba.primitives import data_of
from fastmlp.kernels.numba.records import record_at
from fastmlp.kernels.numba.together import compiled_with_caller


def test_a_function_of_the_engine_is_compiled_once_for_all_its_calls(monkeypatch):
    """Whatever is passed for its arguments: their types are the annotations."""
    compilations = []
    compile_one = together._compile
    monkeypatch.setattr(together, "_compile", lambda *given: compilations.append(given) or compile_one(*given))

    def add(numbers: Vector, amount: Number, twice: bint) -> None:
        numbers[0] += amount + amount if twice else amount

    inner = compiled_with_caller(add, None)

    @numba.njit
    def add_often(array, amount):
        inner(data_of(array), 1, 0)
        inner(data_of(array), amount, 1)
        inner(data_of(array), amount + amount, amount == 2)

    array = np.zeros(1, "f4")
    add_often(array, 2)
    assert array[0] == 1 + 4 + 8
    assert len(compilations) == 1


@pytest.mark.parametrize("n_dims", [1, 2, 3])
@pytest.mark.parametrize("levels", [None, (2, 3), (3,)])
def test_functions_that_a_kind_of_plan_never_needs_are_left_out(levels, n_dims):
    def clear(run: Run) -> None:
        run.n_threads = 0

    inner = compiled_with_caller(clear, levels)

    @numba.njit
    def call(address, like):
        inner(record_at(address, "Run", like))

    run = Run(n_threads=3)
    call(addressof(run), np.empty((0,) * n_dims))
    assert run.n_threads == (3 if levels and n_dims not in levels else 0)
