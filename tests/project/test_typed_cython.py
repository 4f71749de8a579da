"""The generator of typed Cython: the translation of each statement, and errors for unsupported ones."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from fastmlp.kernels.engine.primitives import Doubles, Integers, Number, Vector, at, bint

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))
from typed_cython import Translator


class Cell:
    width: int
    packed: bint
    places: Integers


class Table:
    cells: Cell
    sums: Doubles
    values: Vector
    rate: float


def total(values: Vector, n: int, step: int, rate: float) -> float:
    """Docstrings are not translated."""
    T = type(values[0])
    found: float = 0.0
    for i in range(0, n, step):
        weight: Number = T(rate) / T(2)
        if values[i] == T(0):
            continue
        if values[i] > 0:
            found += weight * values[i]
        elif values[i] < T(-1):
            found = 0.0
        else:
            break
    return found


def fill(table: Table, number: int) -> None:
    cell: Cell = at(table.cells, number)
    first, last = cell.width, number
    row: Vector
    while first < last:
        row = at(table.values, first)
        row[0] = total(row, cell.width, 1, table.rate)
        first += 1
    table.rate = 0.5


def fill_all(table: Table, n: int) -> None:
    for number in range(n - 1, -1, -1):
        fill(table, number)


def misfit(values: Vector) -> None:
    fill(values, 0)


def unknown(n: int) -> int:
    try:
        return n
    finally:
        n = 0


def two_of(z, n):
    half = z / n
    return half, z


def lines(text):
    return [line for line in text.splitlines() if line.strip()]


def test_a_function_of_numbers_becomes_one_function_of_a_fused_type():
    assert lines(Translator().function(total)) == [
        "cdef inline double total(floating* values, Py_ssize_t n, Py_ssize_t step, double rate) noexcept nogil:",
        "    cdef double found",
        "    cdef Py_ssize_t i",
        "    cdef floating weight",
        "    found = 0.0",
        "    for i from 0 <= i < n by step:",
        "        weight = <floating>(rate) / <floating>(2)",
        "        if values[i] == <floating>(0):",
        "            continue",
        "        if values[i] > 0:",
        "            found += weight * values[i]",
        "        else:",
        "            if values[i] < <floating>(-1):",
        "                found = 0.0",
        "            else:",
        "                break",
        "    return found",
    ]


def test_records_become_structs_and_functions_of_records_one_function_per_dtype():
    translator = Translator([Cell, Table])
    assert lines(translator.structs()) == [
        "cdef struct Cell:", "    int64_t width", "    int64_t packed", "    int64_t* places",
        *(line for T in ("float", "double") for line in (
            f"cdef struct Table_{T}:", "    Cell* cells", "    double* sums", f"    {T}* values", "    double rate",
        )),
    ]  # fmt: skip
    translator.function(total)
    of_both = lines(translator.function(fill))
    single, double = of_both[: len(of_both) // 2], of_both[len(of_both) // 2 :]
    assert double == [line.replace("float", "double") for line in single]
    assert single == [
        "cdef inline void fill_float(Table_float* table, Py_ssize_t number) noexcept nogil:",
        "    cdef Cell* cell",
        "    cdef Py_ssize_t first",
        "    cdef Py_ssize_t last",
        "    cdef float* row",
        "    cell = table.cells + number",
        "    first, last = (cell.width, number)",
        "    while first < last:",
        "        row = table.values + first",
        "        row[0] = total(row, cell.width, 1, table.rate)",
        "        first += 1",
        "    table.rate = 0.5",
    ]
    assert "    for number in range(n - 1, -1, -1):\n        fill_double(table, number)\n" in translator.function(
        fill_all
    )


def test_rules_need_no_annotations():
    assert lines(Translator().function(two_of, ["Number", "int"], "Number Number", local="Number")) == [
        "cdef inline (floating, floating) two_of(floating z, Py_ssize_t n) noexcept nogil:",
        "    cdef floating half",
        "    half = z / n",
        "    return (half, z)",
    ]


def test_unsupported_statements_raise():
    translator = Translator([Cell, Table])
    translator.function(fill)
    with pytest.raises(ValueError, match="fill takes records of one dtype"):
        translator.function(misfit)
    with pytest.raises(ValueError, match="no translation for 'try:"):
        translator.function(unknown)
