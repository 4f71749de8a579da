"""What a model is asked to use: activations, losses, optimizers and schedules, by name or a user's own."""

from numbers import Real

from fastmlp.kernels.rules import ACTIVATIONS, LOSSES, OPTIMIZERS, Activation, Loss
from fastmlp.kernels.spec import Optimizer, optimizer
from fastmlp.training.schedules import SCHEDULES, Schedule
from fastmlp.validation.arrays import is_listing
from fastmlp.validation.checks import check_options, check_real, known

# Ranges of options, for every table that has one of that name: (low, high, whether low and high are left out).
RANGES = {
    "epsilon": (0, float("inf"), True, False),
    "delta": (0, float("inf"), True, False),
    "quantile": (0, 1, True, True),
}
SHARES = 0, 1, False, True  # momentum, rho and the betas


def make_optimizer(name, learning_rate=None, *, weight_decay=None, clip_norm=0.0, clip_value=0.0, max_norm=0.0,
                   layer_rates=(), schedule=None, **options):  # fmt: skip
    """An optimizer: a name of the table OPTIMIZERS with its learning rate, its options, and what goes with any of them.

    Parameters
    ----------
    name : {'sgd', 'momentum', 'nesterov', 'adagrad', 'adadelta', 'rmsprop', 'adam', 'adamw', 'adamax', 'nadam', \
'amsgrad'}
        Formulas and papers: ``help(fastmlp.kernels.rules.optimizers)``.
    learning_rate : float > 0, default: the paper's or the usual one
        0.01 for 'sgd', 'momentum', 'nesterov' and 'adagrad', 1 for 'adadelta', 0.002 for 'adamax' and 'nadam', 0.001
        for the others.
    weight_decay : float >= 0, default=0, and 0.01 for 'adamw'
        Each step takes learning_rate x weight_decay x W off the weights, not the biases: as part of the gradient for
        'sgd', 'momentum' and 'nesterov' (so that momentum has it too), by itself for the others (Loshchilov & Hutter
        2019).
    clip_norm, clip_value : float >= 0, default=0
        Largest norm of the whole gradient (Pascanu, Mikolov & Bengio 2013), penalties included, and largest size of
        each of its entries; 0 is no bound. The norm is bounded first.
    max_norm : float >= 0, default=0
        Largest norm of the weights into a unit after each step (Srivastava et al. 2014); 0 is no bound.
    layer_rates : sequence of float > 0, default=()
        Factors of the learning rate, one for each layer of weights.
    schedule : str or the result of ``make_schedule``, default=None
        How the rate changes: a name takes the schedule's default options.
    **options : float
        momentum in [0, 1): of 'momentum' and 'nesterov' (0.9). rho in [0, 1): of 'rmsprop' (0.9) and 'adadelta' (0.95).
        beta_1, beta_2 in [0, 1): of 'adam' and its variants (0.9, 0.999). epsilon > 0: of all of these but 'momentum',
        'nesterov' and 'adamax' (1e-8, 'adadelta' 1e-6), and of 'adagrad'.

    Raises
    ------
    ValueError
        For an unknown name or option, or a value out of range; it says what would be right.
    """
    rule = OPTIMIZERS[known("optimizer", name, OPTIMIZERS)]
    check_options("optimizer", name, options, {key: RANGES.get(key, SHARES) for key in rule.options})
    if learning_rate is not None:
        check_real("learning_rate", learning_rate, 0, open_low=True)
    bounds = {"clip_norm": clip_norm, "clip_value": clip_value, "max_norm": max_norm}
    for key, value in {**bounds, "weight_decay": 0.0 if weight_decay is None else weight_decay}.items():
        check_real(key, value, 0)
    if not is_listing(layer_rates):
        raise ValueError(f"layer_rates must be a number for each layer, got {layer_rates!r}.")
    layer_rates = [check_real("each of layer_rates", rate, 0, open_low=True) for rate in layer_rates]
    return optimizer(
        name, learning_rate, weight_decay=weight_decay, layer_rates=layer_rates,
        schedule=None if schedule is None else check_schedule(schedule), **bounds, **options,
    )  # fmt: skip


def check_optimizer(given):
    """An Optimizer from one, or from a name. 'lbfgs' stays a name: it is no update rule."""
    if not isinstance(given, tuple):
        known("optimizer", given, (*OPTIMIZERS, "lbfgs"))
        return given if given == "lbfgs" else make_optimizer(given)
    given = _remade("optimizer", Optimizer, given, OPTIMIZERS)
    rule = OPTIMIZERS[known("optimizer", given.name, OPTIMIZERS)]
    asked = {key: value for key, value in given._asdict().items() if key != "options"}
    return make_optimizer(**asked, **dict(zip(rule.options, given.options, strict=True)))


def make_loss(name, **options):
    """A loss with options other than its defaults, for what takes a loss.

    Parameters
    ----------
    name : {'squared_error', 'mean_squared_error', 'absolute_error', 'huber', 'quantile', 'categorical_cross_entropy', \
'binary_cross_entropy', 'poisson', 'perceptron'}
        Formulas: ``help(fastmlp.kernels.rules.losses)``.
    **options : float
        'huber': delta > 0 (1), where the square becomes a straight line. 'quantile': quantile in (0, 1) (0.5, the median).

    Returns
    -------
    tuple
        (name, options in the order of the table).
    """
    row = LOSSES[known("loss", name, LOSSES)]
    defaults = dict(row.options)
    check_options("loss", name, options, {key: RANGES[key] for key in defaults})
    return name, tuple(float(value) for value in (defaults | options).values())


def check_loss(given):
    """(name or row, options) from a name, the result of ``make_loss``, or a user's (function, derivative)."""
    if isinstance(given, str):
        return make_loss(given)
    if isinstance(given, tuple) and len(given) == 2 and isinstance(given[0], str):
        name = known("loss", given[0], LOSSES)
        options = dict(LOSSES[name].options)
        if not isinstance(given[1], tuple) or len(given[1]) != len(options):
            raise ValueError(f"a loss with options is made by make_loss({name!r}, ...), got {given!r}.")
        return make_loss(name, **dict(zip(options, given[1])))
    row = Loss(*_pair("loss", given[:2] if isinstance(given, Loss) else given))
    if isinstance(given, Loss) and given != row:
        raise ValueError("a row of the table LOSSES goes by its name.")
    _try_rules("loss", row[:2], (0.5, 0.25))
    return row, ()


def check_activation(given):
    """A name of the table, or the row of a user's (function, derivative), both of z."""
    if isinstance(given, str):
        return known("activation", given, ACTIVATIONS)
    row = Activation(*_pair("activation", given[:2] if isinstance(given, Activation) else given), of_input=True)
    if isinstance(given, Activation) and given != row:
        raise ValueError("a row of the table ACTIVATIONS goes by its name.")
    _try_rules("activation", row[:2], (0.5,))
    return row


def _remade(kind, made_of, given, table):
    """The NamedTuple of a plain tuple, as it comes out of a file."""
    try:
        made = made_of(*given)
        n_options = len(table[known(kind, made.name, table)].options)
        if len(made.options) == n_options:
            return made
    except TypeError:
        pass
    raise ValueError(f"{kind} must be a name or the result of make_{kind}, got {given!r}.")


def _pair(kind, given):
    if not (isinstance(given, (tuple, list)) and len(given) == 2 and all(map(callable, given))):
        known(kind, given, LOSSES if kind == "loss" else ACTIVATIONS)
    return given


def _try_rules(kind, rules, arguments):
    """Refuse functions that do not give a number for numbers."""
    for rule in rules:
        try:
            value = rule(*arguments)
        except Exception as error:
            given = ", ".join(map(str, arguments))
            raise ValueError(f"the {kind} function {name_of(rule)} fails for {given}: {error!r}") from error
        if not isinstance(value, Real):
            raise ValueError(f"the {kind} function {name_of(rule)} must give a number for numbers, got {value!r}.")


def name_of(choice):
    """The name of an activation, a loss or a function, a user's own included."""
    if isinstance(choice, str):
        return choice
    return name_of(choice.function) if isinstance(choice, tuple) else getattr(choice, "__name__", repr(choice))


def make_schedule(name, *, warmup_epochs=0.0, **options):
    """A schedule of the learning rate, for ``make_optimizer`` and the estimators' ``learning_rate``.

    Parameters
    ----------
    name : {'constant', 'inverse_scaling', 'step', 'exponential', 'cosine', 'reduce_on_plateau'}
    warmup_epochs : float >= 0, default=0
        Epochs over which the rate first rises to its full value, step by step (Goyal et al. 2017).
    **options : float
        The rate is multiplied by a factor, with t the time in epochs, counted in steps (defaults in parentheses):

        - 'inverse_scaling': (1 + t)^-power (0.5);
        - 'step': gamma^floor(t / step_size) (0.5, 10);
        - 'exponential': gamma^t (0.95);
        - 'cosine': a half wave from 1 to end_factor (0) within ``epochs`` (100) (Loshchilov & Hutter 2017);
        - 'reduce_on_plateau': ``factor`` (0.2) once more whenever the training loss has not improved by more than
          ``min_delta`` (1e-4) for ``patience`` (10) epochs, as Keras's ReduceLROnPlateau does.
    """
    rule = SCHEDULES[known("schedule", name, SCHEDULES)]
    ranges = {key: (given.low, given.high, given.open_low, False) for key, given in rule.options.items()}
    check_options("schedule", name, options, ranges)
    values = {key: given.default for key, given in rule.options.items()} | options
    return Schedule(name, tuple(map(float, values.values())), check_real("warmup_epochs", warmup_epochs, 0))


def check_schedule(given):
    """A Schedule from one, or from a name."""
    if not isinstance(given, tuple):
        return make_schedule(given)
    given = _remade("schedule", Schedule, given, SCHEDULES)
    rule = SCHEDULES[known("schedule", given.name, SCHEDULES)]
    return make_schedule(given.name, warmup_epochs=given.warmup_epochs, **dict(zip(rule.options, given.options, strict=True)))
