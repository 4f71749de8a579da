"""Every entry of a model file has its type: a file with another is refused, or loads as a model that works."""

import copy
import warnings
from pathlib import Path

import pytest

import fastmlp
from fastmlp.io.model_files import ModelFileError
from fastmlp.training.stopping import PatienceState
from fastmlp.validation.entries import checked_record, is_a
from saved_models import MODELS, OTHERS, TENSORS, places, put, read_entries, use, write_entries

FOLDER = Path(__file__).parent / "versions" / "0.1.0"


def load_changed(name, place, value, path):
    """Load a file with another value in one place."""
    header, tensors = read_entries(FOLDER / f"{name}.fastmlp")
    header = copy.deepcopy(header)
    put(header, place, value)
    write_entries(path, header, tensors | TENSORS)
    return fastmlp.load(path)


@pytest.mark.exhaustive
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", MODELS)
def test_other_types_are_refused_or_work(name, tmp_path):
    header, _ = read_entries(FOLDER / f"{name}.fastmlp")
    for number, place in enumerate(places(header["state"], ("state",))):
        for value in OTHERS[number % 4 :: 4]:
            try:
                model = load_changed(name, place, value, tmp_path / "changed")
            except ModelFileError:
                continue
            use(model, MODELS[name][1])
            model.save(tmp_path / "again")


FITTED, PARAMS = ("state", "dict", "fitted", "dict"), ("state", "dict", "params", "dict")
TRAINING = ("state", "dict", "training", "dict")


@pytest.mark.parametrize(
    "name, place, value, message",
    [
        ("classifier", (*FITTED, "t_"), {"dict": {}}, "t_ is {}, not int"),
        ("classifier", (*FITTED, "loss_curve_"), "x", r"loss_curve_ is 'x', not list\[float\]"),
        ("classifier", (*FITTED, "evals_result_"), {"dict": {"a": 1}}, "evals_result_ is"),
        ("classifier", (*FITTED, "best_loss_"), "x", r"best_loss_ is 'x', not float \| None"),
        ("classifier", (*PARAMS, "n_jobs"), {"tensor": "vector"}, "n_jobs"),
        ("classifier", (*PARAMS, "backend"), True, "backend"),
        ("classifier", (*PARAMS, "communicator"), "x", "communicator is 'x', not NoneType"),
        ("classifier", (*PARAMS, "hidden_layer_sizes"), {"tuple": [4.5]}, "hidden_layer_sizes is"),
        ("regressor", (*PARAMS, "alpha"), "x", "alpha"),
        ("regressor", ("state", "dict", "net", "dict", "scaling"), [], r"scaling is \[\]"),
        ("ensemble_regressor", (*PARAMS, "n_members"), "x", "n_members"),
        ("ensemble_regressor", ("state", "dict", "members"), {"tuple": []}, "members is"),
        ("network", ("state", "dict", "n_jobs"), {"tensor": "vector"}, "n_jobs must be None"),
        ("network", ("state", "dict", "history"), {"dict": {"loss": ["nan"]}}, "history is"),
        ("network", ("state", "dict", "n_inputs"), None, "both a number of inputs and weights"),
        ("network", (*TRAINING, "plateau"), {"tuple": ["x", 0, 1.0]}, "best is 'x', not float"),
        ("network", (*TRAINING, "epoch_start"), 5, "epoch_start is 5"),
        ("network_with_patience", (*TRAINING, "stopping", "tuple", 5), "x", "stalled is 'x', not int"),
        ("tabular_regressor", (*FITTED, "targets", "dict", "one_dimensional"), {"tensor": "table"}, "one_dimensional"),
        ("table_model", ("state", "dict", "target"), 5, "target is 5, not str"),
        ("table_model", ("state", "dict", "columns"), "x", "columns is 'x'"),
        ("table_model_of_numbers", ("state", "dict", "mean"), "x", "mean must be a number"),
        ("classifier", (*FITTED, "classes_", "array"), ["a", None, "b"], "an array of strings holds something else"),
        ("classifier", (*FITTED, "classes_", "dtype"), "bytes", "is damaged: KeyError"),
        ("classifier", (*PARAMS, "hidden_layer_sizes"), {"tuple": "44"}, "a tuple is not a list"),
        ("network", ("version",), True, "format version True"),
    ],
)  # fmt: skip
def test_an_entry_of_another_type_is_named(name, place, value, message, tmp_path):
    with pytest.raises(ModelFileError, match=message):
        load_changed(name, place, value, tmp_path / "changed")


def test_types():
    assert is_a(1, float) and is_a([1, 0.5], list[float]) and is_a((1, "x"), tuple[int, str])
    assert is_a({"a": [1]}, dict[str, list[int]]) and is_a(None, int | None) and is_a((), tuple[float, ...])
    for value, kind in (
        (True, int), (True, float), (1.0, int), (None, str), ([True], list[int]), ((1,), tuple[int, str]),
        ({1: 2}, dict[str, int]), ((1,), list[int]), ("x", list[str]),
    ):  # fmt: skip
        assert not is_a(value, kind), (value, kind)
    with pytest.raises(ValueError, match=r"n_rows is 1\.5, not int"):
        checked_record(PatienceState("loss", 1.5))


def test_invalid_parameters_are_not_saved(tmp_path):
    for model in (
        fastmlp.MLPRegressor(alpha=-1),
        fastmlp.MLPEnsembleRegressor(n_members=0),
        fastmlp.TabularMLPRegressor(epochs=0),
    ):
        with warnings.catch_warnings(), pytest.raises(ValueError, match="must be"):
            model.save(tmp_path / "model")
    assert not list(tmp_path.iterdir())
