"""Units for bfloat16: which is chosen, what it computes, and the engine with a model of AMX."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from fastmlp.backends import registry
from fastmlp.kernels.cpu import matrix_unit
from fastmlp.kernels.engine import plan
from fastmlp.kernels.engine.bfloat16_tiles import AMX_UNIT, BFLOAT16_UNIT, FLOAT_UNIT, INNER, SIDE, TILE_SCRATCH
from fastmlp.kernels.spec import Network, aligned_zeros
from problems import COMPILED

NAN = np.uint32(0x7FC00000)  # the bits of one
UNITS = {"AMX": AMX_UNIT, "AVX512_BF16": BFLOAT16_UNIT}


def why_not(unit):
    """None if this processor has a unit."""
    if unit == "AMX":
        return matrix_unit.why_no_amx()
    return None if "avx512_bf16" in matrix_unit.processor_flags() else "this processor has no AVX512_BF16"


def upper_bits(x):
    """float32 rounded to bfloat16, ties to even, in the upper half of the bits."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    return np.where(np.isnan(x), NAN, bits + 0x7FFF + (bits >> 16 & 1)) & np.uint32(0xFFFF0000)


def terms_of(x, n_terms):
    terms = []
    for _ in range(n_terms):
        terms.append(upper_bits(x))
        with np.errstate(invalid="ignore"):
            x = x - terms[-1].view(np.float32)
    return terms


def packed(matrix, n_terms, right):
    """A left operand, or a right one given as its transpose, in tiles of words."""
    shape = [-(-n // side) * side for n, side in zip(matrix.shape, (SIDE, INNER))]
    padded = np.zeros(shape, np.float32)
    padded[: matrix.shape[0], : matrix.shape[1]] = matrix
    tiles = []
    for term in terms_of(padded, n_terms):
        pairs = term.reshape(shape[0] // SIDE, SIDE, shape[1] // INNER, 2, SIDE)
        words = pairs[..., 0, :] >> 16 | pairs[..., 1, :]  # (block, row, tile, word)
        tiles.append(words.transpose(0, 2, 3, 1) if right else words.transpose(0, 2, 1, 3))
    words = aligned_zeros(n_terms * tiles[0].size, np.float32)
    words.view(np.uint32)[:] = np.stack(tiles, axis=2).ravel()
    return words


def halves(words):
    """The bits of the two bfloat16 of each word, those of any NaN the same."""
    words = words.view(np.uint32)
    bits = np.stack([words << 16, words & 0xFFFF0000])
    bits[np.isnan(bits.view(np.float32))] = NAN
    return bits


@pytest.mark.parametrize("name", COMPILED)
@pytest.mark.parametrize("n_terms", [1, 2])
def test_operands_are_packed(name, n_terms):
    """In each arrangement, which needs no unit. The bits of some NaN, rounded, are those of 0 or infinity."""
    engine, rng = registry.choose(name).kernels._contract.engine, np.random.default_rng(0)
    special = np.array(
        [
            0x7FFFFFFF, 0xFFFFFFFF, 0x7F800001, 0xFF800001, NAN,  # NaN, the first ones with the outermost mantissas
            0x7F800000, 0xFF800000, 0x7F7FFFFF, 0xFF7FFFFF,  # infinity, and the largest numbers, which round to it
            0x00000000, 0x80000000, 0x00000001, 0x80000001, 0x007FFFFF, 0x807FFFFF, 0x00008000,  # 0 and denormals
            0x3F808000, 0x3F818000, 0x3F808001, 0x3F80FFFF,  # ties, and above
        ],
        np.uint32,
    ).view(np.float32)  # fmt: skip
    for shape in ((1, 1), (37, 70), (64, 31)):
        M = rng.standard_normal(shape).astype(np.float32)
        n_special = min(M.size, len(special))
        M.flat[rng.choice(M.size, n_special, replace=False)] = special[:n_special]
        for down in (False, True):
            for transposed in (False, True):
                expected = packed(M.T if down else M, n_terms, right=down != transposed)
                out = aligned_zeros(expected.size, np.float32)
                engine.entries.run_packing(
                    M, np.arange(len(M)) * M.shape[1], n_terms, down, transposed, out,
                    aligned_zeros(TILE_SCRATCH, np.float32),
                )  # fmt: skip
                np.testing.assert_array_equal(halves(out), halves(expected))


@pytest.mark.parametrize("name", COMPILED)
@pytest.mark.parametrize("unit", UNITS)
def test_products_of_tiles(name, unit):
    if why_not(unit) is not None:
        pytest.skip(why_not(unit))
    engine, rng = registry.choose(name).kernels._contract.engine, np.random.default_rng(0)
    if matrix_unit.why_no_tiles(engine) is not None:
        pytest.skip(matrix_unit.why_no_tiles(engine))
    for rows, inner, columns in ((16, 32, 16), (32, 64, 48), (48, 100, 32), (80, 1000, 64)):
        A, B = rng.standard_normal((rows, inner)), rng.standard_normal((columns, inner))
        for n_terms in (1, 2):
            out, bias = aligned_zeros((rows, columns), np.float32), rng.standard_normal(columns).astype(np.float32)
            engine.entries.run_tiles(
                UNITS[unit], n_terms, packed(A, n_terms, False), packed(B, n_terms, True), bias, out,
                aligned_zeros(TILE_SCRATCH, np.float32),
            )  # fmt: skip
            left, right = (
                [term.view(np.float32).astype(float) for term in terms_of(matrix.astype(np.float32), n_terms)]
                for matrix in (A, B)
            )
            expected = bias + sum(a @ b.T for i, a in enumerate(left) for j, b in enumerate(right) if i + j < n_terms)
            np.testing.assert_allclose(out, expected, atol=2e-5 * np.sqrt(inner))


@pytest.mark.exhaustive
def test_the_engine_with_a_model_of_amx(tmp_path):
    """The parity tests of Numba's engine, whose source is Cython's too, in tiles."""
    if "numba" not in COMPILED:
        pytest.skip("Numba is not installed")
    tests = Path(__file__).with_name("test_matmul_precision.py")
    # With -P the checkout, in which this may run, does not hide the installed package.
    command = [sys.executable, "-P", "-m", "pytest", "-q", "-p", "tile_model", "-p", "no:cacheprovider", str(tests)]
    folders = [str(tests.parents[1] / "support"), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(folders)}
    done = subprocess.run([*command, "-k", "numba"], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
    assert " passed" in done.stdout


AMX_FLAGS = frozenset({"amx_tile", "amx_bf16", "avx512_bf16"})
# Flags of the processor, FASTMLP_AMX, whether the system permits AMX, whether AVX512_BF16 is the faster unit:
# the unit, and what the description says.
CHOICES = {
    "nothing": (frozenset(), None, True, True, FLOAT_UNIT, "medium precision in float32 (this processor has no AMX)"),
    "amx": (AMX_FLAGS, None, True, True, AMX_UNIT, "medium precision on AMX"),
    "turned off": (AMX_FLAGS, "0", True, True, BFLOAT16_UNIT, "with AVX512_BF16 (FASTMLP_AMX=0 turns AMX off)"),
    "refused": (AMX_FLAGS, None, False, True, BFLOAT16_UNIT, "with AVX512_BF16 (the system does not permit AMX)"),
    "avx512_bf16": (frozenset({"avx512_bf16"}), None, True, True, BFLOAT16_UNIT, "with AVX512_BF16 (this processor"),
    "slow": (frozenset({"avx512_bf16"}), None, True, False, FLOAT_UNIT, "has no AMX, and AVX512_BF16 is slower)"),
}  # fmt: skip


def engine_with_tiles(multiplies_tiles=True, vector_bytes=64):
    """An engine that chooses its unit anew, whatever this processor has."""
    return registry.choose(COMPILED[0]).kernels._contract.engine._replace(
        vector_bytes=vector_bytes, entries=SimpleNamespace(multiplies_tiles=multiplies_tiles),
        matrix_unit=matrix_unit.choose,
    )  # fmt: skip


@pytest.mark.parametrize("case", CHOICES)
def test_the_unit_is_chosen(case, monkeypatch):
    flags, switch, permitted, faster, unit, text = CHOICES[case]
    monkeypatch.setattr(matrix_unit, "processor_flags", lambda: flags)
    monkeypatch.setattr(matrix_unit, "is_permitted", lambda: permitted)
    monkeypatch.setattr(matrix_unit, "_is_faster", lambda engine: faster)
    monkeypatch.delenv("FASTMLP_AMX", raising=False)
    if switch is not None:
        monkeypatch.setenv("FASTMLP_AMX", switch)
    engine = engine_with_tiles()
    assert matrix_unit.choose(engine) == unit
    network = Network((100, 100, 10), ("relu", "identity"), "squared_error", matmul_precision="medium")
    assert text in matrix_unit.describe(engine, network, 100) and plan.unit_for(engine, network, 100) == unit
    assert plan.unit_for(engine, network, 1) == FLOAT_UNIT
    assert ("too small" in matrix_unit.describe(engine, network, 1)) == (unit != FLOAT_UNIT)
    assert matrix_unit.describe(engine, network._replace(matmul_precision="highest"), 100) == ""


# What an engine lacks: the text of its description.
LACKING = {
    "the C compiler that built the engine": {"multiplies_tiles": False},
    "to instructions without AVX-512": {"vector_bytes": 32},
}


@pytest.mark.parametrize("flags", [AMX_FLAGS, frozenset({"avx512_bf16"}), frozenset()])
@pytest.mark.parametrize("why", LACKING)
def test_an_engine_that_lacks_tiles_multiplies_in_float32(why, flags, monkeypatch):
    """Its functions for tiles may do nothing, in C and in Numba: they are neither chosen nor probed."""
    for name, result in {"processor_flags": flags, "is_permitted": True}.items():
        monkeypatch.setattr(matrix_unit, name, lambda result=result: result)
    engine = engine_with_tiles(**LACKING[why])
    network = Network((100, 100, 10), ("relu", "identity"), "squared_error", matmul_precision="medium")
    assert plan.unit_for(engine, network, 100) == FLOAT_UNIT
    text = matrix_unit.describe(engine, network, 100)
    assert text.startswith("medium precision in float32 (")
    assert (why in text) == bool(flags)


def test_the_system_is_asked_for_amx():
    """Asking does no harm where there is no AMX; where there is, a system, such as a sandbox, may refuse."""
    assert matrix_unit.is_permitted() in ({True, False} if "amx_tile" in matrix_unit.processor_flags() else {False})
