"""Without the packages of pyproject.toml's extras, and without numba: what works, and the errors of what does not."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from fastmlp import MLP, Layer
from fastmlp.cli.table_model import TableModel
from fastmlp.cli.tables import read_table
from fastmlp.extras import from_extra

ROOT = Path(__file__).parents[2]
OPTIONAL = (
    "click", "dask", "distributed", "jinja2", "matplotlib", "mpi4py", "numba", "onnx", "pandas", "polars", "pyarrow",
    "ray", "skl2onnx", "torch", "tqdm",
)  # fmt: skip
WITHOUT = """
import sys
class Without:
    asked = set()
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {missing}:
            self.asked.add(name)
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
without = Without()
sys.meta_path.insert(0, without)
"""
DATA = """
import json, warnings
import numpy as np
import fastmlp
from fastmlp.tables import TableEncoder
warnings.simplefilter("ignore")
X = np.random.RandomState(0).standard_normal((40, 3))
y, layers = (X[:, 0] > 0).astype(int), [fastmlp.Layer(4, "tanh"), fastmlp.Layer(1, "identity")]
"""


def run(script, *missing, folder):
    command = [sys.executable, "-P", "-c", WITHOUT.format(missing=missing) + script]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def test_fits_files_and_exports_import_no_optional_package(tmp_path):
    script = """
short = fastmlp.MLPClassifier(max_iter=3), fastmlp.MLPRegressor(max_iter=3)
ensembles = fastmlp.MLPEnsembleClassifier(short[0], n_members=2), fastmlp.MLPEnsembleRegressor(short[1])
for model in (*short, *ensembles, fastmlp.Perceptron(max_iter=3), fastmlp.Adaline(max_iter=3)):
    model.fit(X, y)
    model.predict(X)
    if hasattr(model, "save"):
        model.save("m")
        assert (fastmlp.load("m").predict(X) == model.predict(X)).all()
classifier = fastmlp.MLPClassifier(max_iter=2).fit(X, y)
for backend in ("auto", "numpy"):
    model = fastmlp.MLP(layers, backend=backend, random_state=0)
    model.fit(X, y, validation_data=(X, y), patience=3, callbacks=[fastmlp.Checkpoint("m")])
    model.fit_stream([(X, y)])
    model.compile_predict()(X[0].astype(np.float32))
for model in (classifier, fastmlp.load("m")):
    fastmlp.to_c(model, "m.c")
    fastmlp.to_numpy_source(model, "m.py")
    fastmlp.input_gradient(model, X)
fastmlp.from_sklearn(fastmlp.to_sklearn(classifier))
fastmlp.check_gradients(fastmlp.load("m"), X, y)
TableEncoder().fit_transform({"number": X[:, 0], "text": [str(label) for label in y]})
print(*without.asked)
"""
    result = run(DATA + script, *OPTIONAL, folder=tmp_path)
    assert result.returncode == 0, result.stderr
    assert set(result.stdout.split()) <= {"pandas"}  # scikit-learn asks for it


REFUSALS = {  # code that is run without the packages in OPTIONAL: the error message
    "fastmlp.MLP(layers).fit(X, y, progress=True)": "progress bars need tqdm: pip install 'fastmlp[cli]'",
    "fastmlp.MLP(layers).fit_stream([(X, y)], progress=True)": "progress bars need tqdm: pip install 'fastmlp[cli]'",
    "fastmlp.read_blocks('table', 'y')": "read_blocks needs pandas and pyarrow: pip install 'fastmlp[parquet]'",
    "fastmlp.Progress()": "progress bars need tqdm: pip install 'fastmlp[cli]'",
    "fastmlp.load('table')": "reading tables requires pandas: pip install 'fastmlp[cli]'",
    "fastmlp.inspection.plots.plot_activation('tanh')": "plots need matplotlib: pip install 'fastmlp[plot]'",
    "fastmlp.training_report('r', fitted, y, y)": "reports need Jinja2 and matplotlib: pip install 'fastmlp[plot]'",
    "fastmlp.to_onnx(fitted)": "to_onnx needs onnx: pip install 'fastmlp[onnx]'",
    "fastmlp.register_skl2onnx_converters()": "this needs skl2onnx: pip install 'fastmlp[skl2onnx]'",
    "fastmlp.to_torch(fitted)": "this needs the package torch: pip install torch.",
    "__import__('fastmlp.torch')": "fastmlp.torch needs torch: pip install 'fastmlp[torch]'",
    "fastmlp.DataParallel(type('Communicator', (), {'Allreduce': max, 'Get_rank': max}))": "a communicator needs "
    "mpi4py: pip install 'fastmlp[mpi]'",
    "fastmlp.MLP(layers, backend='numba')": "backend 'numba' does not work here: it needs the package numba: "
    "pip install numba. backend='auto' chooses one that works.",
    **dict.fromkeys((
        "fastmlp.MLP([((8, (abs, float))), layers[1]], backend='cython').build(3)",
        "fastmlp.MLP([layers[0], (1, (abs, float))], backend='cython').fit(X, y)",
        "fastmlp.MLPRegressor(activation=(abs, float), backend='cython').fit(X, y)",
        "fastmlp.MLPRegressor(loss=(max, min), backend='cython').fit(X, y)",
    ), "custom activations and losses are compiled by Numba: pip install numba, or take backend='numpy' (slow)"),
}  # fmt: skip


def test_errors_name_the_missing_package(tmp_path):
    table, target, _ = read_table("iris")
    model = TableModel.create(table, target, hidden=(3,))
    model.model.fit(*model.arrays(table), epochs=1)
    model.save(tmp_path / "table")
    script = f"""
import fastmlp.inspection.plots
fitted = fastmlp.MLP(layers).fit(X, y)
for code in {list(REFUSALS)}:
    try:
        print(json.dumps(repr(eval(code))))
    except ImportError as error:
        print(json.dumps(str(error)))
"""
    result = run(DATA + script, *OPTIONAL, folder=tmp_path)
    assert result.returncode == 0, result.stderr
    assert dict(zip(REFUSALS, map(json.loads, result.stdout.splitlines()))) == REFUSALS


def test_a_refused_progress_bar_leaves_the_model_unchanged(monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    model = MLP([Layer(1, "identity")], random_state=0)
    with pytest.raises(ImportError, match="tqdm"):
        model.fit([[0.0], [1.0]], [0, 1], progress=True)
    with pytest.raises(ValueError, match="no weights"):
        model.parameters  # noqa: B018


COMMAND = """
import runpy
sys.argv = ["fastmlp", *{arguments}]
runpy.run_module("fastmlp", run_name="__main__")
"""


@pytest.mark.parametrize(
    ("missing", "arguments", "message"),
    [
        ("click", ["info"], "Error: the command 'fastmlp' needs click, pandas and tqdm: pip install 'fastmlp[cli]'\n"),
        ("pandas", ["train", "iris"], "Error: reading tables requires pandas: pip install 'fastmlp[cli]'\n"),
        ("tqdm", ["train", "iris"], "Error: progress bars need tqdm: pip install 'fastmlp[cli]'\n"),
        ("numba", ["info"], None),
    ],
)
def test_the_command_line_names_missing_packages_in_one_line(missing, arguments, message, tmp_path):
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts == {"fastmlp": "fastmlp.__main__:main"}  # also run by -m
    result = run(COMMAND.format(arguments=arguments), missing, folder=tmp_path)
    if message is None:
        assert result.returncode == 0, result.stderr
        assert "backend numba: does not work: it needs the package numba: pip install numba\n" in result.stdout
    else:
        assert (result.returncode, result.stderr) == (1, message)


@pytest.mark.parametrize(
    "error, message",
    [
        (ModuleNotFoundError("No module named 'onnx'", name="onnx"), "x needs onnx: pip install 'fastmlp[onnx]'"),
        (
            ImportError("libprotobuf.so: no such file", name="onnx.onnx_cpp2py_export"),
            "x needs onnx: pip install 'fastmlp[onnx]' (the import failed with: libprotobuf.so: no such file)",
        ),
        (
            ModuleNotFoundError("No module named 'ml_dtypes'", name="ml_dtypes"),
            "x needs onnx: pip install 'fastmlp[onnx]' (the import failed with: No module named 'ml_dtypes')",
        ),
    ],
)
def test_a_broken_package_is_not_reported_as_missing(error, message):
    with pytest.raises(ImportError) as caught, from_extra("onnx", "x needs onnx"):
        raise error
    assert str(caught.value) == message
    assert caught.value.__cause__ is error
