"""Damaged, invalid and foreign files are refused with one error, and no code of theirs is run."""

import json
import os
import pickle

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file, save_file
from sklearn.datasets import load_iris

import fastmlp
from fastmlp import MLP, MLPClassifier, MLPEnsembleRegressor, MLPRegressor
from fastmlp.cli.table_model import TableModel
from fastmlp.io import model_files as saving
from fastmlp.io.model_files import ModelFileError, encode
from fastmlp.training.windows import StreamPosition

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, y = load_iris(return_X_y=True)


@pytest.fixture
def saved(tmp_path):
    """The file of a model that was interrupted in its third epoch."""
    path = tmp_path / "model.fastmlp"
    original = MLP([(6, "tanh"), (3, "softmax")], "categorical_cross_entropy", random_state=1).fit(X, y, epochs=2)
    original._state.order, original._state.position = np.random.RandomState(0).permutation(150), 64
    original._state.epoch_start = original.parameters.copy()
    original.save(path)
    return path


@pytest.fixture
def saved_estimator(tmp_path):
    path = tmp_path / "estimator.fastmlp"
    MLPClassifier((6,), random_state=np.random.RandomState(0), max_iter=2).fit(X, y).save(path)
    return path


def test_a_truncated_file_is_refused(saved):
    content = saved.read_bytes()
    for length in [*range(0, 400, 7), *range(400, len(content), 97), len(content) - 1]:
        saved.write_bytes(content[:length])
        with pytest.raises(ModelFileError):
            fastmlp.load(saved)


@pytest.mark.parametrize("content", [b"", b"\x80\x04.", b"PK\x03\x04zip", b"\xff" * 100, b"a,b\n1,2\n"])
def test_foreign_files_are_refused(tmp_path, content):
    path = tmp_path / "x"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match="not a model file of fastmlp"):
        fastmlp.load(path)


def test_a_safetensors_file_of_another_program_is_refused(tmp_path):
    save_file({"w": np.zeros(3)}, tmp_path / "x.safetensors")
    with pytest.raises(ModelFileError, match="was not written by fastmlp"):
        fastmlp.load(tmp_path / "x.safetensors")


def test_a_pickle_is_never_run(tmp_path):
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "exploded"),)

    (tmp_path / "bomb").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ModelFileError):
        fastmlp.load(tmp_path / "bomb")
    assert not (tmp_path / "exploded").exists()


def test_a_missing_file_raises_FileNotFoundError(tmp_path):
    with pytest.raises(FileNotFoundError):
        fastmlp.load(tmp_path / "nothing")


def rewrite(path, change):
    """Apply ``change(header, tensors)`` to a saved file."""
    with saving.safe_open(path, framework="numpy") as file:
        header = json.loads(file.metadata()["fastmlp"])
    tensors = load_file(path)
    change(header, tensors)
    save_file(tensors, path, metadata={"fastmlp": json.dumps(header)})


def newer(header, tensors):
    header["version"] = 2


def unknown_kind(header, tensors):
    header["kind"] = "os.system"


def unknown_activation(header, tensors):
    header["state"]["dict"]["layers"] = [{"tuple": [6, "swish"]}, {"tuple": [3, "softmax"]}]


def fewer_parameters(header, tensors):
    parameters = header["state"]["dict"]["training"]["dict"]["parameters"]["tensor"]
    tensors[parameters] = tensors[parameters][:-1]


def other_dtype(header, tensors):
    slots = header["state"]["dict"]["training"]["dict"]["slots"]["tensor"]
    tensors[slots] = tensors[slots].astype("f8")


def lost_entry(header, tensors):
    del header["state"]["dict"]["loss"]


def no_state(header, tensors):
    header["state"] = 3


def unknown_kind_of_value(header, tensors):
    header["state"]["dict"]["alpha"] = {"decimal": "0.1"}


def unknown_settings(header, tensors):
    header["state"]["dict"]["layers"][0]["class"] = "Convolution"


@pytest.mark.parametrize(
    "change, message",
    [
        (newer, "format version 2"),
        (unknown_kind, "holds a os.system, not a known model"),
        (unknown_activation, "swish"),
        (fewer_parameters, "parameters are"),
        (other_dtype, "slots are float64"),
        (lost_entry, "damaged"),
        (no_state, "damaged"),
        (
            unknown_kind_of_value,
            r"written by an incompatible version of fastmlp .it has an unknown kind of value, 'dec",
        ),
        (unknown_settings, r"written by an incompatible version of fastmlp .it holds a 'Convolution'"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_file_with_invalid_content_is_refused(saved, change, message):
    rewrite(saved, change)
    with pytest.raises(ModelFileError, match=message):
        fastmlp.load(saved)


def training(header):
    return header["state"]["dict"]["training"]["dict"]


def in_order(value):
    def change(header, tensors):
        tensors[training(header)["order"]["tensor"]][3] = value

    return change


def in_training(name, value):
    def change(header, tensors):
        training(header)[name] = value

    return change


def random_position(header, tensors):
    header["state"]["dict"]["random_state"]["random_state"]["dict"]["state"]["dict"]["pos"] = 10**6


def random_key(key):
    """A key of the random number generator with the wrong size or type."""

    def change(header, tensors):
        state = header["state"]["dict"]["random_state"]["random_state"]["dict"]["state"]["dict"]
        tensors[state["key"]["tensor"]] = key
        state["pos"] = 100

    return change


def huge_input(header, tensors):
    header["state"]["dict"]["n_inputs"] = 10**9


def list_of_kinds(header, tensors):
    header["kind"] = ["MLP"]


@pytest.mark.parametrize(
    "change",
    [
        in_order(10**9), in_order(-1), in_order(0), in_training("position", -5), in_training("position", 10**6),
        in_training("step", -3), in_training("step", "many"), in_training("epoch", None),
        in_training("loss_sum", "x"), in_training("optimizer", {"tuple": ["adam", 0.1, {"tuple": []}]}),
        in_training("optimizer", {"tuple": ["adam", float("nan"), {"tuple": [0.9, 0.99, 1e-8]}]}),
        in_training("optimizer", {"tuple": ["adagrad", 0.1, {"tuple": []}]}), random_position,
        random_key(np.zeros(2496, np.uint8)), random_key(np.zeros(1000, np.uint32)),
        huge_input,
        list_of_kinds,
    ],
)  # fmt: skip
def test_an_invalid_training_state_is_refused(saved, change):
    """Kernels do not check their arguments: an index out of bounds would crash the process."""
    rewrite(saved, change)
    with pytest.raises(ModelFileError):
        fastmlp.load(saved)


ORDER, LEFT = np.array([2, 0, 1]), np.array([[2, 5], [0, 7]])


@pytest.fixture
def saved_in_a_stream(tmp_path):
    """The file of a model that was interrupted in an epoch of fit_stream."""
    path = tmp_path / "model.fastmlp"
    original = MLP([(6, "tanh"), (3, "softmax")], "categorical_cross_entropy", random_state=1).fit(X, y, epochs=2)
    original._state.order, original._state.position = np.random.RandomState(0).permutation(150)[:128], 64
    original._state.epoch_start = original.parameters.copy()
    original._state.stream = StreamPosition(ORDER, 3, 1, LEFT, 32, 32, 1)
    original.save(path)
    return path


def test_a_position_in_a_stream_is_kept(saved_in_a_stream):
    loaded = fastmlp.load(saved_in_a_stream)
    assert loaded._state.samples_done() == 96
    assert list(map(str, loaded._state.stream)) == list(map(str, (ORDER, 3, 1, LEFT, 32, 32, 1)))
    rewrite(saved_in_a_stream, lambda header, tensors: training(header).pop("stream"))  # as in earlier versions
    rewrite(saved_in_a_stream, in_training("order", None))
    rewrite(saved_in_a_stream, in_training("position", 0))
    assert fastmlp.load(saved_in_a_stream)._state.stream is None


@pytest.mark.parametrize("place, value", [
    (0, np.array([0, 0, 1])), (0, np.array([0.0, 1.0, 2.0])), (0, np.array([-1, 0, 1])), (0, None), (1, -2),
    (1, 2**32), (1, "x"), (2, 4), (2, -1), (3, LEFT[0]), (3, LEFT - 3), (3, LEFT + 1), (3, LEFT.astype(float)),
    (4, -1), (5, 0), (6, 0), (6, None),
])  # fmt: skip
def test_an_invalid_position_in_a_stream_is_refused(saved_in_a_stream, place, value):
    def change(header, tensors):
        content = training(header)["stream"]["tuple"]
        if isinstance(value, np.ndarray):
            tensors[content[place]["tensor"]] = value
        else:
            content[place] = value

    rewrite(saved_in_a_stream, change)
    with pytest.raises(ModelFileError):
        fastmlp.load(saved_in_a_stream)


def more_activations(header, tensors):
    network = header["state"]["dict"]["net"]["dict"]["network"]["tuple"]
    network[1]["tuple"] = ["relu"] * 20 + network[1]["tuple"]


def other_sizes(header, tensors):
    header["state"]["dict"]["net"]["dict"]["network"]["tuple"][0]["tuple"] = [4, 7, 3]


def one_size(header, tensors):
    header["state"]["dict"]["net"]["dict"]["network"]["tuple"][:2] = [{"tuple": [4]}, {"tuple": []}]


def another_width(header, tensors):
    header["state"]["dict"]["net"]["dict"]["network"]["tuple"][0]["tuple"][0] = 1


def fewer_classes(header, tensors):
    classes = header["state"]["dict"]["fitted"]["dict"]["classes_"]["tensor"]
    tensors[classes] = tensors[classes][:2]


def another_loss(header, tensors):
    network = header["state"]["dict"]["net"]["dict"]["network"]["tuple"]
    network[1]["tuple"][-1], network[2] = "exp", "poisson"


@pytest.mark.parametrize(
    "change", [more_activations, other_sizes, one_size, another_width, fewer_classes, another_loss]
)
def test_an_invalid_estimator_is_refused(saved_estimator, change):
    rewrite(saved_estimator, change)
    with pytest.raises(ModelFileError):
        fastmlp.load(saved_estimator)


def test_a_fitted_estimator_of_an_earlier_build_is_refused(tmp_path):
    """Such files have the weights among the attributes of the fit and no network."""

    def of_earlier_build(header, tensors):
        state = header["state"]["dict"]
        for estimator in [member["dict"] for member in state.get("members", [])] or [state]:
            estimator["fitted"]["dict"]["parameters"] = estimator.pop("net")["dict"]["parameters"]

    regressor = MLPRegressor(hidden_layer_sizes=(3,), max_iter=1)
    for model in (MLPClassifier((3,), max_iter=1), regressor, MLPEnsembleRegressor(regressor, n_members=2)):
        model.fit(X, y).save(tmp_path / "model")
        rewrite(tmp_path / "model", of_earlier_build)
        with pytest.raises(
            ModelFileError, match=r"incompatible version of fastmlp .*: fit the model and save it again"
        ):
            fastmlp.load(tmp_path / "model")


def test_sums_of_an_epoch_may_be_integers(saved):
    """They are converted, because the compiled engine requires floats."""
    for name in ("loss_sum", "penalty_sum"):
        rewrite(saved, in_training(name, 10**30))
    resumed = fastmlp.load(saved).fit(X, y, 1)
    assert resumed.epoch == 3
    assert resumed.history["loss"][-1] > 1e25


def test_a_deeply_nested_header_is_refused(saved):
    tensors = load_file(saved)
    save_file(tensors, saved, metadata={"fastmlp": "[" * 10**5 + "]" * 10**5})
    with pytest.raises(ModelFileError):
        fastmlp.load(saved)


def test_a_file_of_another_class_is_refused(saved):
    with pytest.raises(ModelFileError, match="holds a MLP, not a MLPClassifier"):
        MLPClassifier.load(saved)


def content(model):
    """The content of a model file, for comparison."""
    tensors = {}
    state = encode(model.saved_state(), tensors)
    return json.dumps(state), {name: (tensor.dtype.str, tensor.tobytes()) for name, tensor in tensors.items()}


@pytest.mark.parametrize("kind", ["saved", "saved_estimator"])
def test_files_with_one_changed_byte(kind, request):
    path = request.getfixturevalue(kind)
    whole, expected = path.read_bytes(), content(fastmlp.load(path))
    random_state = np.random.RandomState(0)
    refused = 0
    for position in random_state.permutation(len(whole))[:300]:
        damaged = bytearray(whole)
        damaged[position] ^= random_state.randint(1, 256)
        path.write_bytes(damaged)
        try:
            found = fastmlp.load(path)
        except ModelFileError:
            refused += 1
        else:
            assert content(found) == expected
    assert refused > 290


def test_a_damaged_weight_fails_the_checksum(saved):
    damaged = bytearray(saved.read_bytes())
    damaged[-1] ^= 1
    saved.write_bytes(damaged)
    with pytest.raises(ModelFileError, match="is damaged: its content does not match its checksum"):
        fastmlp.load(saved)


def test_a_file_without_a_checksum_loads(saved):
    expected = content(fastmlp.load(saved))
    rewrite(saved, lambda header, tensors: None)
    with saving.safe_open(saved, framework="numpy") as file:
        assert file.metadata().keys() == {"fastmlp"}
    assert content(fastmlp.load(saved)) == expected


def test_the_checksum_does_not_depend_on_byte_order(tmp_path):
    """The checksum is that of the file, whatever the byte order of arrays in memory."""
    estimator = MLPRegressor(hidden_layer_sizes=np.array([3], ">i8"), max_iter=1).fit(X, y)
    estimator.save(tmp_path / "e")
    np.testing.assert_array_equal(fastmlp.load(tmp_path / "e").hidden_layer_sizes, [3])


def fitted_models():
    table = TableModel.create(pd.DataFrame(X).rename(columns=str), "0", random_state=0)
    table.model.build(3)
    yield table, table.model.parameters
    network = MLP([(3, "softmax")], "categorical_cross_entropy").build(4)
    yield network, network.parameters
    for solver in ("adam", "lbfgs"):
        estimator = MLPRegressor(hidden_layer_sizes=(3,), solver=solver, max_iter=1).fit(X, y)
        yield estimator, estimator.coefs_[1]
    ensemble = MLPEnsembleRegressor(MLPRegressor(hidden_layer_sizes=(3,), max_iter=1), n_members=2).fit(X, y)
    yield ensemble, ensemble.members_[1].intercepts_[0]


@pytest.mark.parametrize("number", [np.nan, -np.inf])
def test_weights_that_are_not_finite_are_refused(tmp_path, monkeypatch, number):
    for model, weights in fitted_models():
        path = tmp_path / "model"
        model.save(path)
        whole = path.read_bytes()
        weights.ravel()[1] = number
        with pytest.raises(ValueError, match=r"1 of \d+ parameters are NaN or infinite"):
            model.save(path)
        assert path.read_bytes() == whole
        with monkeypatch.context() as patch:  # like a file of an earlier version
            for module in ("training.state", "estimators.network"):
                patch.setattr(f"fastmlp.{module}.check_finite", lambda parameters: parameters)
            model.save(path)
        with pytest.raises(ModelFileError, match="parameters are NaN or infinite"):
            fastmlp.load(path)
