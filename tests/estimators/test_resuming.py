"""A fit of an estimator that is resumed from any of its checkpoints has the results of an unbroken one, bit for bit."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy.sparse import csr_array
from sklearn.datasets import load_iris
from sklearn.model_selection import train_test_split
from test_damaged_files import rewrite
from test_interruption import AfterReads

import fastmlp
from fastmlp import (
    Checkpoint,
    MLPClassifier,
    MLPEnsembleClassifier,
    MLPEnsembleRegressor,
    MLPRegressor,
    make_loss,
    make_optimizer,
    make_schedule,
)
from fastmlp.kernels.rules import OPTIMIZERS
from fastmlp.training.trainer import Trainer

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:.*targets:UserWarning"),
]
X, X_held, LABELS, LABELS_held = train_test_split(*load_iris(return_X_y=True), random_state=0)
RNG = np.random.default_rng(0)
WEIGHT = RNG.random(len(X))
BY_TARGET = RNG.random((len(X), 2))
LOGITS = np.c_[np.sin(X[:, :1]), X[:, 1:2] * X[:, 2:3]]
Y = {"classes": np.array(["setosa", "versicolor", "virginica"])[LABELS], "two": LABELS > 0, "numbers": LOGITS[:, 0],
     "columns": LOGITS, "multilabel": np.c_[LABELS > 0, LABELS > 1]}  # fmt: skip
MISSING = np.where(RNG.random(LOGITS.shape) < 0.2, np.nan, LOGITS)
SMALL = {"hidden_layer_sizes": (6,), "batch_size": 16, "max_iter": 9, "random_state": 0, "learning_rate_init": 0.02}
STOPPING = {"early_stopping": True, "n_iter_no_change": 2, "max_iter": 40, "learning_rate_init": 0.1}
CURVES = (
    "n_iter_", "t_", "loss_", "loss_curve_", "best_loss_", "validation_scores_", "best_validation_score_",
    "evals_result_", "_initial_rate", "classes_", "backend_",
)  # fmt: skip


class Halved(fastmlp.Callback):
    """Changes the learning rate and a parameter, and stops the fit."""

    def after_epoch(self, model, epoch, results):
        training = model._net.training
        training.optimizer = training.optimizer._replace(learning_rate=training.optimizer.learning_rate / 2)
        model.tol = epoch * 1e-6
        return epoch == 7


def case(target, parameters=None, **arguments):
    return target, {**SMALL, **(parameters or {})}, arguments


EVALUATION = {
    "eval_set": [(X_held, LABELS_held), (X[:20], LABELS[:20], WEIGHT[:20])],
    "eval_metric": ["accuracy", "neg_loss"],
}
CASES = {
    "adam": case("classes"),
    "two classes": case("two", {"alpha": 0.1, "l1": 0.01}),
    "multilabel": case("multilabel", {"activation": ["prelu"]}),
    "regressor": case("columns", {"hidden_layer_sizes": (5, 5, 5), "skip": 2}),
    "float32": case("numbers", {"dtype": "float32", "shuffle": False}),
    "momentum": case("classes", {"solver": "sgd"}),
    "invscaling": case("classes", {"solver": "sgd", "learning_rate": "invscaling"}),
    "adaptive": case("classes", {"solver": "sgd", "learning_rate": "adaptive", "tol": 0.5, "n_iter_no_change": 1}),
    "no improvement": case("classes", {"tol": 0.01, "n_iter_no_change": 1, "max_iter": 60, "learning_rate_init": 0.1}),
    "warm-up": case("classes", {"learning_rate": make_schedule("cosine", epochs=9, warmup_epochs=2.5)}),
    "plateau": case("numbers", {"learning_rate": make_schedule("reduce_on_plateau", patience=1, min_delta=0.1)}),
    "early stopping": case("classes", STOPPING),
    "early stopping by loss": case("numbers", STOPPING | {"loss": "huber", "scale": "standard"}),
    "early stopping by a set": case("numbers", STOPPING, eval_set=(X_held, np.sin(X_held[:, 0]))),
    "stratified": case("two", STOPPING | {"validation_fraction": 0.3}),
    "sets": case("numbered", None, **EVALUATION),
    "dropout and noise": case("classes", {"dropout": 0.2, "input_dropout": 0.1, "input_noise": 0.1, "batch_size": 9}),
    "class weights": case("classes", {"class_weight": "balanced"}, sample_weight=WEIGHT),
    "weights of targets": case("columns", {"scale": "standard"}, sample_weight=BY_TARGET),
    "missing targets": case("missing", {"missing_targets": "ignore"}),
    "quantiles": case("numbers", {"loss": make_loss("quantile", quantile=[0.1, 0.9])}),
    "numba": case("classes", {"backend": "numba"}),
    "numpy": case("classes", {"backend": "numpy"}),
    "sparse": case("sparse", {"max_iter": 4}),
    "optimizer": case("classes", {"solver": make_optimizer("adamw", 0.02, weight_decay=0.1, clip_norm=0.5)}),
    "a generator": case("classes", {"random_state": np.random.RandomState(3), **STOPPING}),
    "callbacks": case("classes", None, callbacks=[Halved()]),
    **{f"solver {name}": case("classes", {"solver": make_optimizer(name)}) for name in OPTIMIZERS},
}  # fmt: skip
DATA = {"numbered": (X, LABELS), "missing": (X, MISSING), "sparse": (csr_array(X * (X > 2)), Y["classes"])}


def new(target, parameters):
    kind = MLPRegressor if target in ("numbers", "columns", "missing") else MLPClassifier
    given = parameters["random_state"]
    if isinstance(given, np.random.RandomState):
        parameters = parameters | {"random_state": np.random.RandomState(3)}
    return kind(**parameters)


def assert_same(found, expected):
    for name in CURVES:
        assert hasattr(found, name) == hasattr(expected, name), name
        if hasattr(found, name):
            assert_same_values(getattr(found, name), getattr(expected, name), name)
    net, whole = found._net, expected._net
    assert_array_equal(net.parameters, whole.parameters)
    assert_array_equal(net.training.slots, whole.training.slots)
    assert net.training.optimizer == whole.training.optimizer
    assert (net.training.step, net.training.order) == (whole.training.step, None)
    assert net.progress.stalled == whole.progress.stalled
    assert found.get_params().keys() == expected.get_params().keys()
    assert found.tol == expected.tol
    assert_array_equal(found._random_state.get_state()[1], expected._random_state.get_state()[1])
    assert found._ongoing is expected._ongoing is None


def assert_same_values(found, expected, name):
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key in expected:
            assert_same_values(found[key], expected[key], f"{name}[{key}]")
    else:
        assert_array_equal(found, expected, err_msg=name)


class Files(Checkpoint):
    """Keeps the content of every checkpoint: several within each epoch, one after it, and one after the fit."""

    def __init__(self, path):
        super().__init__(path, seconds=1e-9)
        self.contents = []

    def keep(self):
        self.contents.append(self.path.read_bytes())

    def _save(self, model):
        super()._save(model)
        self.keep()

    def after_fit(self, model, error):
        super().after_fit(model, error)
        if error is None:
            self.keep()


@pytest.fixture
def small_chunks(monkeypatch):
    """An epoch of several chunks."""
    monkeypatch.setattr("fastmlp.training.epochs.ChunkSize.update", lambda *call: None)
    monkeypatch.setattr("fastmlp.training.epochs.FIRST_CHUNK_FLOPS", 0)


def places(contents):
    """Within and after the first epoch, after the last ones and the fit, and some of the others."""
    n = len(contents)
    return sorted({0, 1, 5, 6, 7, *range(max(0, n - 3), n), *range(0, n, max(1, n // 7))} & {*range(n)})


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.exhaustive] * (name == "numba")) for name in CASES]
)
def test_resumed_from_every_kind_of_place(tmp_path, small_chunks, name):
    target, parameters, arguments = CASES[name]
    data, arguments = DATA.get(target) or (X, Y[target]), dict(arguments)
    callbacks = arguments.pop("callbacks", [])
    files = Files(tmp_path / "m")
    whole = new(target, parameters).fit(*data, **arguments, callbacks=[files, *callbacks])
    assert_same(new(target, parameters).fit(*data, **arguments, callbacks=callbacks), whole)
    for place in places(files.contents):
        (tmp_path / "m").write_bytes(files.contents[place])
        resumed = new(target, parameters)
        resumed.fit(*data, **arguments, callbacks=callbacks, resume_from=tmp_path / "m")
        if place == len(files.contents) - 1:  # the result has ended
            assert_array_equal(resumed._net.parameters, whole._net.parameters)
            assert_same_values(resumed.loss_curve_, whole.loss_curve_, "loss_curve_")
            continue
        assert_same(resumed, whole)


BLOCKS = [(X[start : start + 30], Y["classes"][start : start + 30]) for start in range(0, len(X), 30)]


def fit_stream(model, **arguments):
    return model.fit_stream(BLOCKS, np.unique(Y["classes"]), shuffle_blocks=2, **arguments)


@pytest.mark.parametrize("more", [{}, {"scale": "standard", "dropout": 0.1, "shuffle": False}, STOPPING], ids=str)
def test_a_stream(tmp_path, small_chunks, more):
    parameters = SMALL | more
    sets = {"eval_set": (X_held, np.array(["setosa", "versicolor", "virginica"])[LABELS_held])} if more else {}
    files = Files(tmp_path / "m")
    whole = fit_stream(MLPClassifier(**parameters), callbacks=files, **sets)
    for place in places(files.contents)[:-1]:
        (tmp_path / "m").write_bytes(files.contents[place])
        assert_same(fit_stream(MLPClassifier(**parameters), resume_from=tmp_path / "m", **sets), whole)
    with pytest.raises(ValueError, match="that of a fit to other data"):
        MLPClassifier(**parameters).fit_stream(
            BLOCKS[:-1], np.unique(Y["classes"]), shuffle_blocks=2, resume_from=tmp_path / "m", **sets
        )


def test_a_warm_start(tmp_path, small_chunks):
    """Also in a process in which the estimator has not been fitted before."""
    files, parameters = Files(tmp_path / "m"), SMALL | {"warm_start": True, "scale": "standard"}
    whole = MLPClassifier(**parameters).fit(X, Y["classes"]).set_params(alpha=0.1)
    whole.fit(X, Y["classes"], callbacks=files)
    for place in places(files.contents)[:-1]:
        (tmp_path / "m").write_bytes(files.contents[place])
        for other in (MLPClassifier(**parameters), MLPClassifier(**parameters).fit(X[:50], Y["classes"][:50])):
            assert_same(other.set_params(alpha=0.1).fit(X, Y["classes"], resume_from=tmp_path / "m"), whole)


@pytest.mark.parametrize("random_state", [None, np.random.RandomState(5)], ids=["None", "RandomState"])
def test_random_numbers_go_on(tmp_path, random_state):
    """With None the global generator is not touched by the resumed fit, a RandomState goes on as in the first fit."""
    files = Files(tmp_path / "m")
    whole = MLPClassifier(**SMALL | {"random_state": random_state}).fit(X, Y["classes"], callbacks=files)
    after, other = whole._random_state.randint(10**9), None if random_state is None else np.random.RandomState(9)
    resumed, before = MLPClassifier(**SMALL | {"random_state": other}), np.random.get_state()[1].copy()
    (tmp_path / "m").write_bytes(files.contents[7])
    resumed.fit(X, Y["classes"], resume_from=tmp_path / "m")
    assert_array_equal(resumed._net.parameters, whole._net.parameters)
    assert_array_equal(np.random.get_state()[1], before)
    assert resumed._random_state.randint(10**9) == after
    assert resumed._random_state is other or other is None


@pytest.mark.parametrize("reads", [0, 1, 30, 35])
def test_after_ctrl_c(tmp_path, small_chunks, monkeypatch, reads):
    """The estimator has the best weights then, but its checkpoint goes on from the last ones."""
    parameters, path = SMALL | STOPPING, tmp_path / "m"
    whole, cut = MLPClassifier(**parameters).fit(X, LABELS), MLPClassifier(**parameters)
    with monkeypatch.context() as patch, pytest.warns(UserWarning, match="interrupted"):
        patch.setattr("fastmlp.training.trainer.Interruption", lambda: AfterReads(reads))
        cut.fit(X, LABELS, callbacks=Checkpoint(path, every=1000))
    assert cut.n_iter_ < whole.n_iter_
    assert_same(MLPClassifier(**parameters).fit(X, LABELS, resume_from=path), whole)
    loaded = fastmlp.load(path)
    assert_array_equal(loaded._net.parameters, cut._net.parameters)
    assert loaded._net.training.order is None


def test_interrupted_many_times(tmp_path):
    """Each part of the fit writes checkpoints and is ended by an error two epochs later."""
    path, keep, parameters = tmp_path / "m", Checkpoint(tmp_path / "m"), SMALL | {"dropout": 0.1, "max_iter": 20}
    whole, begun, epochs = MLPClassifier(**parameters).fit(X, LABELS), None, []

    def fail(model, epoch, results):
        epochs.append(epoch)
        if len(epochs) % 3 == 0:
            raise MemoryError

    for _ in range(11):
        model = MLPClassifier(**parameters)
        try:
            model.fit(X, LABELS, callbacks=[keep, fail], resume_from=begun)
            break
        except MemoryError:
            begun = path
    assert epochs == [*range(1, 4), *(epoch for first in range(3, 19, 2) for epoch in range(first, first + 3)), 19, 20]
    assert_same(model, whole)


def test_max_iter_may_be_raised(tmp_path):
    files = Files(tmp_path / "m")
    MLPClassifier(**SMALL).fit(X, LABELS, callbacks=files)
    whole = MLPClassifier(**SMALL | {"max_iter": 20}).fit(X, LABELS)
    longer = MLPClassifier(**SMALL | {"max_iter": 20, "n_jobs": 1, "verbose": True})
    for content in files.contents[-2], files.contents[10]:
        (tmp_path / "m").write_bytes(content)
        assert_array_equal(longer.fit(X, LABELS, resume_from=tmp_path / "m").coefs_[0], whole.coefs_[0])
    (tmp_path / "m").write_bytes(files.contents[-1])
    with pytest.raises(ValueError, match="has ended after max_iter=9 iterations: load the estimator"):
        longer.fit(X, LABELS, resume_from=tmp_path / "m")


def test_max_iter_may_not_be_changed_if_the_rate_follows_it(tmp_path):
    model = MLPClassifier(**SMALL | {"learning_rate": "cosine"})
    cut_short(tmp_path / "m", model)
    with pytest.raises(ValueError, match="learning_rate='cosine' depends on max_iter, which is 9 in the checkpoint"):
        model.set_params(max_iter=20).fit(X, LABELS, resume_from=tmp_path / "m")


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_a_fit_that_has_ended_returns_its_result(tmp_path, solver):
    """Nothing is trained; callbacks are told of the end only."""
    parameters, calls = SMALL | {"solver": solver, "early_stopping": True}, []
    whole = MLPClassifier(**parameters).fit(X, LABELS, callbacks=Checkpoint(tmp_path / "m"))
    again, copy = MLPClassifier(**parameters), Checkpoint(tmp_path / "copy")
    for path in ("m", "copy"):
        assert again.fit(X, LABELS, resume_from=tmp_path / path, callbacks=[lambda *c: calls.append(c), copy]) is again
        assert_array_equal(again.predict_proba(X), whole.predict_proba(X))
        assert (again.n_iter_, calls) == (whole.n_iter_, [])


class Failure(Exception):
    pass


def cut_short(path, model, data=(X, LABELS), **arguments):
    def fail(model, epoch, results):
        if epoch == 3:
            raise Failure

    with pytest.raises(Failure):
        model.fit(*data, **arguments, callbacks=[fail, Checkpoint(path)])


OTHER = {
    "hidden layers": ({"hidden_layer_sizes": (7,)}, {}, r"hidden_layer_sizes=\(6,\), but the estimator \(7,\)"),
    "rate": ({"learning_rate_init": 0.5}, {}, "learning_rate_init=0.02, but the estimator 0.5"),
    "seed": ({"random_state": 1}, {}, "random_state=0, but the estimator 1"),
    "loss": ({"loss": (lambda p, t: p - t, lambda p, t: 1.0)}, {}, "the checkpoint has loss='cross_entropy'"),
    "epochs": ({"max_iter": 1}, {}, "max_iter=1, but the checkpoint is that of 2 iterations"),
    "X": ({}, {"X": X + 1}, "to other data: X, y, sample_weight or evaluation sets differ"),
    "order": ({}, {"X": X[::-1], "y": LABELS[::-1]}, "to other data"),
    "float32": ({}, {"X": X.astype(np.float32)}, "to other data"),
    "columns": (
        {},
        {"X": X[:, :3], "eval_set": (X_held[:, :3], LABELS_held)},
        r"layer sizes \(4, 6, 3\), but .* another one, of \(3, 6, 3\)",
    ),
    "names of classes": ({}, {"y": LABELS + 1}, "to other data"),
    "classes": ({}, {"y": LABELS > 0}, r"another one, of \(4, 6, 1\)"),
    "weights": ({}, {"sample_weight": WEIGHT}, "to other data"),
    "sets": ({}, {"eval_set": (X_held[1:], LABELS_held[1:])}, "to other data"),
    "no sets": ({}, {"eval_set": None}, "to other data"),
    "metric": ({}, {"eval_metric": "neg_log_loss"}, "to other data"),
}


@pytest.mark.parametrize("what", OTHER)
def test_another_fit_is_refused_and_changes_nothing(tmp_path, what):
    parameters, arguments, message = OTHER[what]
    given = {"X": X, "y": LABELS, "eval_set": (X_held, LABELS_held)}
    cut_short(tmp_path / "m", MLPClassifier(**SMALL), (X, LABELS), eval_set=given["eval_set"])
    for fitted in (False, True):
        model = MLPClassifier(**SMALL | parameters)
        if fitted and what != "loss":
            model.fit(X[:60], LABELS[:60])
        before, content = dict(vars(model)), (tmp_path / "m").read_bytes()
        calls = [lambda *call: pytest.fail("training began")]
        with pytest.raises(ValueError, match=message):
            model.fit(**given | arguments, callbacks=[*calls, Checkpoint(tmp_path / "m")], resume_from=tmp_path / "m")
        assert vars(model) == before
        assert (tmp_path / "m").read_bytes() == content


def test_what_is_no_checkpoint_is_refused(tmp_path):
    model, path = MLPClassifier(**SMALL), tmp_path / "m"
    with pytest.raises(FileNotFoundError):
        model.fit(X, LABELS, resume_from=path)
    model.fit(X, LABELS).save(path)
    with pytest.raises(ValueError, match="no checkpoint that a fit can be resumed from: it was saved after a fit"):
        model.fit(X, LABELS, resume_from=path)
    MLPRegressor(**SMALL).fit(X, LABELS, callbacks=Checkpoint(path))
    with pytest.raises(ValueError, match="holds a MLPRegressor, not a MLPClassifier"):
        model.fit(X, LABELS, resume_from=path)
    with pytest.raises(TypeError):
        model.fit(X, LABELS, resume_from=3)
    for solver in ("lbfgs", "lm"):
        model = MLPRegressor(**SMALL | {"solver": solver})
        cut_short(path, model, (X, LOGITS[:, 0]))
        with pytest.raises(ValueError, match=f"solver='{solver}' cannot be resumed"):
            model.fit(X, LOGITS[:, 0], resume_from=path)


def test_damaged_places_are_refused(tmp_path):
    path = tmp_path / "m"

    def ongoing(header):
        return header["state"]["dict"]["ongoing"]["dict"]

    def order(header, tensors):
        tensors[ongoing(header)["place"]["dict"]["order"]["tensor"]][0] = 10**6

    def stopped(header, tensors):
        ongoing(header)["place"]["dict"]["stopped"] = "yes"

    def generator(header, tensors):
        ongoing(header)["begun"] = 3

    def params(header, tensors):
        ongoing(header)["params"] = [1]

    for change in (order, stopped, generator, params):
        cut_short(path, MLPClassifier(**SMALL))
        rewrite(path, change)
        with pytest.raises(fastmlp.io.model_files.ModelFileError, match="damaged"):
            MLPClassifier(**SMALL).fit(X, LABELS, resume_from=path)


def test_a_checkpoint_listed_first_has_what_later_callbacks_change(tmp_path):
    """Of an estimator and of an MLP."""
    rates = []

    def halve(model, epoch, results):
        rates.append(fastmlp.load(tmp_path / "m")._net.training.optimizer.learning_rate if epoch > 1 else 0.02)
        model._set_learning_rate(0.02 / 2**epoch)

    whole = MLPClassifier(**SMALL).fit(X, LABELS, callbacks=[Checkpoint(tmp_path / "m"), halve])
    assert rates == [0.02 / 2**epoch for epoch in range(9)]
    assert fastmlp.load(tmp_path / "m")._net.training.optimizer == whole._net.training.optimizer


def test_files_of_estimators_and_their_copies_hold_no_fit(tmp_path):
    """Only those of checkpoints do."""
    kept = []
    model = MLPClassifier(**SMALL)
    model.fit(X, LABELS, callbacks=[lambda model, *given: kept.append(pickle.loads(pickle.dumps(model)))])
    assert "ongoing" not in model.saved_state()
    assert not any("_ongoing" in vars(one) for one in (model, *kept))


class Killed(BaseException):
    """Ends a fit without a last checkpoint, like the end of the process."""


def dies_after(n_saves, monkeypatch):
    """Makes a later checkpoint end the fit."""
    saves = []

    def save(self, model, save=Checkpoint._save):
        if len(saves) == n_saves:
            raise Killed
        saves.append(self.path)
        save(self, model)

    monkeypatch.setattr(Checkpoint, "_save", save)


ENSEMBLES = {
    "adam": (MLPEnsembleClassifier, SMALL | STOPPING | {"dropout": 0.1}),
    "regressor": (MLPEnsembleRegressor, SMALL | {"scale": "standard"}),
    "lbfgs": (MLPEnsembleClassifier, SMALL | {"solver": "lbfgs"}),
}


def ensemble(name, **more):
    kind, parameters = ENSEMBLES[name]
    return kind(kind._kind(**parameters), **{"n_members": 3, "n_jobs": 1, "random_state": 0} | more)


def trained(monkeypatch):
    """A list to which the number of epochs or iterations of every training loop is added."""
    counts = []

    def count(self, *given, train=Trainer._train, **options):
        try:
            return train(self, *given, **options)
        finally:
            counts.append(len(self.losses))

    monkeypatch.setattr(Trainer, "_train", count)
    return counts


@pytest.mark.parametrize("n_saves", [0, 3, 30])
@pytest.mark.parametrize("name", ENSEMBLES)
def test_an_ensemble_goes_on_from_its_folder(tmp_path, small_chunks, monkeypatch, name, n_saves):
    monkeypatch.setattr("fastmlp.estimators.checkpoint_folder.SECONDS", 1e-9)
    folder, whole = tmp_path / "members", ensemble(name).fit(X, LABELS)
    if name != "lbfgs":  # its checkpoints are those of members that are done
        with monkeypatch.context() as patch, pytest.raises(Killed):
            dies_after(n_saves, patch)
            ensemble(name).fit(X, LABELS, checkpoints=folder)
    else:
        ensemble(name).fit(X, LABELS, checkpoints=folder)
        (folder / "member-1.fastmlp").unlink()
    assert (n_saves > 0 or name == "lbfgs") <= len(list(folder.iterdir())) < 3
    resumed = ensemble(name).fit(X, LABELS, checkpoints=folder)
    with monkeypatch.context() as patch:
        counts = trained(patch)
        again = ensemble(name, n_jobs=2).fit(X, LABELS, checkpoints=folder)
    assert counts == []  # all are done
    for found in (resumed, again):
        for one, other in zip(found.members_, whole.members_, strict=True):
            assert_array_equal(one._net.parameters, other._net.parameters)
            assert (one.n_iter_, one.random_state) == (other.n_iter_, other.random_state)
    assert sorted(path.name for path in folder.iterdir()) == [f"member-{n}.fastmlp" for n in range(3)]


def test_members_that_are_done_are_not_trained_again(tmp_path, monkeypatch):
    ensemble("regressor").fit(X, LABELS, checkpoints=tmp_path)
    (tmp_path / "member-2.fastmlp").unlink()
    counts = trained(monkeypatch)
    ensemble("regressor", n_members=4).fit(X, LABELS, checkpoints=tmp_path)
    assert counts == [9, 9]


def test_checkpoints_of_another_ensemble_are_refused(tmp_path):
    whole = ensemble("adam").fit(X, LABELS, checkpoints=tmp_path / "a")
    before = dict(vars(whole))
    for call, message in (
        (lambda: whole.fit(X + 1, LABELS, checkpoints=tmp_path / "a"), "to other data"),
        (lambda: ensemble("adam", random_state=1).fit(X, LABELS, checkpoints=tmp_path / "a"), "random_state="),
        (lambda: ensemble("lbfgs").fit(X, LABELS, checkpoints=tmp_path / "a"), "dropout="),
        (lambda: ensemble("adam", random_state=None).fit(X, LABELS, checkpoints=tmp_path / "b"), "needs an integer"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    assert vars(whole) == before
    assert not (tmp_path / "b").exists()
    with pytest.raises(FileNotFoundError):
        whole.fit(X, LABELS, checkpoints=tmp_path / "none" / "a")
