"""Exports reproduce the predictions: ONNX Runtime, C, plain NumPy."""

import shutil
import subprocess
import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_digits, load_iris, load_wine
from sklearn.exceptions import NotFittedError

from fastmlp import MLP, Layer, MLPClassifier, MLPRegressor, to_c, to_numpy_source, to_onnx, to_torch
from fastmlp.export.expressions import EXPRESSIONS, FORMATS
from fastmlp.kernels.rules import ACTIVATIONS

X = np.random.RandomState(0).standard_normal((40, 5)).astype("f4")
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def randomized(model):
    """Set all parameters, so that biases and slopes are not 0."""
    model.build(5).parameters[:] += np.random.RandomState(0).uniform(-0.2, 0.2, model.n_parameters)
    return model


def mlp(name, **options):
    hidden = [Layer(6, "tanh")] if name == "softmax" else [Layer(6, name), Layer(4, name)]
    out = Layer(3, "softmax") if name == "softmax" else Layer(2, "identity")
    loss = "categorical_cross_entropy" if name == "softmax" else "squared_error"
    model = randomized(MLP([*hidden, out], loss, random_state=0, **options))
    if name == "exp":  # of exp: rounding errors grow with the argument
        model.parameters[:] /= 3
    return model


SKIPS = {
    "weighted": [Layer(6, "gelu"), Layer(4, "prelu", skip=2), Layer(2, "identity", skip=3)],
    "added": [Layer(6, "relu"), Layer(5, "tanh", skip=2, skip_weights=False), Layer(2, "identity")],
}


def named_models(**options):
    """(name, model) for every activation, skip connections, and a network without hidden layers."""
    for name in ACTIVATIONS:
        yield name, lambda name=name: mlp(name, **options)
    for name, layers in SKIPS.items():
        yield name, lambda layers=layers: randomized(MLP(layers, random_state=0, **options))
    yield "linear", lambda: randomized(MLP([Layer(2, "identity")], random_state=0, **options))


NAMES = [name for name, _ in named_models()]


def model_of(name, **options):
    return dict(named_models(**options))[name]()


iris, digits = load_iris(), load_digits()
texts = np.array(["setosa", "versicolor", "virginica"])[iris.target]
SPLICED = chr(92) + chr(10)  # a backslash at the end of a line would continue a C comment
ODD = np.array(["*/ int x; /*", f"*{SPLICED}/ int x; /", 'é "%d" ??/'])
LABELS = {
    "text": texts, "odd": ODD[iris.target], "single": (iris.target + 0.5 > 1).astype("f4"),
    "large": np.array([2**63 - 1, -(2**63), 0])[iris.target], "small": iris.target.astype("i1"),
    "numbers": iris.target + 5, "two": iris.target == 2, "two texts": np.where(iris.target, "b", "a"),
    "two numbers": iris.target // 2 - 7, "floats": iris.target + 1.0, "one": np.zeros(150, int),
    "several": np.column_stack([iris.target == 0, iris.target > 0]).astype(int),
}  # fmt: skip


def classifier(labels, loss="cross_entropy"):
    """A classifier of iris in float32."""
    model = MLPClassifier(hidden_layer_sizes=(7,), loss=loss, max_iter=20, random_state=0)
    return model.fit(iris.data.astype("f4"), LABELS[labels])


def run_onnx(graph, rows):
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs the package onnxruntime")
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    return dict(zip([out.name for out in session.get_outputs()], session.run(None, {"X": rows})))


EXPORTS = {"numpy": to_numpy_source, "c": to_c, "onnx": to_onnx, "torch": to_torch}
NOT_IN_TORCH = {"step", "sign", "piecewise_linear", "arctan", "noisy_relu", "exp"}


@pytest.mark.parametrize("kind", EXPORTS)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_activation_is_exported_or_refused_by_name(name, kind, tmp_path):
    """The outputs of exports are compared below, and in test_torch.py."""
    model = mlp(name)
    if kind in ("onnx", "torch"):
        pytest.importorskip(kind, reason=f"needs the package {kind}")
    if kind == "torch" and name in NOT_IN_TORCH:
        with pytest.raises(ValueError, match=f"'{name}' cannot be exported to torch. Those that can: identity, .*tanh"):
            to_torch(model)
    else:
        assert EXPORTS[kind](model)


@pytest.mark.parametrize("kind", EXPORTS)
def test_a_new_activation_needs_no_expressions(kind, monkeypatch, tmp_path):
    if kind in ("onnx", "torch"):
        pytest.importorskip(kind, reason=f"needs the package {kind}")
    monkeypatch.delitem(EXPRESSIONS, "tanh")
    message = f"'tanh' cannot be exported to {FORMATS[kind]}"
    with pytest.raises(ValueError, match=message):
        EXPORTS[kind](mlp("tanh"), *([] if kind == "torch" else [tmp_path / "file"]))
    assert not list(tmp_path.iterdir())


def test_every_expression_belongs_to_an_activation():
    assert set(EXPRESSIONS) <= set(ACTIVATIONS)


@pytest.mark.parametrize("name", NAMES)
def test_outputs_of_onnx_runtime(name):
    model = model_of(name)
    pytest.importorskip("onnx", reason="needs the package onnx")
    assert_allclose(run_onnx(to_onnx(model), X)["outputs"], model.predict(X), rtol=1e-6, atol=1e-6)


def test_onnx_in_double_precision(tmp_path):
    pytest.importorskip("onnx", reason="needs the package onnx")
    model = MLPRegressor(hidden_layer_sizes=(7, 5), activation="tanh", max_iter=5, random_state=0)
    model.fit(X.astype("f8"), X[:, 0])
    graph = to_onnx(model, tmp_path / "m.onnx")
    assert (tmp_path / "m.onnx").read_bytes() == graph.SerializeToString()
    assert_allclose(run_onnx(graph, X.astype("f8"))["predictions"], model.predict(X.astype("f8")), rtol=1e-12)


@pytest.mark.parametrize("loss", ["cross_entropy", "squared_error"])
@pytest.mark.parametrize("labels", LABELS)
def test_labels_and_probabilities_of_onnx_runtime(labels, loss):
    pytest.importorskip("onnx", reason="needs the package onnx")
    model, rows = classifier(labels, loss), iris.data.astype("f4")
    found = run_onnx(to_onnx(model), rows)
    assert_array_equal(found["labels"], model.predict(rows))
    assert_allclose(found["probabilities"], model.predict_proba(rows), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("columns", [1, 3])
def test_predictions_of_onnx_runtime_have_the_same_shape(columns):
    pytest.importorskip("onnx", reason="needs the package onnx")
    model = MLPRegressor(hidden_layer_sizes=(7,), max_iter=5, random_state=0).fit(X, X[:, :columns].squeeze())
    assert_allclose(run_onnx(to_onnx(model), X)["predictions"], model.predict(X), rtol=1e-6, atol=1e-6)


def compiled(text, folder, name="model", *flags):
    """Compile the self-test of a C file and run it."""
    compiler = shutil.which("cc") or shutil.which("gcc") or pytest.skip("needs a C compiler")
    (folder / "m.c").write_text(text)
    strict = ["-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-pedantic"]
    program = str(folder / "m")
    command = [compiler, *strict, *flags, f"-D{name.upper()}_SELF_TEST", str(folder / "m.c"), "-o", program, "-lm"]
    subprocess.run(command, check=True)
    return subprocess.run([program], capture_output=True, text=True)


@pytest.mark.parametrize("int8", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_a_c_file_passes_its_self_test(tmp_path, name, int8):
    model = model_of(name)
    done = compiled(to_c(model, name="net", int8=int8, test_inputs=X), tmp_path, "net")
    assert done.returncode == 0, done.stdout
    assert done.stdout.startswith("net: largest error ")


def test_the_self_test_can_fail(tmp_path):
    text = to_c(mlp("tanh"), test_inputs=X)
    start = text.index("model_b0[6] = {") + len("model_b0[6] = {")
    assert compiled(text[:start] + "9" + text[start:], tmp_path).returncode == 1


def test_outputs_of_c_equal_those_of_python(tmp_path):
    """The numbers come from a separate program, not from the self-test."""
    model, rows = classifier("text"), iris.data[::7].astype("f4")
    printed = "".join(f"    show((float[]){{{', '.join(f'{x!r}f' for x in map(float, row))}}});\n" for row in rows)
    text = to_c(model, tmp_path / "m.c", name="iris")
    assert text == (tmp_path / "m.c").read_text()
    assert "Classes, from 0 on: 'setosa', 'versicolor', 'virginica'." in text
    (tmp_path / "main.c").write_text(
        '#include "m.c"\n#include <stdio.h>\nstatic void show(const float *x)\n{\n    float y[3];\n'
        '    iris_predict(x, y);\n    printf("%.9g %.9g %.9g %d\\n", y[0], y[1], y[2], iris_class(x));\n}\n'
        f"int main(void)\n{{\n{printed}    return 0;\n}}\n"
    )
    compiler = shutil.which("cc") or pytest.skip("needs a C compiler")
    subprocess.run([compiler, "-std=c99", str(tmp_path / "main.c"), "-o", str(tmp_path / "main"), "-lm"], check=True)
    out = subprocess.run([tmp_path / "main"], capture_output=True, text=True).stdout
    found = np.array([line.split() for line in out.splitlines()], float)
    assert_allclose(found[:, :3], model.predict_proba(rows), rtol=1e-6, atol=1e-6)
    assert_array_equal(model.classes_[found[:, 3].astype(int)], model.predict(rows))


@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("loss", ["cross_entropy", "squared_error"])
def test_c_with_other_labels(tmp_path, labels, loss):
    text = to_c(classifier(labels, loss))
    assert compiled(text, tmp_path).returncode == 0
    assert ("model_class" in text) == (labels != "several")


def test_a_single_class(tmp_path):
    text = to_c(classifier("one"), tmp_path / "m.c")
    (tmp_path / "main.c").write_text('#include "m.c"\nint main(void) { return model_class((float[4]){1, 2, 3, 4}); }\n')
    compiler = shutil.which("cc") or pytest.skip("needs a C compiler")
    subprocess.run([compiler, "-std=c99", str(tmp_path / "main.c"), "-o", str(tmp_path / "main"), "-lm"], check=True)
    assert "Classes, from 0 on: 0." in text
    assert subprocess.run([tmp_path / "main"]).returncode == 0


def test_unscaled_samples_pass_the_self_test(tmp_path):
    """Large numbers cancel in the sums; the tolerance allows for the rounding of float32."""
    wine = load_wine()
    model = MLPClassifier((50,), max_iter=50, random_state=0).fit(wine.data, wine.target)
    done = compiled(to_c(model, test_inputs=wine.data), tmp_path)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("size", [0.0, 1e-50, 2.4e-43, 1e-30, 1e30])
def test_int8_with_tiny_and_with_large_weights(tmp_path, size):
    model = MLP([Layer(2, "identity")], dtype="float64").build(5)
    model.weights[0][:, 0] = size
    model.weights[0][:, 1] = 1
    assert compiled(to_c(model, int8=True), tmp_path).returncode == 0


def test_numbers_beyond_float32():
    model = MLP([Layer(3, "exp")], "poisson", random_state=0).build(5)
    model.parameters[:] += 60
    with pytest.raises(ValueError, match="too large for float32: pass other test_inputs"):
        to_c(model)
    model.parameters[0] = np.nan
    for function in (to_c, to_numpy_source):
        with pytest.raises(ValueError, match="weights are NaN or infinite"):
            function(model)


def test_the_old_file_stays_if_the_new_one_cannot_be_written(tmp_path):
    (tmp_path / "m.c").write_text("old")
    with pytest.raises(ValueError, match="a name in C"):
        to_c(mlp("tanh"), tmp_path / "m.c", name=None)
    assert (tmp_path / "m.c").read_text() == "old"
    with pytest.raises(OSError, match="does not exist"):
        to_numpy_source(mlp("tanh"), tmp_path / "none" / "m.py")


def test_unsupported_labels():
    dates = np.array(["2026-01-01", "2026-01-02"], "datetime64[D]")[iris.target // 2]
    model = MLPClassifier(max_iter=2).fit(iris.data, dates)
    with pytest.raises(ValueError, match="labels must be numbers, booleans or strings"):
        to_numpy_source(model)
    large = np.array([2**64 - 1, 7, 8], np.uint64)[iris.target]
    model = MLPClassifier(max_iter=2).fit(iris.data, large)
    pytest.importorskip("onnx", reason="needs the package onnx")
    with pytest.raises(ValueError, match="ONNX has no labels as large as 18446744073709551615"):
        to_onnx(model)


def test_int8_reports_its_error(tmp_path):
    model = MLPClassifier(hidden_layer_sizes=(32,), max_iter=30, random_state=0)
    model.fit(digits.data.astype("f4") / 16, digits.target)
    whole, eight = (to_c(model, int8=int8, test_inputs=digits.data[:20] / 16) for int8 in (False, True))
    stated = float(eight[eight.index("are off by up to") :].split()[5])
    assert 1e-5 < stated < 0.05
    assert "off by" not in whole
    assert "signed char model_W0[2048]" in eight
    assert compiled(eight, tmp_path).returncode == 0


@pytest.mark.parametrize("wrong", ["", "2net", "my net", "net-1", "a;b"])
def test_invalid_names_in_c(wrong):
    with pytest.raises(ValueError, match="must be a name in C"):
        to_c(mlp("tanh"), name=wrong)


@pytest.mark.parametrize("wrong", [X[:, :3], X[0], X[:0], np.full((2, 5), np.nan)])
def test_invalid_test_inputs(wrong):
    with pytest.raises(ValueError, match=r"test_inputs must be finite numbers of shape \(n_samples, 5\)"):
        to_c(mlp("tanh"), test_inputs=wrong)


def run_sources(texts, folder, rows):
    """[(outputs, predictions)] of each source, in one process that cannot import fastmlp."""
    for i, text in enumerate(texts):
        (folder / f"net{i}.py").write_text(text)
    np.save(folder / "rows.npy", rows)
    code = f"""
import importlib, sys
import numpy as np
rows = np.load("rows.npy")
for i in range({len(texts)}):
    net = importlib.import_module(f"net{{i}}")
    np.save(f"outputs{{i}}", net.outputs(rows))
    np.save(f"predictions{{i}}", net.predict(rows))
assert "fastmlp" not in sys.modules
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=folder, check=True)
    return [[np.load(folder / f"{kind}{i}.npy") for kind in ("outputs", "predictions")] for i in range(len(texts))]


def test_outputs_of_numpy_source(tmp_path):
    for dtype, tolerance in (("float32", 1e-5), ("float64", 1e-12)):
        models = [model_of(name, dtype=dtype) for name in NAMES]
        found = run_sources([to_numpy_source(model) for model in models], tmp_path, X)
        for name, model, (outputs, predictions) in zip(NAMES, models, found):
            assert outputs.dtype == model.dtype
            assert_allclose(outputs, model.predict(X), rtol=tolerance, atol=tolerance / 10, err_msg=name)
            assert_array_equal(predictions, outputs, err_msg=name)


def test_labels_of_numpy_source(tmp_path):
    rows = iris.data.astype("f4")
    models = [classifier(labels, loss) for labels in LABELS for loss in ("cross_entropy", "squared_error")]
    texts = [to_numpy_source(model, tmp_path / "saved.py") for model in models]
    assert (tmp_path / "saved.py").read_text() == texts[-1]
    for model, (_, found) in zip(models, run_sources(texts, tmp_path, rows)):
        assert_array_equal(found, model.predict(rows))
        assert found.dtype == model.predict(rows).dtype


def test_unsupported_objects():
    for function in (to_onnx, to_c, to_numpy_source):
        with pytest.raises(TypeError, match="model must be an MLP, MLPClassifier or MLPRegressor, got object"):
            function(object())
        with pytest.raises(ValueError, match="no weights yet"):
            function(MLP([Layer(1, "identity")]))
        for unfitted in (MLPClassifier(), MLPRegressor()):
            with pytest.raises(NotFittedError):
                function(unfitted)


def test_custom_activations_cannot_be_exported():
    def square(z):
        return z * z

    def slope(z):
        return 2 * z

    model = MLP([Layer(3, (square, slope)), Layer(1, "identity")], backend="numpy").build(5)
    with pytest.raises(ValueError, match="custom activation 'square' cannot be exported"):
        to_numpy_source(model)


def test_error_without_the_package_onnx(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r"pip install 'fastmlp\[onnx\]'"):
        to_onnx(mlp("tanh"))
