"""Exports of an MLP with an input stage: each kind of column, in each format."""

import runpy
import shutil
import subprocess

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from fastmlp import MLP, Embedding, Layer, OneHot, Periodic, PiecewiseLinear, Plain, to_c, to_numpy_source, to_onnx
from fastmlp.export.input_stage import STAGE

RNG = np.random.RandomState(0)
NUMBERS = np.r_[RNG.randn(6) * 3, 1e9, -50, 0, 1]
CODES = np.array([0, 1, 2, 3, -1, 4, 2.5, 1e9, -0.0, 1])  # of four
# Edges that float32 cannot tell apart.
COLUMNS = {
    "plain": (Plain(), NUMBERS), "one-hot": (OneHot(4), CODES), "embedding": (Embedding(4, 3), CODES),
    "periodic": (Periodic(5, 2, std=3.0), np.clip(NUMBERS, -60, 60)),
    "piecewise": (PiecewiseLinear([-2.5, 0, 1, 1 + 1e-9, 4]), np.clip(NUMBERS, -60, 60)),
}  # fmt: skip
STAGES = {**{name: [name] for name in COLUMNS}, "all": ["plain", *COLUMNS, "plain", "plain"], "skip": [*COLUMNS]}


def network(name, **options):
    """A network with a stage and random parameters, and rows."""
    inputs, columns = zip(*(COLUMNS[column] for column in STAGES[name]))
    scaled = {} if name == "skip" else {"input_scale": 2.0}
    layers = [Layer(4, "tanh"), Layer(2, "identity", **({"skip": 2} if name == "skip" else {}))]
    model = MLP(layers, inputs=inputs, random_state=0, **scaled, **options).build(len(inputs))
    model.parameters[:] += RNG.uniform(-0.2, 0.2, model.n_parameters)
    rows = np.array(columns, model.dtype).T
    return model, np.where(rows > 1e6, 0, rows) if "plain" in STAGES[name] else rows


def test_every_kind_has_expressions():
    assert {spec._column().kind for spec, _ in COLUMNS.values()} == set(STAGE)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", STAGES)
def test_onnx(name, dtype):
    pytest.importorskip("onnx", reason="needs the package onnx")
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs the package onnxruntime")
    model, rows = network(name, dtype=dtype)
    session = onnxruntime.InferenceSession(to_onnx(model).SerializeToString(), providers=["CPUExecutionProvider"])
    tolerance = 1e-5 if dtype == "float32" else 1e-7
    assert_allclose(session.run(None, {"X": rows})[0], model.predict(rows), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", STAGES)
def test_numpy_source(name, dtype, tmp_path):
    model, rows = network(name, dtype=dtype)
    to_numpy_source(model, tmp_path / "net.py")
    net = runpy.run_path(tmp_path / "net.py")
    found = net["outputs"](rows)
    assert found.dtype == model.dtype
    tolerance = 1e-5 if dtype == "float32" else 1e-7
    assert_allclose(found, model.predict(rows), rtol=tolerance, atol=tolerance)
    assert_array_equal(net["predict"](rows), found)


@pytest.mark.parametrize("int8", [False, True])
@pytest.mark.parametrize("name", STAGES)
def test_c(name, int8, tmp_path):
    """The numbers come from a separate program; the self-test runs too."""
    model, rows = network(name)
    to_c(model, tmp_path / "model.c", int8=int8, test_inputs=rows)
    printed = "".join(f"    show((float[]){{{', '.join(f'{float(x)!r}f' for x in row)}}});\n" for row in rows)
    (tmp_path / "main.c").write_text(
        '#include "model.c"\n#include <stdio.h>\nstatic void show(const float *x)\n{\n    float y[2];\n'
        f'    model_predict(x, y);\n    printf("%.9g %.9g\\n", y[0], y[1]);\n}}\nint main(void)\n{{\n{printed}}}\n'
    )
    compiler = shutil.which("cc") or pytest.skip("needs a C compiler")
    build = [compiler, "-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-o", str(tmp_path / "main")]
    subprocess.run([*build, "-DMODEL_SELF_TEST", str(tmp_path / "model.c"), "-lm"], check=True)
    done = subprocess.run([tmp_path / "main"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    subprocess.run([*build, str(tmp_path / "main.c"), "-lm"], check=True)
    out = subprocess.run([tmp_path / "main"], capture_output=True, text=True, check=True).stdout
    found = np.array([line.split() for line in out.splitlines()], float)
    assert_allclose(found, model.predict(rows), rtol=0.1 if int8 else 1e-5, atol=0.1 if int8 else 1e-5)


@pytest.mark.parametrize("name", STAGES)
def test_the_self_test_of_c_has_codes_and_numbers_of_its_own(name, tmp_path):
    compiler = shutil.which("cc") or pytest.skip("needs a C compiler")
    to_c(network(name)[0], tmp_path / "model.c")
    build = [compiler, "-std=c99", "-DMODEL_SELF_TEST", str(tmp_path / "model.c"), "-o", str(tmp_path / "main"), "-lm"]
    subprocess.run(build, check=True)
    assert subprocess.run([tmp_path / "main"], capture_output=True).returncode == 0
