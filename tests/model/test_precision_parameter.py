"""The parameter ``matmul_precision`` of models, estimators and the command line."""

import json
import pickle
from copy import deepcopy
from runpy import run_path

import numpy as np
import pytest
from click.testing import CliRunner
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine
from sklearn.model_selection import train_test_split

from fastmlp import (
    MLP,
    Embedding,
    Layer,
    MLPClassifier,
    MLPEnsembleRegressor,
    MLPRegressor,
    Plain,
    TabularMLPClassifier,
    TabularMLPRegressor,
    check_gradients,
    fit_many,
    load,
    to_numpy_source,
)
from fastmlp.backends import registry
from fastmlp.cli.main import main
from fastmlp.kernels.reference import contract as reference
from fastmlp.kernels.spec import PRECISIONS, optimizer

RNG = np.random.RandomState(0)
X = RNG.standard_normal((80, 6)).astype("f4")
Y = np.tanh(X[:, 0] * X[:, 1])
LABELS = (Y > 0).astype(int)
REDUCED = ("high", "medium")
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def new(precision="medium", **options):
    return MLP([Layer(12, "tanh"), Layer(1, "identity")], matmul_precision=precision, random_state=0, **options)


def regressor(precision="medium", **options):
    settings = {"hidden_layer_sizes": 12, "activation": "tanh", "max_iter": 3, "batch_size": 16} | options
    return MLPRegressor(matmul_precision=precision, random_state=0, **settings)


def classifier(precision="medium", **options):
    return MLPClassifier((12,), "tanh", matmul_precision=precision, random_state=0, **{"max_iter": 3} | options)


def change(model, **attributes):
    for name, value in attributes.items():
        setattr(model, name, value)


FITTED = new("highest").fit(X, Y, 1)
FITTED_MEDIUM = new("medium").fit(X, Y, 1)
IN_FLOAT64 = regressor("highest", warm_start=True).partial_fit(X.astype("f8"), Y)
REFUSED = {
    "a name": (lambda: new("low"), "matmul_precision must be 'highest', 'high' or 'medium', got 'low'"),
    "none": (lambda: new(None), "matmul_precision must be 'highest', 'high' or 'medium', got None"),
    "a number": (lambda: new(1), "matmul_precision must be .*got 1"),
    "a list": (lambda: new(["high"]), "matmul_precision must be"),
    "later": (lambda: change(FITTED, matmul_precision="low"), "matmul_precision must be .*got 'low'"),
    "bfloat16": (
        lambda: new(dtype="bfloat16"),
        "dtype must be .*got 'bfloat16': use dtype='float32' and matmul_precision='medium'",
    ),
    **{
        f"{precision} in float64": (lambda at=precision: new(at, dtype="float64"), f"{precision!r} requires float32")
        for precision in REDUCED
    },
    **{
        f"{precision} with {solver}": (
            lambda at=precision, by=solver: new(at, optimizer=by),
            f"optimizer {solver!r} computes in float64 and does not support matmul_precision {precision!r}: use",
        )
        for precision in REDUCED
        for solver in ("lbfgs", "lm")
    },
    "lbfgs later": (lambda: change(FITTED_MEDIUM, optimizer="lbfgs"), "'lbfgs' computes in float64"),
    "after lbfgs": (lambda: change(new("highest", optimizer="lbfgs"), matmul_precision="high"), "'lbfgs' computes in"),
    "of a regressor": (
        lambda: regressor("low").fit(X, Y), "'matmul_precision' parameter of MLPRegressor must be a str among",
    ),
    "of a classifier": (lambda: classifier(None).fit(X, LABELS), "'matmul_precision' parameter of MLPClassifier"),
    "regressor in float64": (
        lambda: regressor("high", dtype="float64").fit(X, Y), "matmul_precision 'high' requires float32, got dtype",
    ),
    "classifier in float64": (lambda: classifier(dtype="float64").fit(X, LABELS), "'medium' requires float32"),
    "stream in float64": (lambda: regressor(dtype="float64").fit_stream([(X, Y)]), "'medium' requires float32"),
    "partial_fit in float64": (lambda: regressor(dtype="float64").partial_fit(X, Y), "'medium' requires float32"),
    "warm start in float64": (
        lambda: IN_FLOAT64.set_params(matmul_precision="medium").fit(X, Y),
        "requires float32, but the fitted network is float64, which warm_start and partial_fit keep",
    ),
    "regressor with lbfgs": (lambda: regressor(solver="lbfgs").fit(X, Y), "solver 'lbfgs' computes in float64"),
    "classifier with lbfgs": (lambda: classifier(solver="lbfgs").fit(X, LABELS), "solver 'lbfgs' computes in float64"),
    "regressor with lm": (lambda: regressor("high", solver="lm").fit(X, Y), "solver 'lm' computes in float64"),
    "ensemble": (
        lambda: MLPEnsembleRegressor(regressor(dtype="float64"), n_members=2).fit(X, Y), "'medium' requires float32",
    ),
    "table regressor": (
        lambda: TabularMLPRegressor(matmul_precision="low").fit(X, Y), "matmul_precision must be .*got 'low'",
    ),
    "table classifier": (
        lambda: TabularMLPClassifier(matmul_precision=2).fit(X, LABELS), "matmul_precision must be .*got 2",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(case):
    call, message = REFUSED[case]
    before = [(model.matmul_precision, model.network.matmul_precision) for model in (FITTED, FITTED_MEDIUM)]
    with pytest.raises(ValueError, match=message):
        call()
    assert before == [(model.matmul_precision, model.network.matmul_precision) for model in (FITTED, FITTED_MEDIUM)]
    assert IN_FLOAT64._net.network.matmul_precision == "highest"


def test_highest_is_the_default():
    assert MLP([(1, "identity")]).matmul_precision == "highest"
    for cls in (MLPClassifier, MLPRegressor, TabularMLPClassifier, TabularMLPRegressor):
        assert cls().matmul_precision == "highest"


WAYS = {
    "fit": lambda precision: new(precision).fit(X, Y, 2, 16),
    "fit_stream": lambda precision: new(precision).fit_stream([(X[:40], Y[:40]), (X[40:], Y[40:])], 2, 16),
    "inputs": lambda precision: new(precision, inputs=[Embedding(3, 4), *[Plain()] * 5], input_scale=2.0).fit(
        np.column_stack([LABELS, X[:, 1:]]), Y, 2, 16
    ),
    "estimator": lambda precision: regressor(precision).fit(X, Y),
    "classifier": lambda precision: classifier(precision).fit(X, LABELS),
    "float64 X": lambda precision: regressor(precision).fit(X.astype("f8"), Y),
    "scaled": lambda precision: regressor(precision, scale="standard").fit(X, Y),
    "partial_fit": lambda precision: regressor(precision).partial_fit(X, Y).partial_fit(X.astype("f8"), Y),
    "stream of an estimator": lambda precision: regressor(precision).fit_stream([(X, Y)]),
    "table": lambda precision: TabularMLPRegressor(
        hidden_layer_sizes=16, epochs=2, matmul_precision=precision, random_state=0
    ).fit(X, Y),
}  # fmt: skip


def network_of(model):
    if isinstance(model, (TabularMLPClassifier, TabularMLPRegressor)):
        return model.members_[0].network
    return model.network if isinstance(model, MLP) else model._net.network


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_fit_has_precisions(way):
    """The network has the precision, weights are float32, and predictions are close to those of highest, not equal."""
    fits = {precision: WAYS[way](precision) for precision in PRECISIONS}
    given = np.column_stack([LABELS, X[:, 1:]]) if way == "inputs" else X
    predict = [fit.predict_proba if way == "classifier" else fit.predict for fit in fits.values()]
    highest, high, medium = (np.asarray(function(given), float) for function in predict)
    for precision in REDUCED:
        assert network_of(fits[precision]).matmul_precision == precision
        assert fits[precision].matmul_precision == precision
    if hasattr(fits["medium"], "coefs_"):
        assert fits["medium"].coefs_[0].dtype == fits["high"].coefs_[0].dtype == "float32"
    size = np.abs(highest).max()
    assert 0 < np.abs(high - highest).max() < 3e-3 * size
    assert np.abs(medium - highest).max() < 0.1 * size
    assert np.abs(medium - highest).mean() > 10 * np.abs(high - highest).mean() or way == "float64 X"


def test_estimators_and_models_follow_the_reference():
    """The backend numpy gives what the reference computes for the network of this precision."""
    for precision in PRECISIONS:
        model = new(precision, backend="numpy").fit(X, Y, 1)
        network = model.network._replace(matmul_precision=precision)
        np.testing.assert_array_equal(model.predict(X), reference.forward(network, model.parameters, X))
        made = regressor(precision, backend="numpy").fit(X, Y)
        expected = reference.forward(made._net.network, made._net.parameters, X)
        np.testing.assert_array_equal(made.predict(X), expected[:, 0])


def test_the_precision_of_a_model_can_be_changed_between_fits():
    model = new("highest", backend="numpy").fit(X, Y, 1)
    exact, epoch = model.predict(X), model.epoch
    model.matmul_precision = "medium"
    assert model.network.matmul_precision == "medium"
    assert 0 < np.abs(model.predict(X) - exact).max() < 0.05
    assert model.fit(X, Y, 1).epoch == epoch + 1
    other = new("medium", backend="numpy")
    other.matmul_precision = "highest"
    np.testing.assert_array_equal(other.fit(X, Y, 1).predict(X), exact)


def test_steps_and_passes_have_the_precision_of_the_model():
    model = new("medium", backend="numpy").build(6)
    outputs = model.forward(X)
    np.testing.assert_array_equal(outputs, model.predict(X))
    step = model.compile_step(16)
    model.matmul_precision = "highest"
    with pytest.raises(ValueError, match="layers or matmul_precision of the model have changed since compile_step"):
        step(X[:16], Y[:16, None])
    assert not np.array_equal(model.forward(X), outputs)
    np.testing.assert_array_equal(model.forward(X), model.predict(X))


def test_the_precision_of_an_estimator_can_be_changed_between_fits():
    made = regressor("highest", backend="numpy", warm_start=True, dtype="float32").fit(X, Y)
    exact = made.predict(X)
    made.set_params(matmul_precision="medium")
    np.testing.assert_array_equal(made.predict(X), exact)  # parameters take effect at the next fit
    made.fit(X, Y)
    assert made._net.network.matmul_precision == "medium"
    part = regressor("highest", backend="numpy").partial_fit(X, Y)
    other = deepcopy(part).set_params(matmul_precision="medium").partial_fit(X, Y)
    assert other._net.network.matmul_precision == "medium"
    assert not np.array_equal(other.predict(X), part.partial_fit(X, Y).predict(X))


COPIES = {
    "file": lambda model, folder: (model.save(folder / "m"), load(folder / "m"))[1],
    "pickle": lambda model, folder: pickle.loads(pickle.dumps(model)),
    "deepcopy": lambda model, folder: deepcopy(model),
}


@pytest.mark.parametrize("copied", COPIES)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_copies_keep_the_precision(tmp_path, precision, copied):
    table = TabularMLPRegressor(hidden_layer_sizes=8, epochs=1, matmul_precision=precision, random_state=0)
    for model in (new(precision).fit(X, Y, 1), regressor(precision).fit(X, Y), table.fit(X, Y)):
        again = COPIES[copied](model, tmp_path)
        assert again.matmul_precision == network_of(again).matmul_precision == precision
        np.testing.assert_array_equal(again.predict(X), model.predict(X))
        if not isinstance(model, MLP):
            assert clone(again).matmul_precision == precision


def test_files_of_earlier_versions():
    """A model with dtype 'bfloat16' is medium, any other is highest; a network had a flag in place of the name."""
    for dtype, precision in (("bfloat16", "medium"), ("float32", "highest"), ("float64", "highest")):
        saved = new(precision, dtype="float32" if dtype == "bfloat16" else dtype).fit(X, Y, 1).saved_state()
        del saved["matmul_precision"]
        again = MLP.from_saved_state(saved | {"dtype": dtype})
        assert (again.matmul_precision, again.network.matmul_precision) == (precision, precision)
        assert again.dtype == ("float64" if dtype == "float64" else "float32")
    made = regressor("highest").fit(X, Y)
    saved = made.saved_state()
    del saved["params"]["matmul_precision"]
    place = saved["net"]["network"].index("highest")
    saved["net"]["network"] = (*saved["net"]["network"][:place], False, *saved["net"]["network"][place + 1 :])
    again = MLPRegressor.from_saved_state(saved)
    assert again.matmul_precision == again._net.network.matmul_precision == "highest"
    np.testing.assert_array_equal(again.predict(X), made.predict(X))


def test_damaged_precisions_in_files_are_refused():
    for state in (new().fit(X, Y, 1).saved_state(), TabularMLPRegressor(epochs=1).fit(X, Y).saved_state()["params"]):
        assert "matmul_precision" in state
    with pytest.raises(ValueError, match="matmul_precision must be"):
        MLP.from_saved_state(new().fit(X, Y, 1).saved_state() | {"matmul_precision": "low"})
    saved = regressor().fit(X, Y).saved_state()
    for wrong in ("low", True, 1, None):
        network = tuple(wrong if value == "medium" else value for value in saved["net"]["network"])
        with pytest.raises(ValueError, match="matmul_precision must be"):
            MLPRegressor.from_saved_state(saved | {"net": saved["net"] | {"network": network}})
    double = regressor("highest").fit(X.astype("f8"), Y).saved_state()
    network = tuple("medium" if value == "highest" else value for value in double["net"]["network"])
    with pytest.raises(ValueError, match="'medium' requires float32"):
        MLPRegressor.from_saved_state(double | {"net": double["net"] | {"network": network}})


DATA = {
    "digits": (load_digits, MLPClassifier), "wine": (load_wine, MLPClassifier),
    "breast cancer": (load_breast_cancer, MLPClassifier), "diabetes": (load_diabetes, MLPRegressor),
}  # fmt: skip


@pytest.mark.exhaustive
@pytest.mark.parametrize("data", DATA)
def test_scores_on_bundled_data(data):
    """Over 5 seeds high scores like highest, and medium within half a percentage point."""
    load_data, cls = DATA[data]
    X, y = load_data(return_X_y=True)
    scores = {}
    for precision in PRECISIONS:
        made = [cls(hidden_layer_sizes=64, max_iter=30, scale="standard", dtype="float32", matmul_precision=precision,
                    random_state=seed) for seed in range(5)]  # fmt: skip
        parts = [train_test_split(X, y, random_state=seed) for seed in range(5)]
        scores[precision] = np.mean([
            model.fit(X_train, y_train).score(X_test, y_test)
            for model, (X_train, X_test, y_train, y_test) in zip(made, parts)
        ])  # fmt: skip
    assert abs(scores["high"] - scores["highest"]) < 1e-3
    assert abs(scores["medium"] - scores["highest"]) < 5e-3


def test_gradients_are_checked_without_rounding():
    assert check_gradients(new(backend="numpy"), X[:8], Y[:8]).largest < 1e-6


def test_exports_leave_the_rounding_out(tmp_path):
    models = [new("medium", backend="numpy").fit(X, Y, 1), regressor("medium", backend="numpy").fit(X, Y)]
    for model in models:
        to_numpy_source(model, tmp_path / "exported.py")
        exported = run_path(str(tmp_path / "exported.py"))["predict"](X)
        network = network_of(model)._replace(matmul_precision="highest")
        parameters = model.parameters if isinstance(model, MLP) else model._net.parameters
        np.testing.assert_allclose(np.ravel(exported), reference.forward(network, parameters, X)[:, 0], rtol=1e-5)
        assert np.abs(np.ravel(exported) - np.ravel(model.predict(X))).max() > 1e-5


def test_many_fits_and_ensembles():
    models = [new(precision, backend="numpy") for precision in PRECISIONS]
    assert fit_many(models, X, Y, fit_params={"epochs": 1}) == {}
    for model, precision in zip(models, PRECISIONS):
        np.testing.assert_array_equal(model.predict(X), new(precision, backend="numpy").fit(X, Y, 1).predict(X))
    ensemble = MLPEnsembleRegressor(regressor("high"), n_members=2, random_state=0).fit(X, Y)
    assert {member._net.network.matmul_precision for member in ensemble.members_} == {"high"}


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_unit_that_multiplies_is_reported(precision):
    """In ``backend_reason_`` for the network, by ``fastmlp info`` for large ones, as the backend describes it."""
    model, made = new(precision, backend="cython").fit(X, Y, 1), regressor(precision, backend="cython").fit(X, Y)
    kernels = registry.choose("cython").kernels
    expected, of_large = (
        kernels.describe(model.network, optimizer("adam"), np.dtype("f4"), batch_size) for batch_size in (16, 10**6)
    )
    for description in (expected, of_large):
        assert description == "" if precision == "highest" else description.startswith(f"{precision} precision ")
    assert model.backend_reason_ == made.backend_reason_ == "; ".join(filter(None, ("requested", expected)))
    assert json.loads(CliRunner().invoke(main, ["info", "--json"]).stdout)["matmul_precision"][precision] == of_large
    if precision != "highest":
        assert f"  {of_large}\n" in CliRunner().invoke(main, ["info"]).stdout


@pytest.mark.parametrize("options", [("--plain",), ()])
def test_the_command_line(tmp_path, monkeypatch, options):
    monkeypatch.chdir(tmp_path)
    call = ["train", "iris", "--epochs", "1", "--hidden", "8", "--quiet", "--json", *options]
    result = CliRunner().invoke(main, [*call, "--matmul-precision", "medium"])
    assert json.loads(result.stdout)["rows"], result.output
    found = load(tmp_path / "model.fastmlp")
    model = found.model if options else found.estimator
    assert model.matmul_precision == "medium"
    assert network_of(model).matmul_precision == "medium"
