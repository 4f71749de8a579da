"""training_report: the content of the page, that it is self-contained, and that a browser displays it."""

import re
import shutil
import subprocess
from html.parser import HTMLParser
from unittest.mock import patch

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_digits
from sklearn.exceptions import NotFittedError
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support, r2_score, root_mean_squared_error

from fastmlp import (
    MLP,
    Layer,
    MLPClassifier,
    MLPRegressor,
    TabularMLPClassifier,
    TabularMLPRegressor,
    training_report,
)
from fastmlp.estimators.tabular import plan
from fastmlp.estimators.tabular.recipe import VARIANTS
from fastmlp.inspection.figures import shortened
from fastmlp.inspection.report import _panels
from patience import PATIENCE

pytest.importorskip("matplotlib", reason="needs the extra plot")
pytest.importorskip("jinja2", reason="needs the extra plot")
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
digits, labels = load_digits(return_X_y=True)
X, y, held, truth = digits[::2] / 16, labels[::2], digits[1::2] / 16, labels[1::2]
patients, measured = load_diabetes(return_X_y=True)
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class Page(HTMLParser):
    """The parsed page: tables, texts of figures, ids, links, definitions, and elements that are not closed."""

    VOID = {"meta", "link", "img", "br", "input", "hr"}

    def __init__(self, path):
        super().__init__()
        self.source = path.read_text()
        self.tables, self.pictures, self.ids, self.attributes, self.terms = [], [], [], [], {}
        self.open, self.text = [], ""
        self.feed(self.source)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.attributes += [(tag, *pair) for pair in attributes]
        self.ids += [value for name, value in attributes if name == "id"]
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag == "svg":
            self.pictures.append([])
        self.text = ""

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in self.VOID:
            self.open.pop()

    def handle_data(self, data):
        self.text += data

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        text, self.text = self.text.strip(), ""
        if tag in ("td", "th"):
            self.tables[-1][-1].append(text)
        elif tag == "text":
            self.pictures[-1].append(text)
        elif tag == "dt":
            self.term = text
        elif tag == "dd":
            self.terms[self.term] = text
        elif tag == "span":  # in a cell
            self.text = text


@pytest.fixture
def path(tmp_path):
    return tmp_path / "report.html"


@pytest.fixture(scope="module")
def network():
    model = MLP([Layer(16), Layer(10, "softmax")], "categorical_cross_entropy", random_state=0)
    return model.fit(X, y, 40, validation_data=(held, truth), metric="accuracy", patience=3, monitor=True)


def test_classes(path, network):
    predicted = network.predict(held).argmax(axis=1)
    training_report(path, network, truth, predicted, title="Digits", seconds=1.5, speeds={"cython": 3e5, "numpy": 1e5})
    page = Page(path)
    matrix, scores, layers, speeds = page.tables
    assert np.array_equal(np.array(matrix)[1:, 1:].astype(int), confusion_matrix(truth, predicted))
    wanted = np.column_stack(precision_recall_fscore_support(truth, predicted))
    np.testing.assert_allclose(np.array(scores)[1:, 1:].astype(float), wanted, atol=1e-3)
    assert [row[:4] for row in layers[1:]] == [["1", "16", "relu", "1,040"], ["2 (output)", "10", "softmax", "170"]]
    norm = np.sqrt(sum((part.astype(float) ** 2).sum() for part in (network.weights[0], network.biases[0])))
    assert float(layers[1][4]) == pytest.approx(norm, rel=1e-3)
    assert [row[:2] for row in speeds[1:]] == [["cython", "300,000"], ["numpy", "100,000"]]
    assert page.terms["epochs"] == str(network.epoch)
    assert page.terms["training seconds"] == "1.5"
    assert float(page.terms["accuracy"]) == pytest.approx((truth == predicted).mean(), abs=1e-3)
    assert page.terms["optimizer"] == "adam"
    loss, accuracy, gradient, update = page.pictures
    assert {"training", "validation", f"kept: epoch {network.best_epoch}", "loss"} <= set(loss)
    assert "accuracy" in accuracy
    assert {"layer 1", "layer 2"} <= set(gradient) & set(update)


def test_regression(path):
    model = MLPRegressor(solver="lbfgs", max_iter=20, random_state=0).fit(patients[::2], measured[::2])
    predicted = model.predict(patients[1::2])
    training_report(path, model, measured[1::2], predicted)
    page = Page(path)
    r2, root, *_, rows, lost = map(float, page.tables[0][1][1:])
    assert r2 == pytest.approx(r2_score(measured[1::2], predicted), rel=1e-3)
    assert root == pytest.approx(root_mean_squared_error(measured[1::2], predicted), rel=1e-3)
    assert (rows, lost) == (221, 0)
    assert "No epochs were recorded" in page.source
    assert page.terms["iterations"] == "20"
    against, differences = page.pictures
    assert {"all samples, 221 of 221 samples", "true", "predicted"} <= set(against)
    assert "predicted - true" in differences


def test_several_outputs_and_predictions_that_are_not_finite(path):
    Y = np.column_stack([measured, -measured])
    model = MLPRegressor(max_iter=3, random_state=0).fit(patients, Y)
    predicted = model.predict(patients)
    predicted[:7, 1] = np.nan
    training_report(path, model, Y, predicted)
    table = Page(path).tables[0]
    assert [(row[0], *row[-2:]) for row in table[1:]] == [("output 0", "442", "0"), ("output 1", "435", "7")]
    predicted[:] = np.inf
    training_report(path, model, Y, predicted)
    assert Page(path).tables[0][1] == ["output 0", "-", "-", "-", "0", "442"]
    many = np.tile(measured, 10)
    training_report(path, model, many, many + 1)
    assert "all samples, 2,000 of 4,420 samples" in Page(path).pictures[1]


def test_evaluation_sets_and_the_best_epoch(path):
    model = MLPClassifier(early_stopping=True, learning_rate_init=0.01, n_iter_no_change=3, random_state=0)
    sets = [(held, truth), (X, y)]
    model.fit(X, y, eval_set=sets, eval_names=["held out", "own"], eval_metric=["neg_log_loss", "accuracy"])
    training_report(path, model, truth, model.predict(held))
    loss, metric, accuracy = Page(path).pictures
    kept = f"kept: epoch {int(np.argmax(model.validation_scores_)) + 1}"
    assert {"training", kept} <= set(loss)
    assert {"held out", "own", "neg_log_loss"} <= set(metric)
    assert "accuracy" in accuracy
    plain = MLPClassifier(early_stopping=True, max_iter=3, random_state=0).fit(X, y)
    training_report(path, plain, truth, plain.predict(held))
    assert "validation" in Page(path).pictures[1]


def test_curves_of_several_fits_are_aligned(path):
    model = MLP([Layer(4), Layer(10, "softmax")], "categorical_cross_entropy", random_state=0).fit(X, y, 5)
    model.fit(X, y, 4, validation_data=(held, truth), patience=9)
    (panel,) = _panels(model)
    lengths = {name: [len(curve) for curve in curves] for name, curves in panel.curves.items()}
    assert (panel.n_epochs, lengths) == (9, {"training": [9], "validation": [9]})
    assert panel.best == int(np.nanargmin(model.history["validation_loss"])) + 1
    (panel,) = _panels(model.fit(X, y, 2))
    np.testing.assert_array_equal(np.isfinite(panel.curves["validation"][0]), [False] * 5 + [True] * 4 + [False] * 2)
    estimator = MLPClassifier(max_iter=3, warm_start=True, early_stopping=True, random_state=0)
    for _ in range(2):
        estimator.fit(X, y, eval_set=(held, truth))
    loss, accuracy = _panels(estimator)
    scores = estimator.evals_result_["validation_0"]["accuracy"]
    assert (len(loss.curves["training"][0]), len(scores)) == (6, 3)
    assert loss.best == accuracy.best == 4 + int(np.argmax(scores))
    training_report(path, model, truth, model.predict(held).argmax(axis=1))
    estimator.set_params(solver="lbfgs", early_stopping=False).fit(X, y)
    assert _panels(estimator) == []


@pytest.mark.parametrize("n_members, n_folds", [(1, None), (2, 2)])
def test_an_estimator_for_tables(path, n_members, n_folds):
    """The page has the columns, and the curves of all members in one figure for each score."""
    table = {"size": measured, "town": np.where(patients[:, 0] > 0, "Ulm", "Bonn"), "empty": [None] * len(measured)}
    model = TabularMLPRegressor(epochs=4, n_members=n_members, n_folds=n_folds, random_state=0)
    with pytest.raises(NotFittedError):
        training_report(path, model, [1.0], [1.0])
    with patch.object(plan, "variants_of_members", lambda n, *_: VARIANTS[::-1][:n]):
        model.fit(table, measured, eval_X=table, eval_y=measured)
    training_report(path, model, measured, model.predict(table))
    page = Page(path)
    n_each = n_folds or 1
    both = [f"{n_each} x piecewise-linear codes of numbers with dropout {dropout}" for dropout in (0.3, 0.15)]
    assert page.terms["variants of the recipe"] == ", ".join(both[:n_members])
    _, columns, layers = page.tables
    assert [row[0] for row in columns] == ["column", "size", "town", "empty"]
    assert [row[1] for row in columns[1:]] == [each["description"] for each in model.encoder_.describe()]
    assert [row[1] for row in layers[1:]] == ["128", "128", "128", "1"]
    n_networks = n_members * (n_folds or 1)
    assert (page.terms["members"], page.terms["epochs"]) == (str(n_networks), "4")
    assert ("out-of-fold score" in page.terms) == (n_folds is not None)
    (loss,) = _panels(model)
    assert loss.curves == {
        "training": [member.history["loss"] for member in model.members_],
        "validation": [member.history["validation_loss"] for member in model.members_],
    }
    assert loss.best == (model.members_[0].best_epoch if n_networks == 1 else None)
    assert page.pictures[0].count("training") == page.pictures[0].count("validation") == 1  # in the legend


def test_a_table_of_many_columns(path):
    wide = np.hstack([X] * 5)  # 320 columns
    model = TabularMLPClassifier(epochs=1, hidden_layer_sizes=4, random_state=0).fit(wide, y)
    training_report(path, model, y, model.predict(wide))
    page = Page(path)
    assert "The first 300 columns; there are 20 more." in page.source
    assert len(page.tables[2]) == 301


def test_curves_of_members_of_different_lengths_are_aligned():
    model = TabularMLPClassifier(epochs=3, n_members=2, random_state=0).fit(X, y)
    model.members_[1].fit(model.encoder_.transform(X), y, 2)
    (loss,) = _panels(model)
    np.testing.assert_array_equal(np.isfinite(loss.curves["training"]), [[True] * 3 + [False] * 2, [True] * 5])


def test_for_many_classes_the_most_frequent_errors_are_listed(path, network):
    true = np.arange(200) % 40
    guess = np.where(true == 3, 7, true)
    training_report(path, network, true, guess)
    confusions, scores = Page(path).tables[:2]
    assert confusions[1:] == [["3", "7", "5"]]
    assert len(scores) == 41


def test_multilabel(path):
    Y = np.column_stack([y > 4, y % 2]).astype(int)
    model = MLPClassifier(max_iter=20, random_state=0).fit(X, Y)
    training_report(path, model, Y, model.predict(X))
    page = Page(path)
    wanted = np.column_stack(precision_recall_fscore_support(Y, model.predict(X)))
    np.testing.assert_allclose(np.array(page.tables[0])[1:, 1:].astype(float), wanted, atol=1e-3)
    assert "samples with all labels correct" in page.terms


EVIL = '<script>a("x")</script>& $a_$ {{7}}网'


def test_names_and_titles_are_escaped(path):
    names = np.array([EVIL, "b"])
    model = MLPClassifier(max_iter=3, random_state=0).fit(X, names[(y > 4).astype(int)], eval_set=(X, names[
        (y > 4).astype(int)]), eval_names=[EVIL])  # fmt: skip
    training_report(path, model, names[[0, 1, 0]], names[[0, 1, 1]], title=EVIL, speeds={EVIL: 3.0})
    page = Page(path)
    assert "<script" not in page.source
    assert page.tables[0] == [["true", shortened(EVIL, 12), "b"], [shortened(EVIL, 24), "1", "1"], ["b", "0", "1"]]
    assert sum((name, value) == ("title", EVIL) for _, name, value in page.attributes) == 3  # the full text
    assert EVIL in page.tables[-1][1]
    assert EVIL in page.pictures[1]


def test_long_names_are_shortened(path):
    model, long = MLPClassifier(max_iter=3, random_state=0), "a set " * 30 + "of rows"
    model.fit(X, y, eval_set=[(X, y), (X, y)], eval_names=[long, "_own"])
    training_report(path, model, truth, model.predict(held))
    assert {"a set a set a set ... set of rows", "_own"} <= set(Page(path).pictures[1])


def test_extremely_large_predictions(path):
    model = MLPRegressor(max_iter=2, random_state=0).fit(patients, measured)
    training_report(path, model, [0.0, 1, 2, 3], [1e20, 1e20 + 20000, 1e20, 1e20])
    assert Page(path).tables[0][1][-2:] == ["4", "0"]
    training_report(path, model, [0.0, 1, 2], [1e308, -1e308, 1e217], speeds={"a": np.nan, "b": -1.0, "c": 2.0})
    page = Page(path)
    assert page.tables[0][1][-2:] == ["0", "3"]
    assert [row[0] for row in page.tables[-1][1:]] == ["c"]


def test_the_page_is_self_contained(path, network):
    training_report(path, network, truth, network.predict(held).argmax(axis=1))
    page = Page(path)
    assert len(page.ids) == len(set(page.ids)) > 20
    for tag, name, value in page.attributes:
        assert tag not in ("script", "link", "img", "iframe")
        assert name != "src"
        assert not name.endswith("href") or (name == "xlink:href" and value[1:] in page.ids)
        for target in re.findall(r"url\((.*?)\)", value or ""):
            assert target[1:] in page.ids
    before = path.read_bytes()
    training_report(path, network, truth, network.predict(held).argmax(axis=1))
    assert path.read_bytes() == before


@pytest.mark.parametrize("change, error, message", [
    ({"model": 3}, TypeError, "model must be an MLP"), ({"model": MLPClassifier()}, ValueError, "not fitted"),
    ({"model": MLP([(1, "identity")])}, ValueError, "no weights"), ({"truth": [1]}, ValueError, "must have one shape"),
    ({"truth": np.zeros((898, 2))}, ValueError, "one shape and not be empty"),
    ({"truth": [], "predicted": []}, ValueError, "one shape and not be empty"),
    ({"truth": np.zeros((898, 1, 1))}, ValueError, "one or two dimensions"),
    ({"path": "/no/where.html"}, OSError, "does not exist"),
])  # fmt: skip
def test_invalid_reports(path, network, change, error, message):
    given = {"path": path, "model": network, "truth": truth[:898], "predicted": truth[:898]} | change
    with pytest.raises(error, match=message):
        training_report(**given)
    assert not path.exists()
    regressor = MLPRegressor(max_iter=2).fit(patients, measured)
    with pytest.raises(ValueError, match="must be numbers"):
        training_report(path, regressor, ["a", "b"], ["a", "b"])


@pytest.mark.skipif(CHROMIUM is None, reason="needs a Chromium on the PATH")
@pytest.mark.parametrize("width", [390, 1200])
def test_a_browser_displays_the_page(path, network, width, tmp_path):
    from matplotlib.image import imread

    training_report(path, network, truth, network.predict(held).argmax(axis=1), title="Seen by a browser")
    picture = tmp_path / "picture.png"
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--enable-logging=stderr"]
    options = [f"--window-size={width},1500", f"--user-data-dir={tmp_path / 'profile'}", f"--screenshot={picture}"]
    done = subprocess.run([*command, *options, path.as_uri()], capture_output=True, text=True, timeout=PATIENCE)
    assert "CONSOLE" not in done.stderr
    pixels = imread(picture)
    assert pixels.shape[:2] == (1500, width)
    blue = (abs(pixels[..., :3] - np.array([0x3B, 0x7D, 0xD8]) / 255) < 0.02).all(axis=2)
    assert blue.sum() > 100  # a curve
    assert (pixels[:200, :, :3].mean(axis=2) < 0.4).sum() > 300  # the title
    assert pixels[:, -8:, :3].std() < 0.05  # no element is wider than the window
