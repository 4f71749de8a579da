"""Invalid choices raise one error that gives the allowed values, and change nothing."""

import math
import warnings
from dataclasses import FrozenInstanceError, replace
from fractions import Fraction

import numpy as np
import pytest

from fastmlp import (  # fmt: skip
    MLP,
    Checkpoint,
    Layer,
    MLPClassifier,
    MLPRegressor,
    Perceptron,
    Progress,
    check_gradients,
    dead_units,
    load,
    make_loss,
    make_optimizer,
    make_schedule,
    to_c,
    training_report,
)
from fastmlp.inspection.plots import plot_activation, plot_decision_boundary, plot_hidden_weights, plot_history
from fastmlp.kernels.rules import ACTIVATIONS, LOSSES
from fastmlp.model.losses import Loss
from fastmlp.model.optimizers import Optimizer
from fastmlp.training.schedules import Schedule

rng = np.random.RandomState(0)
X = rng.standard_normal((60, 3))
Y = np.abs(X @ rng.standard_normal((3, 2)))
LABELS = (X[:, 0] > 0).astype(int) + (X[:, 1] > 0)

FITTED = MLPRegressor("squared_error", (5,), solver="lbfgs", max_fun=1, max_iter=1, random_state=0)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    FITTED.fit(X, Y)

BAYES = MLP([(1, "identity")], optimizer="lm", alpha="bayes")


def diff(prediction, target):
    return prediction - target


WRONG = [
    (lambda: make_optimizer("adam", momentum=0.9), "no option 'momentum'. Known: beta_1, beta_2, epsilon"),
    (lambda: make_optimizer("adam", -0.1), r"learning_rate must be a number in \(0, inf\), got -0.1"),
    (lambda: MLP([(1, (float, lambda z: float(Fraction(z))))], backend="numba").fit(X, X[:, 0]), "Numba cannot comp"),
    (lambda: make_optimizer("sgd", momentum="0.9"), r"momentum must be a number in \[0, 1\), got '0.9'"),
    (lambda: make_optimizer("sgd", nesterov=True), "nesterov=True requires a momentum above 0"),
    (lambda: make_optimizer("sgd", momentum=0, nesterov=True), "nesterov=True requires a momentum above 0"),
    (lambda: make_optimizer("sgd", momentum=0.9, nesterov="yes"), "nesterov must be True or False, got 'yes'"),
    (lambda: make_optimizer("sgd", dampening=0.1), "no option 'dampening'. Known: momentum, nesterov"),
    (lambda: make_optimizer("rmsprop", rho=1), r"rho must be a number in \[0, 1\)"),
    (lambda: make_optimizer("adam", weight_decay=-1), r"weight_decay must be a number in \[0, inf\)"),
    (lambda: make_optimizer("adam", clip_norm=-1), r"clip_norm must be a number in \[0, inf\)"),
    (lambda: make_optimizer("adam", clip_value="1"), "clip_value must be a number"),
    (lambda: make_optimizer("adam", max_norm=math.nan), "max_norm must be a number"),
    (lambda: make_optimizer("adam", layer_rates=(1, 0)), r"each of layer_rates must be a number in \(0, inf\)"),
    (lambda: make_optimizer("adam", schedule="linear"), "unknown schedule 'linear'. Known: constant, inverse_scaling"),
    (lambda: make_schedule("cosine", gamma=1), "no option 'gamma'. Known: epochs, end_factor"),
    (lambda: make_schedule("step", step_size=0), r"step_size must be a number in \(0, inf\)"),
    (lambda: make_schedule("exponential", gamma=1.5), r"gamma must be a number in \(0, 1\], got 1.5"),
    (lambda: make_schedule("constant", warmup_epochs=-1), "warmup_epochs"),
    (lambda: make_loss("huber", delta=0), r"delta must be a number in \(0, inf\)"),
    (lambda: make_loss("quantile", quantile=1), r"quantile must be a number in \(0, 1\)"),
    (lambda: make_loss("categorical_cross_entropy", label_smoothing=1), r"label_smoothing must be .* \[0, 1\), got 1"),
    (lambda: make_loss("binary_cross_entropy", label_smoothing=[0.1, 0.2]), "label_smoothing must be a number"),
    (lambda: make_loss("poisson", label_smoothing=0.1), "no option 'label_smoothing'. Known: none"),
    (lambda: make_schedule("cosine_log", n_cycles=0), r"n_cycles must be a number in \[1, 50\]"),
    (lambda: make_loss("squared_error", delta=1), "no option 'delta'. Known: none"),
    (lambda: MLP([Layer(3, dropout=1.5), (1, "identity")]), r"dropout must be a number in \[0, 1\), got 1.5"),
    (lambda: MLP([Layer(1, "identity", dropout=0.5)]), "dropout of the last layer must be 0, .*got 0.5"),
    (lambda: MLP([Layer(3), Layer(1, "identity", skip=1)]), "skip must be 0 or an integer of at least 2, got 1"),
    (lambda: MLP([Layer(3), Layer(1, "identity", skip=3)]), "skip of layer 2"),
    (lambda: MLP([Layer(3), Layer(1, "identity", skip=2, skip_weights=False)]).build(2), "1 units, but its skip .* 2"),
    (lambda: MLP([(1, "identity")], l1=-1), r"l1 must be a number in \[0, inf\)"),
    (lambda: MLP([(1, "identity")], activity_l2=math.inf), "activity_l2"),
    (lambda: MLP([(1, "identity")], input_dropout=1), r"input_dropout must be a number in \[0, 1\)"),
    (lambda: MLP([(1, "identity")], input_noise=-1), "input_noise"),
    (lambda: MLP([(1, "identity")], init="xavier"), "unknown init 'xavier'. Known: zeros, uniform, normal"),
    (lambda: MLP([(1, "identity")], init=("zeros", 1)), "takes no scale: .*uniform or normal"),
    (lambda: MLP([(1, "identity")], init=("normal", 0)), "scale of init"),
    (lambda: MLP([(3, "softmax"), (1, "identity")]), "'softmax' can only be used in the output layer"),
    (lambda: MLP([(1, "identity")], "poisson"), "needs the output activation 'exp'"),
    (lambda: MLP([(1, len)]), "unknown activation"),
    (lambda: MLP([(1, (len, len))]), "the activation function len fails for 0.5"),
    (lambda: MLP([(1, (str, str))]), "must return a number, got '0.5'"),
    (lambda: MLP([(1, "identity")], (abs, abs)), r"the loss function abs fails for 0.5, 0.25"),
    (lambda: MLP([Layer(2, dropout=0.1), (1, "identity")], optimizer="lbfgs"), "'lbfgs' requires a deterministic loss"),
    (lambda: MLP([Layer(2, dropout=0.1), (1, "identity")], optimizer="lm"), "'lm' requires a deterministic loss"),
    (lambda: MLP([(1, "exp")], "poisson", "lm"), "optimizer 'lm' .* requires the loss 'squared_error' or .*'poisson'"),
    (lambda: MLP([(1, "identity")], (diff, diff), "lm"), "got 'a custom loss': use one of these, or 'lbfgs'"),
    (lambda: MLP([(1, "identity")], optimizer="lm", l1=0.5), "no penalty other than alpha, got l1=0.5: set it to 0"),
    (lambda: MLP([(1, "identity")], alpha="bayes"), "alpha='bayes' requires optimizer='lm'"),
    (lambda: setattr(BAYES, "optimizer", "lbfgs"), "alpha='bayes' requires optimizer='lm'"),
    (lambda: setattr(BAYES, "alpha", "cv"), "alpha must be a number >= 0 or 'bayes', got 'cv'"),
    (lambda: MLP([(1, "identity")], optimizer="lm", matmul_precision="medium"), "'lm' computes in float64 "),
    (lambda: MLPRegressor(alpha="bayes").fit(X, Y), "alpha='bayes' requires solver='lm'"),
    (lambda: MLPRegressor(alpha="cv").fit(X, Y), "'alpha' parameter .*'bayes'"),
    (lambda: MLPRegressor(solver="lm", activity_l2=0.1).fit(X, Y), "solver='lm' supports no penalty .*activity_l2=0.1"),
    (lambda: MLPRegressor(solver="lm", hidden_layer_sizes=2000).fit(X, Y), r"12,002 parameters would need 2.1 GiB"),
    (lambda: MLPRegressor(solver="lm", dropout=0.1).fit(X, Y), "solver='lm' requires a deterministic loss"),
    (lambda: MLPClassifier(solver="lm").fit(X, LABELS), "solver='lm' minimises squared errors .*'squared_error'"),
    (lambda: MLP([(1, "identity")], optimizer=make_optimizer("sgd", layer_rates=(1, 1))), "layer_rates must have 1"),
    (lambda: MLP([(1, "identity")]).fit(X, Y[:, 0], patience=3), "patience requires validation_data"),
    (lambda: MLP([(1, "identity")]).fit(X, Y[:, 0], 1).predict(X, mc_samples=5), "mc_samples requires a model"),
    (lambda: MLPRegressor(dropout=1.5).fit(X, Y), "The 'dropout' parameter of MLPRegressor"),
    (lambda: MLPRegressor(hidden_layer_sizes=(3,), dropout=[0.1, 0.2]).fit(X, Y), "or a list of 1 values, one"),
    (lambda: MLPRegressor(hidden_layer_sizes=(3, 3), activation=["tanh"]).fit(X, Y), "activation must be one value"),
    (lambda: MLPRegressor(skip=1).fit(X, Y), "'skip' parameter"),
    (lambda: MLPRegressor(hidden_layer_sizes=(3,), skip=2, skip_weights=False).fit(X, Y), "skip=2 connects no layers"),
    (lambda: MLPRegressor(learning_rate="linear").fit(X, Y), "'learning_rate' parameter .*'cosine'"),
    (lambda: MLPRegressor(solver="lion").fit(X, Y), "'solver' parameter .*'adamw'"),
    (lambda: MLPRegressor("huber", dropout=0.1, solver="lbfgs").fit(X, Y), "solver='lbfgs' requires a determ"),
    (lambda: MLPClassifier(loss="poisson").fit(X, LABELS), "'loss' parameter"),
    (lambda: MLPClassifier(loss="huber", target_values=(1, 0)).fit(X, LABELS), "target_values must be two numbers"),
    (lambda: MLPRegressor(max_iter=1).fit(X, Y).predict(X, mc_samples=3), "mc_samples requires a model"),
    (lambda: MLP([Layer(3), Layer(2), Layer(1, "identity", skip=2, skip_weights=0.5)]), "skip_weights must be True"),
    (lambda: Optimizer("adam", -1), r"learning_rate must be a number in \(0, inf\), got -1"),
    (lambda: Optimizer("adam", options=(0.9,)), r"must be a tuple \(beta_1, beta_2, epsilon\)"),
    (lambda: Optimizer("lbfgs"), "unknown optimizer 'lbfgs'"),
    (lambda: Schedule("step", (0.0, 0.5)), r"step_size must be a number in \(0, inf\), got 0.0"),
    (lambda: Loss("huber", (-1.0,)), r"delta must be a number in \(0, inf\), got -1"),
    (lambda: Layer(0), "units of a layer must be an integer of at least 1, got 0"),
    (lambda: Layer(3, "swish"), "unknown activation 'swish'"),
    (lambda: replace(Layer(3), dropout=1), "dropout must be"),
    (lambda: replace(make_optimizer("sgd"), clip_norm=-1), "clip_norm must be"),
    (lambda: replace(make_schedule("cosine"), warmup_epochs=-1), "warmup_epochs must be"),
    (lambda: MLP([(1, "identity")], optimizer=("adam",)), "optimizer must be a name or the result of make_optimizer"),
    (lambda: make_optimizer("sgd", schedule=("cosine",)), "schedule must be a name or the result of make_schedule"),
    (lambda: make_optimizer("sgd", layer_rates=3), "layer_rates must be a number for each layer"),
    (lambda: MLP([(1, "identity")], ("huber", 2.0)), "made by make_loss"),
    (lambda: MLP([(1, ACTIVATIONS["tanh"])]), "pass the name of a built-in"),
    (lambda: MLP([(1, "identity")], LOSSES["mean_squared_error"]), "pass the name of a built-in"),
    (lambda: MLP([(1, "identity")], init=[]), "init must be a name"),
    (lambda: MLP([(1, "identity")], init=[1, 2]), "init must be a name"),
    (lambda: MLP([(1, "identity")], init=[(np.ones((1, 1)) * 1j, [0])]).build(1), "Complex"),
    (lambda: check_gradients(MLP([(1, "identity")]), X, Y[:, 0], step=0), "step must be"),
    (lambda: check_gradients(MLP([(1, "identity")]), X, Y[:, 0], n_parameters=0), "n_parameters must be"),
    (lambda: MLP([(1, "identity")], init=("uniform", 1e308)), r"scale of init must be a number in \(0, 1e\+30\]"),
    (lambda: MLP(0.1), r"layers must be a list of Layer or of pairs \(units, activation\), got 0.1"),
    (lambda: MLP(None), "layers must be a list of .* got None"),
    (lambda: MLP(Layer(1, "identity")), "layers must be a list of .* got Layer"),
    (lambda: MLP({"units": 1}), "layers must be a list of"),
    (lambda: MLP(np.array(1)), "layers must be a list of"),
    (lambda: MLP([(1, "identity")], backend=np.arange(2)), "backend must be one of"),
    (lambda: MLP([(1, "identity")], alpha=10**400), r"alpha must be a number in \[0, inf\)"),
    (lambda: make_optimizer("sgd", layer_rates=None), "layer_rates must be a number for each layer, got None"),
    (lambda: make_optimizer("sgd", layer_rates=np.array(1.0)), "layer_rates must be a number for each layer"),
    (lambda: MLP([(2**62, "relu"), (1, "identity")]).build(3), r"23,058,430,092,136,939,521 parameters, 92,233,720,368 "
     "GB in float32, and this machine has .* GB of memory"),
    (lambda: MLP([(np.int64(2**62), "relu"), (1, "identity")]).fit(X, Y[:, 0]), "23,058,430,092,136,939,521 "),
    (lambda: MLPRegressor(hidden_layer_sizes=2**62).fit(X, Y[:, 0]), r"parameters, 184,467,440,737 GB in float64"),
    (lambda: MLPRegressor(hidden_layer_sizes=(2**62, 2**62)).partial_fit(X, Y), r"parameters, .* GB in float64"),
    (lambda: MLPRegressor(n_layers=10**4, width=10**6).fit(X, Y), "9,999,009,999,000,000 parameters, 39,996,039 GB"),
    (lambda: MLPRegressor(n_layers=10**12).fit(X, Y), "n_layers. parameter of MLPRegressor must be an int in the"),
    (lambda: MLPClassifier(width=2**62).fit(X, LABELS), "parameters, .* GB in float64"),
    (lambda: to_c(FITTED, int8="no"), "int8 must be True or False, got 'no'"),
    (lambda: to_c(FITTED, test_inputs="digits"), "test_inputs must be an array, a frame or a list of numbers, got str"),
    (lambda: training_report("r.html", FITTED, Y, Y, seconds="1"), r"seconds must be a number in \[0, inf\)"),
    (lambda: plot_hidden_weights(FITTED, 3), r"image_shape must be \(height, width\)"),
    (lambda: plot_hidden_weights(FITTED, (None, 3)), r"image_shape must be \(height, width\)"),
    (lambda: plot_decision_boundary(FITTED, X[:, :2], "y"), "y must be an array, a frame or a list, got str"),
    (lambda: plot_decision_boundary(FITTED, X[:, :2], None), "X has 60 samples, y has none"),
    (lambda: Progress(0.5), "epochs must be an integer of at least 1"),
]  # fmt: skip


WRONG_KINDS = [
    (lambda: dead_units(Perceptron(), X), "model must be an MLP, MLPClassifier or MLPRegressor, got Perceptron"),
    (lambda: check_gradients(None, X, Y), "model must be an MLP, MLPClassifier or MLPRegressor, got NoneType"),
    (lambda: plot_hidden_weights("model", (1, 3)), "model must be an MLP, MLPClassifier or MLPRegressor, got str"),
    (lambda: plot_decision_boundary("model", X[:, :2], LABELS), "model must be an MLP or another classifier, got str"),
    (lambda: plot_decision_boundary(FITTED, X[:, :2], LABELS, axes=1), "axes must be matplotlib Axes, got int"),
    (lambda: plot_hidden_weights(FITTED, (1, 3), axes=3), "axes must be a list of matplotlib Axes, got 3"),
    (lambda: plot_activation("relu", axes="a"), "axes must be matplotlib Axes, got str"),
    (lambda: plot_activation("relu", 3), "path must be a str or Path, got 3"),
    (lambda: plot_history([1.0]), "history must be a dict of lists like MLP.history, or a list of these, got float"),
    (lambda: training_report("r.html", FITTED, Y, Y, speeds=[1]), r"speeds must be a dict of numbers, got \[1\]"),
    (lambda: training_report("r.html", FITTED, Y, Y, speeds={"a": "1"}), "speeds must be a dict of numbers"),
    (lambda: load(0), "path must be a str or Path, got 0"),
    (lambda: MLP.load(True), "path must be a str or Path, got True"),
    (lambda: FITTED.save(1), "path must be a str or Path, got 1"),
    (lambda: Checkpoint(None), "path must be a str or Path, got None"),
    (lambda: MLP([(1, "identity")]).fit(X, LABELS, validation_data=(X, LABELS), metric=lambda y, outputs: outputs),
     "metric must return a number, got array"),
]  # fmt: skip


@pytest.mark.parametrize("call, message", WRONG_KINDS)
def test_wrong_types(call, message):
    with pytest.raises(TypeError, match=message):
        call()


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("call, message", WRONG)
def test_invalid_values(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    "made", [make_optimizer("adam"), make_schedule("step"), make_loss("huber"), Layer(3)], ids=repr
)
def test_settings_are_frozen(made):
    for name in vars(made):
        with pytest.raises(FrozenInstanceError):
            setattr(made, name, 1)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_refused_function_changes_nothing(backend):
    def text(z):
        return None if z > 2 else z

    def raising(z):
        if z > 1:
            raise ValueError("no")
        return z

    estimator = MLPRegressor("squared_error", (5,), max_iter=5, random_state=0, backend=backend).fit(X, Y)
    before = estimator.predict(X)
    for wrong in (text, raising) if backend != "numpy" else ():
        with pytest.raises(ValueError, match=r"must give a number|cannot compile|must not raise"):
            estimator.set_params(activation=(lambda z, wrong=wrong: wrong(0.5), wrong)).partial_fit(X, Y)
        np.testing.assert_array_equal(estimator.predict(X), before)
        model = MLP([Layer(3, (lambda z: z, wrong)), Layer(2, "identity")], backend=backend)
        with pytest.raises(ValueError, match=r"must give a number|cannot compile|must not raise|fails for"):
            model.fit(X, Y)
        assert model._state is None


def test_compiled_prediction_refuses_samples_of_a_wrong_type_or_layout(backend):
    for layers in ([Layer(4, "prelu"), Layer(2, "identity", skip=2)], [Layer(4, "tanh"), Layer(2, "identity")]):
        model = MLP(layers, backend=backend).build(3)
        predict = model.compile_predict()
        for wrong in (
            np.zeros(2, "f4"), np.zeros(0, "f4"), np.zeros(4, "f4"), np.zeros(3, "f8"), np.zeros(3, ">f4"), [0.0] * 3,
            None, "row", b"0123456789ab", {0: 1.0}, 1.0,
        ):  # fmt: skip
            with pytest.raises(ValueError, match=r"the row must be 3 numbers of the model's dtype, .* got"):
                predict(wrong)
        row = np.ones(3, "f4")
        np.testing.assert_allclose(predict(row), model.predict(row[None])[0], rtol=1e-5)
        assert backend == "numpy" or predict(np.zeros(3, "f4")) is predict(row)
