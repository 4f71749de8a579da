"""Plots: figures are saved and returned, show the data, and refuse invalid arguments."""

import sys

import numpy as np
import pytest
from matplotlib.figure import Figure
from sklearn.linear_model import LogisticRegression

from fastmlp import MLP, Layer, MLPClassifier
from fastmlp.inspection import plots
from fastmlp.kernels.rules import ACTIVATIONS

PNG = b"\x89PNG\r\n\x1a\n"
X = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]])
LABELS = np.array([0, 1, 1, 1])


@pytest.fixture
def path(tmp_path):
    return tmp_path / "picture.png"


@pytest.fixture
def axes():
    return Figure().subplots()


def network(*layers, loss="squared_error"):
    return MLP(layers, loss, random_state=0)


def colours_at(axes, rows):
    """The colour of the region at each sample."""
    image = axes.images[0]
    left, right, bottom, top = image.get_extent()
    shares = (np.asarray(rows) - (left, bottom)) / (right - left, top - bottom)
    pixels = image.get_array()
    column, row = (shares * (np.array(pixels.shape[1::-1]) - 1)).round().astype(int).T
    return pixels[row, column, :3]


def test_loss_curves(path):
    figure = plots.plot_history({"loss": [3.0, 2.0], "validation_loss": [4.0, 3.0]}, path)
    assert path.read_bytes().startswith(PNG)
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["loss", "validation loss"]
    np.testing.assert_array_equal(axes.lines[1].get_xydata(), [[1, 4], [2, 3]])
    assert axes.get_yscale() == "log"


def test_negative_losses_are_drawn():
    (axes,) = plots.plot_history({"loss": [1.0, -1.0]}).axes
    assert axes.get_yscale() == "linear"


def test_norms_of_layers(path):
    model = network(Layer(3, "tanh"), Layer(2, "tanh"), Layer(1, "identity"))
    model.fit(X, LABELS, epochs=4, monitor=True)
    _, gradients, updates = plots.plot_history(model.history, path).axes
    assert path.exists()
    for axes, name in ((gradients, "gradient_norm"), (updates, "update_norm")):
        np.testing.assert_allclose([line.get_ydata() for line in axes.lines], np.transpose(model.history[name]))
        assert len(axes.get_legend().get_texts()) == 3


def test_the_legend_of_many_layers_is_short():
    history = {"loss": [1.0], "gradient_norm": [tuple(range(1, 21))]}
    texts = plots.plot_history(history).axes[1].get_legend().get_texts()
    assert [text.get_text() for text in texts] == ["layer 1", "layer 20"]


def test_histories_of_members():
    """All curves of a kind have one colour and one entry in the legend."""
    histories = [{"loss": [3.0, 2.0], "validation_loss": [4.0, 3.0]}, {"loss": [5.0]}, {"loss": []}]
    (axes,) = plots.plot_history(histories).axes
    assert [line.get_ydata().tolist() for line in axes.lines] == [[3, 2], [5], [4, 3]]
    colours = [line.get_color() for line in axes.lines]
    assert colours[0] == colours[1] != colours[2]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["loss", "validation loss"]
    with pytest.raises(TypeError, match="or a list of these, got int"):
        plots.plot_history([1])


def test_history_without_an_epoch():
    with pytest.raises(ValueError, match="no epochs yet: call fit first"):
        plots.plot_history({"loss": []})


MODELS = [
    (network(Layer(4, "tanh"), Layer(1, "logistic"), loss="binary_cross_entropy"), LABELS),
    (network(Layer(4, "tanh"), Layer(1, "tanh")), 2 * LABELS - 1),
    (network(Layer(4, "tanh"), Layer(2, "softmax"), loss="categorical_cross_entropy"), LABELS),
    (network(Layer(4, "tanh"), Layer(2, "logistic")), np.eye(2)[LABELS]),
    (MLPClassifier((4,), solver="lbfgs", random_state=0), LABELS),
    (LogisticRegression(C=100), np.array(["no", "yes"])[LABELS]),
]


@pytest.mark.parametrize(("model", "y"), MODELS, ids=lambda value: type(value).__name__)
def test_decision_boundary(model, y, path, axes):
    model.fit(X, y, **({"epochs": 500, "batch_size": 1} if isinstance(model, MLP) else {}))
    figure = plots.plot_decision_boundary(model, X, y, path, axes)
    assert figure is axes.figure
    assert path.read_bytes().startswith(PNG)
    assert sum(len(points.get_offsets()) for points in axes.collections) == 4
    no, *yes = colours_at(axes, X).tolist()
    assert yes == [yes[0]] * 3
    assert no != yes[0]


def test_decision_boundary_of_three_inputs():
    with pytest.raises(ValueError, match=r"must have the shape \(n_samples, 2\), .* got \(4, 3\)"):
        plots.plot_decision_boundary(LogisticRegression(), np.ones((4, 3)), LABELS)


def test_decision_boundary_with_missing_labels():
    with pytest.raises(ValueError, match="X has 4 samples, y has 3"):
        plots.plot_decision_boundary(LogisticRegression(), X, LABELS[:3])


def test_more_than_ten_classes_have_different_colours():
    assert len(np.unique(plots._class_colours(26), axis=0)) == 26


def test_hidden_weights(path):
    model = network(Layer(10, "tanh"), Layer(1)).build(6)
    figure = plots.plot_hidden_weights(model, (2, 3), path)
    assert path.read_bytes().startswith(PNG)
    drawn = [axes.images[0].get_array() for axes in figure.axes if axes.images]
    np.testing.assert_array_equal(np.reshape(drawn, (10, 6)), model.weights[0].T)


def test_hidden_weights_of_an_estimator(axes):
    model = MLPClassifier((1,), solver="lbfgs", max_iter=1000, random_state=0).fit(X, LABELS)
    assert plots.plot_hidden_weights(model, (1, 2), axes=[axes]) is axes.figure
    np.testing.assert_array_equal(axes.images[0].get_array().ravel(), model.coefs_[0][:, 0])


@pytest.mark.parametrize("shape", [(2, 2), (6,), (1, 2, 3)])
def test_images_of_the_wrong_size(shape):
    with pytest.raises(ValueError, match="height x width = 6, the number of inputs"):
        plots.plot_hidden_weights(network(Layer(2), Layer(1)).build(6), shape)


def test_too_few_axes(axes):
    with pytest.raises(ValueError, match="one for each of 2 units, got 1"):
        plots.plot_hidden_weights(network(Layer(2), Layer(1)).build(6), (2, 3), axes=[axes])


@pytest.mark.parametrize("name", [name for name, row in ACTIVATIONS.items() if not row.rowwise])
def test_activation_and_its_derivative(name, axes):
    """The second curve is the slope of the first, away from corners and jumps."""
    assert plots.plot_activation(name, axes=axes) is axes.figure
    function, derivative = (line.get_ydata() for line in axes.lines)
    z = axes.lines[0].get_xdata()
    smooth = np.ones(len(z), bool)
    for corner in (-0.5, 0, 0.5):
        smooth &= abs(z - corner) > 0.03
    np.testing.assert_allclose(np.gradient(function, z)[smooth][1:-1], derivative[smooth][1:-1], atol=2e-3, rtol=1e-3)


def square(z):
    return z * z


def square_derivative(z):
    return 2 * z


def test_custom_activation(path):
    (axes,) = plots.plot_activation((square, square_derivative), path).axes
    assert path.read_bytes().startswith(PNG)
    np.testing.assert_allclose(axes.lines[1].get_ydata(), 2 * axes.lines[0].get_xdata())
    assert axes.get_legend().get_texts()[0].get_text() == "square"


def test_activations_that_cannot_be_plotted():
    with pytest.raises(ValueError, match="'softmax' is a function of all units"):
        plots.plot_activation("softmax")
    with pytest.raises(ValueError, match="activation"):
        plots.plot_activation("tanhh")


@pytest.mark.parametrize(
    "draw",
    [
        lambda: plots.plot_history({"loss": [1.0]}),
        lambda: plots.plot_decision_boundary(LogisticRegression().fit(X, LABELS), X, LABELS),
        lambda: plots.plot_hidden_weights(network(Layer(2), Layer(1)).build(6), (2, 3)),
        lambda: plots.plot_activation("tanh"),
    ],
)
def test_without_matplotlib(draw, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install 'fastmlp\[plot\]'"):
        draw()
