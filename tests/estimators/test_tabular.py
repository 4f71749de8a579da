"""TabularMLPClassifier and TabularMLPRegressor: tables as they are."""

import pickle
import threading
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone, is_classifier
from sklearn.utils.estimator_checks import parametrize_with_checks

import fastmlp
from fastmlp import TabularMLPClassifier, TabularMLPRegressor, make_loss
from fastmlp.estimators.tabular import budget, plan
from fastmlp.estimators.tabular.recipe import VARIANTS
from fastmlp.io.model_files import ModelFileError
from fastmlp.training.interruption import Interruption

QUICK = {"epochs": 5, "hidden_layer_sizes": (16,), "random_state": 0}


def table(n=200, seed=0):
    """A frame with a number, a category, a boolean, a date and missing values, and a target that depends on them."""
    rng = np.random.RandomState(seed)
    size, shop, open_ = rng.lognormal(3, 1, n), rng.choice(["Bern", "Rome", "Oslo"], n), rng.rand(n) < 0.5
    day = pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.randint(0, 1000, n), "D")
    y = np.log(size) + 2.0 * (shop == "Rome") - open_ + day.dayofweek.to_numpy() / 3
    frame = pd.DataFrame({"size": size, "shop": shop, "open": open_, "day": day, "constant": 1.0})
    frame.loc[rng.rand(n) < 0.1, "size"] = np.nan
    frame.loc[rng.rand(n) < 0.1, "shop"] = None
    return frame, y


def problem(kind, n=200, seed=0):
    frame, y = table(n, seed)
    return frame, np.where(y > np.median(y), "high", "low") if kind is TabularMLPClassifier else 1000 * y + 5e4


BOTH = pytest.mark.parametrize("kind", [TabularMLPClassifier, TabularMLPRegressor])


WEIGHTS = "rows that are repeated make other batches, and other quantiles of the columns, than weights do"
FAILING = dict.fromkeys(
    ("check_sample_weight_equivalence_on_dense_data", "check_sample_weight_equivalence_on_sparse_data"), WEIGHTS
)


@parametrize_with_checks(
    [TabularMLPClassifier(**QUICK | {"epochs": 20}), TabularMLPRegressor(**QUICK | {"epochs": 60})],
    expected_failed_checks=lambda estimator: FAILING,
)
def test_conformance_with_scikit_learn(estimator, check):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(estimator)


@BOTH
def test_learns_a_frame_as_it_is(kind):
    X, y = problem(kind, 1200)
    test, test_y = problem(kind, 400, seed=1)
    model = kind(epochs=60, hidden_layer_sizes=(32, 32), random_state=0).fit(X, y)
    assert model.score(test, test_y) > (0.9 if is_classifier(model) else 0.85)
    assert list(model.feature_names_in_) == list(X.columns)
    shuffled = test[test.columns[::-1]].drop(columns="constant")
    np.testing.assert_array_equal(model.predict(shuffled), model.predict(test))
    with pytest.raises(ValueError, match="no column 'shop'"):
        model.predict(test.drop(columns="shop"))


@BOTH
def test_same_predictions_for_any_number_of_threads_and_after_saving(kind, tmp_path):
    X, y = problem(kind)
    settings = {**QUICK, "n_members": 3, "n_folds": 2}
    model = kind(**settings, n_jobs=1).fit(X, y)
    assert len(model.members_) == 6
    expected = model.predict_proba(X) if is_classifier(model) else model.predict(X)
    model.save(tmp_path / "model")
    for other in (
        kind(**settings, n_jobs=2).fit(X, y), clone(model).fit(X, y), pickle.loads(pickle.dumps(model)),
        fastmlp.load(tmp_path / "model"),
    ):  # fmt: skip
        found = other.predict_proba(X) if is_classifier(model) else other.predict(X)
        np.testing.assert_array_equal(found, expected)
        np.testing.assert_array_equal(other.oof_prediction_, model.oof_prediction_)
        assert other.score_ == model.score_
    assert fastmlp.load(tmp_path / "model").get_params() == model.get_params()


@BOTH
def test_out_of_fold_predictions_are_those_of_members_that_did_not_see_the_row(kind):
    X, y = problem(kind, 60)
    model = kind(**QUICK, n_folds=3).fit(X, y)
    matrix = model.encoder_.transform(X)
    outputs = np.stack([member.predict(matrix) for member in model.members_])
    found = model.oof_prediction_ if is_classifier(model) else model._targets.encode(model.oof_prediction_)
    for row, own in enumerate(found):
        decoded = (
            outputs[:, row] if is_classifier(model) else model._targets.encode(model._targets.decode(outputs[:, row]))
        )
        assert np.isclose(decoded, own, atol=1e-4).all(axis=1).sum() == 1


def test_intervals_cover_new_rows():
    X, y = problem(TabularMLPRegressor, 600)
    y = y + np.random.RandomState(2).normal(0, 500, len(y))
    test, test_y = problem(TabularMLPRegressor, 1000, seed=1)
    test_y = test_y + np.random.RandomState(3).normal(0, 500, len(test_y))
    model = TabularMLPRegressor(epochs=30, hidden_layer_sizes=(32,), n_folds=4, random_state=0).fit(X, y)
    for coverage in (0.5, 0.9):
        low, high = model.predict_interval(test, coverage)
        assert abs(np.mean((low <= test_y) & (test_y <= high)) - coverage) < 0.06
    with pytest.raises(ValueError, match="n_folds"):
        TabularMLPRegressor(**QUICK).fit(X, y).predict_interval(test)


def test_quantiles_and_several_outputs():
    X, y = problem(TabularMLPRegressor, 600)
    levels = [0.1, 0.5, 0.9]
    model = TabularMLPRegressor(epochs=40, loss=make_loss("quantile", quantile=levels), random_state=0).fit(X, y)
    found = model.predict(X)
    assert found.shape == (600, 3)
    assert model.score(X, y) > 0.3
    with pytest.raises(ValueError, match="not for a list of quantiles"):
        model.predict_interval(X)
    both = TabularMLPRegressor(**QUICK).fit(X, np.column_stack([y, -y]))
    assert both.predict(X).shape == (600, 2)
    with pytest.raises(ValueError, match="list of quantiles"):
        TabularMLPRegressor(loss=make_loss("quantile", quantile=levels)).fit(X, np.column_stack([y, y]))


def test_weights_of_classes_and_samples():
    X, y = problem(TabularMLPClassifier, 400)
    rare = np.where(np.random.RandomState(0).rand(400) < 0.15, "rare", y)
    settings = {"epochs": 20, "hidden_layer_sizes": (16,), "random_state": 0}
    counts = [
        np.mean(TabularMLPClassifier(class_weight=weight, **settings).fit(X, rare).predict(X) == "rare")
        for weight in (None, {"rare": 20})
    ]
    assert counts[1] > counts[0] + 0.2
    weight = (np.arange(400) % 2).astype(float)
    half = TabularMLPClassifier(**settings).fit(X, y, sample_weight=weight)
    other = np.where(weight > 0, y, "low")  # labels of rows without weight play no part
    np.testing.assert_array_equal(TabularMLPClassifier(**settings).fit(X, other, weight).predict(X), half.predict(X))


@BOTH
def test_evaluation_rows_choose_the_epoch(kind):
    X, y = problem(kind, 300)
    model = kind(**{**QUICK, "epochs": 30}).fit(X, y, eval_X=X[:50], eval_y=y[:50])
    (member,) = model.members_
    name = "validation_accuracy" if is_classifier(model) else "validation_loss"
    curve = np.array(member.history[name])
    best = curve.argmax() if is_classifier(model) else curve.argmin()
    assert member.best_epoch == best + 1
    with pytest.raises(ValueError, match="together"):
        kind().fit(X, y, eval_X=X)


@BOTH
def test_a_time_limit_shortens_the_fit(kind):
    X, y = problem(kind, 2000)
    epochs = []
    model = kind(epochs=100_000, n_members=4, time_limit=1.0, random_state=0)
    model.fit(X, y, callbacks=lambda member, epoch, results: epochs.append(epoch))
    assert 1 <= len(model.members_) <= 4
    assert 1 <= len(epochs) < 100_000


@pytest.mark.parametrize(
    ("seconds", "n_members", "n_parts", "expected"),
    [(1000, 4, 1, (100, 4)), (20, 4, 1, (7, 1)), (60, 2, 1, (25, 2)), (200, 1, 5, (21, 1))],
)
def test_a_time_limit_counts_with_the_threads_of_each_member(seconds, n_members, n_parts, expected, monkeypatch):
    """With 4 threads and epochs of 4 seconds in one thread, of 1 in four."""
    clock = [0.0]
    monkeypatch.setattr(budget.time, "perf_counter", lambda: clock[0])

    def measure(variant, n_members):
        clock[0] += 4 / (4 // n_members)
        return 10

    limit = budget.TimeLimit(seconds, measure, n_jobs=4)
    n_epochs, variants = plan.within(limit, 100, [VARIANTS[0]] * n_members, n_parts, 10)
    assert (n_epochs, len(variants)) == expected


def test_the_only_member_that_a_time_limit_leaves_has_all_threads(monkeypatch):
    monkeypatch.setattr(plan, "within", lambda *given: (2, VARIANTS[:1]))
    X, y = problem(TabularMLPRegressor)
    model = TabularMLPRegressor(n_members=4, time_limit=1, n_jobs=3).fit(X, y)
    assert [member.n_jobs for member in model.members_] == [3]


def test_importances_name_the_columns():
    X, y = problem(TabularMLPRegressor, 600)
    model = TabularMLPRegressor(epochs=40, random_state=0).fit(X, y)
    test, test_y = problem(TabularMLPRegressor, 300, seed=1)
    found = model.importances(test, test_y, random_state=0)
    assert set(found) == set(X.columns)
    assert found["constant"] == (0, 0)
    assert list(found)[-1] == "constant"


@pytest.mark.parametrize("names", [[0, 1, 2], [2, 0, 1], [2010, 2011, 2012], ["1", "0", "2"]])
def test_importances_of_columns_whose_names_are_numbers(names):
    """The second column is the one that matters, wherever a table has it."""
    rng = np.random.RandomState(0)
    X = pd.DataFrame(rng.rand(200, 3), columns=names).assign(const=1.0)
    model = TabularMLPRegressor(epochs=20, random_state=0).fit(X, 5 * X[names[1]])
    orders = [names, sorted(names), names[::-1]]
    for columns in orders:
        found = model.importances(X[[*columns, "const"]], 5 * X[names[1]], random_state=0)
        assert next(iter(found)) == str(names[1]) and found["const"] == (0, 0)
    X = X.drop(columns="const")
    model = TabularMLPRegressor(epochs=20, random_state=0).fit(X, 5 * X[names[1]])
    expected = next(iter(model.importances(X, 5 * X[names[1]], random_state=0)))
    assert expected == ("x1" if names == [0, 1, 2] else str(names[1]))
    for columns in orders:
        assert next(iter(model.importances(X[columns], 5 * X[names[1]], random_state=0))) == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "epochs"), ({"n_members": 0}, "n_members"), ({"n_folds": 1}, "n_folds"),
        ({"time_limit": -1}, "time_limit"), ({"hidden_layer_sizes": (0,)}, "hidden_layer_sizes"),
        ({"loss": "poisson"}, "loss"), ({"n_jobs": 0}, "n_jobs"), ({"progress": "yes"}, "progress"),
        ({"random_state": "x"}, "random"),
    ],
)  # fmt: skip
def test_wrong_parameters_are_refused_and_nothing_changes(change, message):
    X, y = problem(TabularMLPRegressor, 50)
    model = TabularMLPRegressor(**QUICK).fit(X, y)
    before = model.predict(X)
    model.set_params(**change)
    with pytest.raises(ValueError, match=message):
        model.fit(X, y)
    np.testing.assert_array_equal(model.predict(X), before)


def test_bad_tables():
    X, y = problem(TabularMLPRegressor, 60)
    cases = [
        (X, np.where(np.arange(60) == 3, np.nan, y), "missing in 1 of 60 rows"),
        (X, np.ma.masked_equal(y, y[3]), "missing in 1 of 60 rows"),
        (X[["constant"]], y, "no column of X can be used"),
        (X, y + 1j, "Complex data not supported"),
        (X, y[:-1], "inconsistent"),
        (X.iloc[:1], y[:1], "only one sample"),
        (pd.concat([X, X], axis=1), y, "several columns"),
    ]
    for X_bad, y_bad, message in cases:
        with pytest.raises(ValueError, match=message):
            TabularMLPRegressor(**QUICK).fit(X_bad, y_bad)
    with pytest.raises(ValueError, match="missing in 30 of 60 rows"):
        TabularMLPClassifier(**QUICK).fit(X, np.ma.masked_equal([0, 1] * 30, 1))
    one_class = TabularMLPClassifier(**QUICK).fit(X, ["only"] * 60)
    assert set(one_class.predict(X)) == {"only"}
    wide = np.random.RandomState(0).rand(20, 3000)
    assert TabularMLPRegressor(**QUICK).fit(wide, wide[:, 0]).predict(wide).shape == (20,)


@pytest.mark.parametrize("n_folds", [None, 3])
def test_ctrl_c_keeps_the_members_that_have_been_trained(n_folds, monkeypatch):
    frame, price = table()
    interrupted = threading.Event()
    monkeypatch.setattr(Interruption, "requested", property(lambda self: interrupted.is_set()))
    model = TabularMLPRegressor(epochs=3, n_members=2, n_folds=n_folds, n_jobs=1, random_state=0)
    with pytest.warns(UserWarning, match="interrupted by user: 1 of . models have been fitted"):
        model.fit(frame, price, callbacks=lambda *given: interrupted.set())
    assert len(model.members_) == 1 and model.members_[0].interrupted
    assert not hasattr(model, "oof_prediction_") and np.isfinite(model.predict(frame)).all()
    with pytest.warns(UserWarning, match="0 of . models"), pytest.raises(KeyboardInterrupt):
        model.fit(frame, price)
    assert len(model.members_) == 1


def test_ctrl_c_in_the_trial_of_a_time_limit_ends_the_fit(monkeypatch):
    X, y = problem(TabularMLPRegressor)
    asked = []
    monkeypatch.setattr(Interruption, "requested", property(lambda self: asked.append(self) or self is asked[0]))
    model = TabularMLPRegressor(**QUICK, time_limit=5)
    with pytest.warns(UserWarning, match="interrupted"), pytest.raises(KeyboardInterrupt):
        model.fit(X, y)
    assert not hasattr(model, "members_")


@BOTH
def test_a_dict_of_columns_is_fitted_like_a_frame(kind):
    frame, y = problem(kind, 1100)
    frame.loc[:2, "shop"] = "rare"
    model = kind(**QUICK).fit(frame, y)
    other = kind(**QUICK).fit(frame.to_dict("series"), y)
    assert other.encoder_.describe() == model.encoder_.describe()
    np.testing.assert_array_equal(other.predict(frame), model.predict(frame))


def test_importances_of_a_table_with_other_columns():
    X, _ = problem(TabularMLPRegressor, 300)
    y = 1.0 * X["open"]
    model = TabularMLPRegressor(epochs=40, random_state=0).fit(X, y)
    for other in (X[X.columns[::-1]], X[["day", "open", "size", "shop"]], X.assign(more=1)):
        found = model.importances(other, y, random_state=0)
        assert next(iter(found)) == "open" and set(found) == set(other.columns)
    with pytest.raises(TypeError, match="instead of a dict"):
        model.importances(X.to_dict("series"), y)


def test_predictions_during_a_fit_are_those_before_it():
    X, y = problem(TabularMLPRegressor)
    model = TabularMLPRegressor(**QUICK).fit(X, y)
    before, during = model.predict(X), []
    model.fit(X.assign(size=100 * X["size"]), 1e6 * y, callbacks=lambda *given: during.append(model.predict(X)))
    for found in during:
        np.testing.assert_array_equal(found, before)
    assert abs(model.predict(X)).min() > abs(before).max()


def test_the_score_is_that_of_the_loss_in_fit():
    X, y = problem(TabularMLPRegressor)
    losses = "squared_error", make_loss("quantile", quantile=[0.1, 0.9])
    for loss, other in (losses, losses[::-1]):
        model = TabularMLPRegressor(**QUICK, loss=loss).fit(X, y)
        before = model.score(X, y)
        assert model.set_params(loss=other).score(X, y) == before
    with pytest.raises(ValueError, match="inconsistent"):
        model.score(X, y[:5])


def test_weights_of_targets_in_lists():
    X, y = problem(TabularMLPRegressor, 50)
    both = np.column_stack([y, -y])
    weight = np.random.RandomState(0).rand(*both.shape)
    expected = TabularMLPRegressor(**QUICK).fit(X, both, weight).predict(X)
    np.testing.assert_array_equal(TabularMLPRegressor(**QUICK).fit(X, both.tolist(), weight).predict(X), expected)


def test_out_of_fold_scores_and_intervals_with_weights():
    X, y = problem(TabularMLPRegressor)
    weight = np.arange(200) % 2 * 1.0
    outliers = np.where(weight > 0, y, 1e9)  # of rows that do not count
    for targets in (outliers, np.column_stack([outliers, -outliers])):
        low, high = TabularMLPRegressor(**QUICK, n_folds=2).fit(X, targets, weight).predict_interval(X)
        assert (high - low).max() < 1e5
    X, labels = problem(TabularMLPClassifier)
    model = TabularMLPClassifier(**QUICK, n_folds=2, class_weight={"high": 9, "low": 1}).fit(X, labels, weight)
    right = model.classes_[model.oof_prediction_.argmax(axis=1)] == labels
    np.testing.assert_allclose(model.score_, np.average(right, weights=weight))


@BOTH
@pytest.mark.parametrize("time_limit", [None, 5])
def test_folds_that_have_too_few_rows(kind, time_limit):
    X, y = problem(kind, 40)
    weight = (np.arange(40) == 7) * 1.0
    for given, n_folds, rows, message in [
        (weight, 4, 40, "n_folds: all rows with a weight .* are held out by the same fold"),
        (None, 50, 40, "n_folds=50 needs at least 50 rows.* use fewer folds"),
    ]:
        model = kind(**QUICK, n_folds=n_folds, time_limit=time_limit)
        with pytest.raises(ValueError, match=message):
            model.fit(X[:rows], y[:rows], given)
        assert not hasattr(model, "members_")


def test_weights_of_scores():
    X, y = problem(TabularMLPRegressor, 60)
    model, weight = TabularMLPRegressor(**QUICK).fit(X, y), np.arange(60.0)
    for given in (weight.tolist(), pd.Series(weight), weight.astype(int)):
        assert model.score(X, y, given) == model.score(X, y, weight)
    for wrong in (-weight, weight[:5], "even"):
        with pytest.raises(ValueError, match="weight"):
            model.score(X, y, wrong)


def damaged(name, value):
    def change(fitted):
        fitted["targets"][name] = value

    return change


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        (TabularMLPRegressor, lambda fitted: fitted["members"].clear()),
        *[
            (TabularMLPRegressor, lambda fitted, one=one: fitted["folds"].update(one))
            for one in (
                {"score_": "good"},
                {"score_": None},
                {"oof_prediction_": [1.0]},
                {"more": np.ones(3)},
                {"_oof_errors": np.full(50, np.nan)},
                {"_oof_errors": np.full(50, "x")},
            )
        ],
        (TabularMLPRegressor, lambda fitted: fitted["encoder"]["columns"].pop(0)),
        *[
            (TabularMLPRegressor, damaged(*one))
            for one in (("std", np.array([np.nan])), ("std", np.array([-1.0])), ("mean", np.ones(2)), ("low", [1e99]))
        ],
        (TabularMLPRegressor, lambda fitted: fitted.update(targets={n: np.ones(2) for n in fitted["targets"]})),
        *[(TabularMLPClassifier, damaged("classes", np.array(labels))) for labels in (["b", "a"], ["a", "b", "c"], [])],
    ],
)
def test_damaged_files_are_refused(kind, change, tmp_path, monkeypatch):
    model = kind(**QUICK).fit(*problem(kind, 50))
    saved = model.saved_state()
    change(saved["fitted"])
    monkeypatch.setattr(model, "saved_state", lambda: saved)
    model.save(tmp_path / "model")
    with pytest.raises(ModelFileError, match="damaged"):
        fastmlp.load(tmp_path / "model")


@BOTH
def test_invalid_parameters_are_neither_loaded_nor_saved(kind, tmp_path, monkeypatch):
    model, path = kind(**QUICK).fit(*problem(kind, 50)), tmp_path / "model"
    model.save(path)
    wrong = {"epochs": "many", "n_folds": 1.5, "hidden_layer_sizes": "ab", "random_state": "x"}
    wrong |= {"class_weight": "even"} if kind is TabularMLPClassifier else {"loss": "poisson"}
    for name, value in wrong.items():
        saved = model.saved_state()
        saved["params"][name] = value
        with pytest.raises(ValueError):
            clone(model).set_params(**{name: value}).save(path)
        assert fastmlp.load(path).get_params() == model.get_params()
        with monkeypatch.context() as patch:
            patch.setattr(model, "saved_state", lambda saved=saved: saved)
            model.save(tmp_path / "wrong")
        with pytest.raises(ModelFileError, match="damaged"):
            fastmlp.load(tmp_path / "wrong")
