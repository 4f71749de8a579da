"""Generate calls of every public entry point: sound arguments by the names of parameters, of which some are spoiled."""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from fuzz_values import LONG_WORK, Problem, odd, spoiled
from sklearn.model_selection import KFold
from sklearn.neural_network import MLPClassifier as ScikitClassifier

import fastmlp

COMMANDS = "command line"
DATA = {
    "X", "y", "sample_weight", "eval_X", "eval_y", "eval_set", "validation_data", "blocks", "data", "truth",
    "predicted", "gradient", "output_gradient", "test_inputs", "edges", "rows",
}  # fmt: skip
# Parameters that mean so much work or memory.
WORK = {
    "max_iter", "epochs", "n_members", "n_layers", "width", "hidden_layer_sizes", "max_fun", "mc_samples", "n_repeats",
    "n_frequencies", "size", "n_values", "n_outputs", "n_classes", "units", "n_inputs", "n_folds", "time_limit",
    "n_parameters", "batch_size", "layers", "n_jobs", "members", "folds", "hidden", "rounds", "network", "seeds",
}  # fmt: skip
ENDLESS = {"max_iter", "epochs", "max_fun", "n_members", "mc_samples", "n_repeats", "time_limit", "rounds", "members"}
# Methods that are not called here, and why.
NOT_CALLED = {
    "get_metadata_routing": "scikit-learn's own", "get_params": "scikit-learn's own",
    "set_fit_request": "scikit-learn's own",
    "set_partial_fit_request": "scikit-learn's own", "set_score_request": "scikit-learn's own",
    "set_predict_request": "scikit-learn's own", "set_predict_proba_request": "scikit-learn's own",
    "set_callbacks": "scikit-learn's own", "from_saved_state": "called by load", "saved_state": "called by save",
    "check_feature_names": "called by functions of this package", "after_epoch": "called by fits",
    "check_parameters": "called by fits", "prediction_network": "called by exports",
    "before_epoch": "called by fits", "within_epoch": "called by fits", "after_fit": "called by fits",
}  # fmt: skip


class Step(NamedTuple):
    """A call to judge. ``named`` are the arguments of which an error may speak."""

    text: str
    subject: Any
    function: Callable[..., Any]
    arguments: dict
    named: tuple
    may_train: bool = False  # before it meets what it refuses
    may_overflow: bool = False  # whether infinite numbers are right for such data


class World:
    """What the calls of a case share: a generator, sound data, and a folder."""

    def __init__(self, rng, folder):
        self.rng, self.folder = rng, folder
        self.problem = Problem(rng, bool(rng.integers(2)))

    def chance(self, probability):
        return self.rng.random() < probability

    def choose(self, values):
        return values[self.rng.integers(len(values))]

    def file(self, ending):
        return str(self.folder / f"file{self.rng.integers(3)}.{ending}")

    def model(self, kinds=("MLP", "MLPClassifier", "MLPRegressor")):
        """A fitted model, or now and then one that is not."""
        name = self.choose(kinds)
        self.problem = Problem(self.rng, "Classifier" in name or name in CLASSIFIES)
        made = make(self, name)
        return made.fit(self.problem.X, self.problem.y) if self.chance(0.9) else made


CLASSIFIES = {"Perceptron", "Adaline"}
SMALL = {"hidden_layer_sizes": (4,), "max_iter": 2, "random_state": 0}


def make(world, name):
    """A small sound object of a class."""
    return getattr(fastmlp, name)(**required(world, name))


def required(world, name):
    """Arguments that make a small sound object, or that a function needs."""
    if name == "MLP":
        return {"layers": [(4, "tanh"), (1, "identity")], "random_state": 0}
    if name in ("MLPClassifier", "MLPRegressor"):
        return dict(SMALL)
    if name.startswith("Tabular"):
        return {"hidden_layer_sizes": (4,), "epochs": 2, "random_state": 0}
    if name.startswith("MLPEnsemble"):
        member = getattr(fastmlp, "MLP" + name.removeprefix("MLPEnsemble"))(**SMALL)
        return {"estimator": member, "n_members": 2, "random_state": 0}
    return REQUIRED[name](world) if name in REQUIRED else {}


REQUIRED = {
    "Perceptron": lambda world: {"max_iter": 5, "random_state": 0},
    "Adaline": lambda world: {"max_iter": 5, "random_state": 0},
    "Layer": lambda world: {"units": 4},
    "OneHot": lambda world: {"n_values": 3},
    "Embedding": lambda world: {"n_values": 3, "size": 2},
    "PiecewiseLinear": lambda world: {"edges": [0.0, 0.5, 1.0]},
    "Checkpoint": lambda world: {"path": world.file("fastmlp")},
    "DataParallel": lambda world: {"communicator": one_rank()},
    "make_optimizer": lambda world: {"name": world.choose(["sgd", "momentum", "adam", "rmsprop", "adadelta"])},
    "make_loss": lambda world: {"name": world.choose(["huber", "quantile", "binary_cross_entropy"])},
    "make_schedule": lambda world: {"name": world.choose(["step", "cosine", "exponential", "constant"])},
    "softmax_regression": lambda world: {"n_classes": 2},
    "check_gradients": lambda world: with_data(world, world.model()),
    "dead_units": lambda world: with_X(world, world.model()),
    "input_gradient": lambda world: with_X(world, world.model()),
    "jacobian": lambda world: with_X(world, world.model()),
    "to_torch": lambda world: {"model": world.model()},
    "to_onnx": lambda world: {"model": world.model()},
    "to_c": lambda world: {"model": world.model()},
    "to_numpy_source": lambda world: {"model": world.model()},
    "to_sklearn": lambda world: {"estimator": world.model(("MLPClassifier", "MLPRegressor"))},
    "from_sklearn": lambda world: {"estimator": scikit(world)},
    "from_torch": lambda world: {"module": torch_module()},
    "load": lambda world: {"path": saved(world)},
    "read_blocks": lambda world: {"source": parquet(world), "target": "colour"},
    "fit_many": lambda world: (
        {"models": [make(world, regressor) for regressor in ("MLP", "MLPRegressor")]} | numbers(world)
    ),
    "cross_val_fit": lambda world: {"estimator": make(world, "MLPRegressor")} | numbers(world),
    "training_report": lambda world: report(world),
}


def torch_module():
    """A network of torch, or None where it is not installed: from_torch then says so."""
    try:
        from torch.nn import Linear, Sequential, Tanh
    except ImportError:
        return None
    return Sequential(Linear(3, 4), Tanh(), Linear(4, 1))


def one_rank():
    """A communicator of MPI with this process alone."""
    from mpi4py import MPI

    return MPI.COMM_SELF


def with_X(world, model):
    return {"model": model, "X": world.problem.X}


def with_data(world, model):
    return with_X(world, model) | {"y": world.problem.y}


def numbers(world):
    world.problem = Problem(world.rng, False)
    return {"X": world.problem.X, "y": world.problem.y}


def report(world):
    model = world.model()
    return {"path": world.file("html"), "model": model, "truth": world.problem.y, "predicted": world.problem.y}


def scikit(world):
    world.problem = Problem(world.rng, True)
    return ScikitClassifier((4,), max_iter=2).fit(world.problem.X, world.problem.y)


def saved(world):
    path = world.file("fastmlp")
    make(world, "MLP").build(3).save(path)
    return path


def parquet(world):
    path = world.file("parquet")
    world.problem.table().to_parquet(path)
    return path


# Sound arguments by name, for methods and for what is optional.
SOUND = {
    "X": lambda world: world.problem.X,
    "y": lambda world: world.problem.y,
    "sample_weight": lambda world: world.problem.weight,
    "eval_set": lambda world: [(world.problem.X, world.problem.y)],
    "eval_X": lambda world: world.problem.X,
    "eval_y": lambda world: world.problem.y,
    "validation_data": lambda world: (world.problem.X, world.problem.y),
    "blocks": lambda world: world.problem.blocks(),
    "classes": lambda world: [0, 1],
    "epochs": lambda world: 2,
    "n_inputs": lambda world: 3,
    "source": lambda world: make(world, "MLP").build(3),
    "gradient": lambda world: np.zeros(21, np.float32),
    "output_gradient": lambda world: np.ones((len(world.problem.X), 1), np.float32),
    "path": lambda world: world.file("fastmlp"),
    "callbacks": lambda world: [fastmlp.Callback()],
    "batch_size": lambda world: 8,
    "random_state": lambda world: 0,
    "metric": lambda world: None,
    "cv": lambda world: KFold(2),
    "coverage": lambda world: 0.8,
    "backend": lambda world: world.choose(["numpy", "cython"]),
    "dtype": lambda world: world.choose(["float32", "float64"]),
    "activation": lambda world: world.choose(["tanh", "relu", "gelu"]),
    "solver": lambda world: world.choose(["adam", "sgd", "lbfgs"]),
    "inputs": lambda world: [fastmlp.Plain()] * 3,
}
# Options of functions that take them by name.
OPTIONS = {
    "make_optimizer": ("momentum", "nesterov", "beta_1", "beta_2", "epsilon", "rho", "decay"),
    "make_loss": ("delta", "quantile", "label_smoothing"),
    "make_schedule": ("step_size", "gamma", "end_factor", "n_cycles", "power", "patience"),
    "linear_regression": ("alpha", "l1", "dtype", "init", "backend", "random_state"),
    "logistic_regression": ("alpha", "l1", "dtype", "init", "backend", "random_state"),
    "softmax_regression": ("alpha", "l1", "dtype", "init", "backend", "random_state"),
    "from_sklearn": ("alpha", "max_iter", "solver", "dtype", "backend"),
    "from_torch": ("alpha", "optimizer", "dtype"),
}


def entry_points():
    """Every public entry point."""
    return [*fastmlp.__all__, COMMANDS]


def methods(name):
    """Public methods of a class that are called here."""
    cls = getattr(fastmlp, name)
    if not inspect.isclass(cls):
        return []
    found = (one for one in dir(cls) if not one.startswith("_") and one not in NOT_CALLED)
    return [one for one in found if inspect.isroutine(inspect.getattr_static(cls, one, None))
            or callable(getattr(cls, one, None))]  # fmt: skip


def parameters(function, name=None):
    """Names of the parameters of a function, and of the options that it takes by name."""
    found = inspect.signature(function).parameters.values()
    kinds = inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD
    return [one.name for one in found if one.kind not in kinds and one.name != "self"] + [*OPTIONS.get(name, ())]


def needed(function):
    """Names of the parameters without a default."""
    kinds = inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD
    return [
        one.name for one in inspect.signature(function).parameters.values()
        if one.default is one.empty and one.kind not in kinds and one.name != "self"
    ]  # fmt: skip


def spoil(world, arguments, names):
    """Replace the argument of one of these names. Returns the name."""
    name = world.choose(names)
    if name in DATA and world.chance(0.7):
        arguments[name] = spoiled(world.rng, arguments[name] if name in arguments else sound(world, name))
    else:
        arguments[name] = odd(world.rng, name in WORK)
    if name in ENDLESS and isinstance(arguments[name], int) and arguments[name] > LONG_WORK:
        arguments[name] = LONG_WORK
    return name


def sound(world, name):
    return SOUND[name](world) if name in SOUND else world.problem.y


def arguments_of(world, function, given, name=None, share=0.15):
    """Sound arguments, of which one or two are spoiled in most calls. Returns them and the names of the spoiled."""
    names = parameters(function, name)
    arguments = dict(given)
    arguments |= {one: SOUND[one](world) for one in needed(function) if one not in arguments}
    more = [one for one in names if one in SOUND and one not in arguments and world.chance(share)]
    arguments |= {one: SOUND[one](world) for one in more}
    times = world.choose([0, 1, 1, 1, 2]) if names else 0
    return arguments, (*dict.fromkeys(spoil(world, arguments, names) for _ in range(times)), *more)


def steps(rng, folder):
    """The calls of one case, one after the other: they depend on the results of those before."""
    world = World(rng, folder)
    name = world.choose([*entry_points(), *HEAVIER])
    if name == COMMANDS:
        from fuzz_commands import command

        yield from command(world)
        return
    entry = getattr(fastmlp, name)
    world.problem = Problem(rng, "Classifier" in name or name in CLASSIFIES)
    given, wrong = arguments_of(world, entry, required(world, name), name)
    result = []
    yield judged(name, None, entry, given, wrong or (*given,), result, may_train="fit" in name)
    if result and (available := methods(name)):
        yield from uses(world, name, result[0], available, wrong)
    elif result and name in USES:
        yield from USES[name](world, result[0], wrong)


HEAVIER = ["MLP", "MLP", "MLP", "MLPClassifier", "MLPRegressor", "MLPClassifier", "MLPRegressor", COMMANDS, COMMANDS]


def judged(text, subject, function, given, named, result, **more):
    """A Step whose result is appended to a list."""

    def call(**arguments):
        result.append(function(**arguments))
        return result[-1]

    return Step(text, subject, call, given, named, **more)


def uses(world, name, made, available, wrong):
    """Calls of methods of an object: mostly after a fit, in any order."""
    order = [world.choose(available) for _ in range(world.rng.integers(1, 4))]
    if "fit" in available and world.chance(0.8):
        order.insert(0, "fit")
    for method in order:
        function = getattr(made, method, None)
        if function is None:  # as an estimator without predict_proba
            continue
        result = []
        share = 0.5 if wrong else 0.15
        if method == "fit" and world.chance(0.6):
            given, bad = {"X": world.problem.X, "y": world.problem.y}, ()
        else:
            given, bad = arguments_of(world, function, {}, share=share)
        if method == "set_params":
            names = list(made.get_params())
            bad = (spoil(world, given, names),)
            wrong = (*wrong, *bad)
        step = judged(f"{name}.{method}", made, function, given, (*bad, *wrong) or (*given,), result,
                      may_train=method == "fit_stream", may_overflow=method == "predict_log_proba")  # fmt: skip
        yield step
        if result and method in ("compile_predict", "compile_step"):
            yield from compiled(world, name, method, made, result[0])


def compiled(world, name, method, made, function):
    """A call of what compile_step and compile_predict return."""
    X = np.ascontiguousarray(world.problem.X[:8], getattr(made, "dtype", None) or world.problem.X.dtype)
    given = {"X": X}
    if method == "compile_step":
        given["y"] = np.ascontiguousarray(world.problem.y[:8].reshape(-1, 1), made.dtype)
    bad = (spoil(world, given, list(given)),) if world.chance(0.7) else ()

    def call(**arguments):
        return function(*arguments.values())

    yield Step(f"{name}.{method}()", made, call, given, bad or tuple(given), may_overflow=True)


def _train_with(place):
    """Train an MLP with what a function has made: an optimizer, a loss, a layer."""

    def use(world, made, wrong):
        given = required(world, "MLP") | place(made)
        models = []
        yield judged("MLP", None, fastmlp.MLP, given, (*wrong, *given), models)
        for model in models[:1]:
            data = numbers(world)
            yield judged("MLP.fit", model, model.fit, data | {"epochs": 2}, (*wrong, *given), [], may_train=True)

    return use


def _called_back(world, made, wrong):
    """Fit an MLP with a callback."""
    model = make(world, "MLP")
    yield judged("MLP.fit", model, model.fit, numbers(world) | {"callbacks": made}, (*wrong, "callbacks"), [])


USES = {
    "Callback": _called_back,
    "Checkpoint": _called_back,
    "Progress": _called_back,
    "make_optimizer": _train_with(lambda made: {"optimizer": made}),
    "make_loss": _train_with(lambda made: {"loss": made}),
    "make_schedule": _train_with(lambda made: {"optimizer": fastmlp.make_optimizer("sgd", schedule=made)}),
    "Layer": _train_with(lambda made: {"layers": [made, (1, "identity")]}),
    "OneHot": _train_with(lambda made: {"inputs": [made, fastmlp.Plain(), fastmlp.Plain()]}),
    "Embedding": _train_with(lambda made: {"inputs": [made, fastmlp.Plain(), fastmlp.Plain()]}),
    "Periodic": _train_with(lambda made: {"inputs": [made, fastmlp.Plain(), fastmlp.Plain()]}),
    "PiecewiseLinear": _train_with(lambda made: {"inputs": [made, fastmlp.Plain(), fastmlp.Plain()]}),
    "Plain": _train_with(lambda made: {"inputs": [made] * 3}),
    "DataParallel": _train_with(lambda made: {"communicator": made}),
}
