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

    inner = compiled_with_caller(add, left_out=False)

    @numba.njit
    def add_often(array, amount):
        inner(data_of(array), 1, 0)
        inner(data_of(array), amount, 1)
        inner(data_of(array), amount + amount, amount == 2)

    array = np.zeros(1, "f4")
    add_often(array, 2)
    assert array[0] == 1 + 4 + 8
    assert len(compilations) == 1


@pytest.mark.parametrize("plain", [True, False])
def test_plain_training_is_compiled_without_the_functions_that_it_leaves_out(plain):
    def clear(run: Run) -> None:
        run.n_threads = 0

    inner = compiled_with_caller(clear, left_out=True)

    @numba.njit
    def call(address, like):
        inner(record_at(address, "Run", like))

    run = Run(n_threads=3)
    call(addressof(run), np.empty(0 if plain else (0, 0)))
    assert run.n_threads == (3 if plain else 0)
