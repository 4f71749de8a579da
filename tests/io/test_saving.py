"""Saving and loading: files are complete, and writing is atomic."""

import copy
import os
import pickle
import stat

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_iris

import fastmlp
from fastmlp import MLP, MLPClassifier, MLPRegressor
from fastmlp.backends import registry
from fastmlp.cli.table_model import TableModel
from fastmlp.kernels.rules import OPTIMIZERS

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, y = load_iris(return_X_y=True)
LAYERS = [(6, "tanh"), (3, "softmax")]


def model(optimizer="adam", **options):
    options = {"loss": "categorical_cross_entropy", "random_state": 1, "alpha": 0.01} | options
    return MLP(LAYERS, optimizer=optimizer, **options)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_fit_resumed_from_a_file_equals_one_without_a_stop(tmp_path, backend, optimizer, dtype):
    path = tmp_path / "model.fastmlp"
    whole = model(optimizer, dtype=dtype, backend=backend).fit(X, y, epochs=7, batch_size=16)
    model(optimizer, dtype=dtype, backend=backend).fit(X, y, epochs=3, batch_size=16).save(path)
    resumed = MLP.load(path).fit(X, y, epochs=4, batch_size=16)
    assert resumed.backend == backend
    np.testing.assert_array_equal(resumed.parameters, whole.parameters)
    np.testing.assert_array_equal(resumed._state.slots, whole._state.slots)
    assert resumed.history == whole.history
    assert resumed.parameters.ctypes.data % 64 == 0


@pytest.mark.parametrize("kind", ["lbfgs", "not built"])
def test_models_without_optimizer_state(tmp_path, kind):
    path = tmp_path / "model.fastmlp"
    original = model("lbfgs" if kind == "lbfgs" else "adam")
    if kind == "lbfgs":
        original.fit(X, y, epochs=3)
    original.save(path)
    loaded = fastmlp.load(path).fit(X, y, epochs=2)
    np.testing.assert_array_equal(loaded.parameters, original.fit(X, y, epochs=2).parameters)


@pytest.mark.parametrize(
    "estimator",
    [
        MLPClassifier(random_state=0, max_iter=3),
        MLPClassifier(random_state=np.random.RandomState(3), hidden_layer_sizes=[4, 4], solver="sgd", max_iter=3),
        MLPClassifier(early_stopping=True, max_iter=4, n_iter_no_change=np.inf),
        MLPClassifier(solver="lbfgs", max_iter=3, hidden_layer_sizes=np.array([3])),
        MLPRegressor(random_state=0, max_iter=3, backend="numba", n_jobs=1),
        MLPRegressor(loss="poisson", max_iter=3, random_state=2),
    ],
    ids=["seed", "random state", "early stopping", "lbfgs", "regressor", "poisson"],
)
@pytest.mark.parametrize("labels", ["numbers", "texts", "objects"])
def test_estimators(tmp_path, estimator, labels):
    names = {"numbers": np.array([3, 5, 9]), "texts": np.array(["a", "bb", "c"])}
    names["objects"] = names["texts"].astype(object)
    target = y if isinstance(estimator, MLPRegressor) else names[labels][y]
    frame = pd.DataFrame(X, columns=list("abcd"))
    estimator.fit(frame, target).save(tmp_path / "e.fastmlp")
    loaded = fastmlp.load(tmp_path / "e.fastmlp")
    assert type(loaded) is type(estimator)
    np.testing.assert_array_equal(loaded.predict(frame), estimator.predict(frame))
    public = {name for name in vars(estimator) if name.endswith("_")}
    assert public == {name for name in vars(loaded) if name.endswith("_")}
    for name in public - {"coefs_", "intercepts_"}:
        np.testing.assert_array_equal(getattr(loaded, name), getattr(estimator, name), err_msg=name)
    if estimator.solver != "lbfgs" and not estimator.early_stopping:
        estimator.partial_fit(frame, target)
        loaded.partial_fit(frame, target)
        np.testing.assert_array_equal(loaded.coefs_[0], estimator.coefs_[0])


def test_every_value_that_scikit_learn_allows_can_be_loaded(tmp_path):
    for params in ({"epsilon": 2.0}, {"solver": "sgd", "momentum": 1.0, "learning_rate_init": 1e-9}, {"beta_1": 0.0}):
        MLPClassifier(max_iter=2, **params).fit(X, y).save(tmp_path / "e.fastmlp")
        assert fastmlp.load(tmp_path / "e.fastmlp").get_params() == MLPClassifier(max_iter=2, **params).get_params()


def test_file_size_does_not_depend_on_the_number_of_samples(tmp_path):
    rows = np.random.RandomState(0).standard_normal((20000, 2))
    MLP([(1, "identity")], random_state=0).fit(rows, rows[:, 0], epochs=1, batch_size=None).save(tmp_path / "m")
    estimator = MLPRegressor(hidden_layer_sizes=(), max_iter=1, random_state=0).fit(rows, rows[:, 0])
    estimator.save(tmp_path / "e")
    assert (tmp_path / "m").stat().st_size < 8000
    assert (tmp_path / "e").stat().st_size < 8000
    assert len(pickle.dumps(estimator)) < 8000


def test_a_model_of_an_unavailable_backend_uses_another(tmp_path, monkeypatch):
    original = model(backend="numba").fit(X, y, epochs=1)
    original.save(tmp_path / "m.fastmlp")
    pickled = pickle.dumps(original)
    registry.why_not.cache_clear()
    monkeypatch.setitem(registry.MODULES, "numba", "no_such_module")
    try:
        for found in (fastmlp.load(tmp_path / "m.fastmlp"), pickle.loads(pickled)):
            assert found.backend == "cython"
            np.testing.assert_allclose(found.predict(X), original.predict(X), rtol=1e-5)
    finally:
        monkeypatch.undo()
        registry.why_not.cache_clear()


def test_parameters_are_aligned_to_cache_lines(tmp_path):
    network, estimator = model().fit(X, y, epochs=1), MLPRegressor(max_iter=1).fit(X, y)
    for original in (network, estimator):
        original.save(tmp_path / "m")
        for found in (original, fastmlp.load(tmp_path / "m"), pickle.loads(pickle.dumps(original))):
            state = found._state if original is network else found._net.training
            assert state.parameters.ctypes.data % 64 == state.slots.ctypes.data % 64 == 0
            parameters = found.parameters if original is network else found._net.parameters
            assert state.parameters is parameters


def test_unfitted_estimators_keep_their_parameters(tmp_path):
    MLPRegressor(alpha=0.25).save(tmp_path / "e.fastmlp")
    assert MLPRegressor.load(tmp_path / "e.fastmlp").get_params() == MLPRegressor(alpha=0.25).get_params()


def test_multilabel_classifier(tmp_path):
    labels = np.column_stack([y == 0, y > 0]).astype(int)
    original = MLPClassifier(max_iter=3).fit(X, labels)
    original.save(tmp_path / "e.fastmlp")
    np.testing.assert_array_equal(fastmlp.load(tmp_path / "e.fastmlp").predict(X), original.predict(X))


def test_a_pickled_model_continues_training(tmp_path):
    original = model().fit(X, y, epochs=2)
    twin = pickle.loads(pickle.dumps(original))
    np.testing.assert_array_equal(twin.fit(X, y).parameters, original.fit(X, y).parameters)


@pytest.mark.parametrize("in_an_epoch", [False, True])
def test_a_memory_mapped_model_predicts_and_trains(tmp_path, in_an_epoch, backend):
    """Between two epochs, and in the middle of one."""
    original = model(backend=backend).fit(X, y, epochs=1)
    if in_an_epoch:
        original._state.order, original._state.position = np.random.RandomState(0).permutation(150), 64
        original._state.epoch_start = original.parameters.copy()
    joblib.dump(original, tmp_path / "model")
    mapped = joblib.load(tmp_path / "model", mmap_mode="r")
    np.testing.assert_array_equal(mapped.predict(X), original.predict(X))
    np.testing.assert_array_equal(mapped.fit(X, y).parameters, original.fit(X, y).parameters)


def test_table_model(tmp_path):
    frame = pd.DataFrame(X, columns=list("abcd")).assign(kind=np.array(["x", "y"])[y % 2], target=y)
    original = TableModel.create(frame, "target", random_state=0)
    original.model.fit(*original.arrays(frame), epochs=2)
    original.save(tmp_path / "t.fastmlp")
    loaded = TableModel.load(tmp_path / "t.fastmlp")
    np.testing.assert_array_equal(loaded.predict(frame), original.predict(frame))


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "model.fastmlp"
    original = model().fit(X, y, epochs=2)
    original._state.order, original._state.position = np.random.RandomState(0).permutation(150), 64
    original._state.epoch_start = original.parameters.copy()
    original.save(path)
    return path


# Saves that fail


def test_a_save_that_fails_leaves_the_old_file(saved, monkeypatch):
    before = saved.read_bytes()

    def disk_full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", disk_full)
    with pytest.raises(OSError, match="No space left"):
        model().fit(X, y, epochs=1).save(saved)
    assert saved.read_bytes() == before
    assert [p.name for p in saved.parent.iterdir()] == [saved.name]


def test_unsupported_values_are_refused_before_anything_is_written(tmp_path):
    with pytest.raises(TypeError, match="cannot hold a object"):
        MLPClassifier(class_weight={"a": object()}).save(tmp_path / "e.fastmlp")
    wide = np.ones(3, np.longdouble)
    if wide.itemsize > 8:
        with pytest.raises(TypeError, match="cannot hold a longdouble"):
            MLPClassifier(hidden_layer_sizes=wide).save(tmp_path / "e.fastmlp")
    assert not list(tmp_path.iterdir())


def test_a_saved_file_has_ordinary_permissions(saved):
    plain = saved.parent / "plain"
    plain.write_text("")
    assert stat.S_IMODE(saved.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


def test_links_are_followed_and_permissions_kept(tmp_path, saved):
    link = tmp_path / "link"
    link.symlink_to(saved)
    saved.chmod(0o600)
    model().fit(X, y, epochs=1).save(link)
    assert link.is_symlink()
    assert stat.S_IMODE(saved.stat().st_mode) == 0o600
    assert fastmlp.load(saved).epoch == 1


def test_folders_and_pipes_are_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(OSError, match="is a folder, device or pipe"):
            model().save(path)
    assert (tmp_path / "pipe").is_fifo()


def test_long_names(tmp_path):
    model().save(tmp_path / ("n" * 255))
    assert fastmlp.load(tmp_path / ("n" * 255)).epoch == 0


class OwnClassifier(MLPClassifier):
    pass


class OwnMLP(MLP):
    pass


def test_subclasses_can_be_pickled_but_not_saved(tmp_path):
    for own in (OwnClassifier(), OwnMLP([(1, "identity")])):
        with pytest.raises(TypeError, match="no subclasses such as Own"):
            own.save(tmp_path / "x")
        assert type(pickle.loads(pickle.dumps(own))) is type(own)
    assert not list(tmp_path.iterdir())


def test_other_random_generators_are_refused(tmp_path):
    with pytest.raises(TypeError, match="cannot hold a RandomState"):
        MLPClassifier(random_state=np.random.RandomState(np.random.PCG64(1))).save(tmp_path / "x")


def test_copying_and_loading_draw_no_random_numbers(saved):
    original = fastmlp.load(saved)
    np.random.seed(0)
    expected = np.random.rand()
    for copy_of in (copy.deepcopy, lambda m: fastmlp.load(saved), lambda m: pickle.loads(pickle.dumps(m))):
        np.random.seed(0)
        copy_of(original)
        assert np.random.rand() == expected


def test_saving_into_a_missing_folder(tmp_path):
    with pytest.raises(FileNotFoundError):
        model().save(tmp_path / "no" / "model.fastmlp")
