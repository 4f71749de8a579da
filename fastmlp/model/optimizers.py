"""Optimizers by name, with a learning rate, options, bounds and a schedule."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

from fastmlp.docstrings import with_names
from fastmlp.kernels.rules import OPTIMIZERS
from fastmlp.kernels.spec import Optimizer as KernelOptimizer
from fastmlp.training.full_batch import FULL_BATCH
from fastmlp.training.schedules import Schedule, check_schedule
from fastmlp.validation.arrays import is_listing
from fastmlp.validation.checks import (
    Range,
    call_text,
    check_flags,
    check_option_values,
    check_real,
    from_record,
    known,
    option_values,
)

FRACTION = Range(0, 1, open_high=True)
RANGES = {
    "momentum": FRACTION, "rho": FRACTION, "beta_1": FRACTION, "beta_2": FRACTION, "epsilon": Range(0, open_low=True),
}  # fmt: skip


@dataclass(frozen=True, repr=False)
class Optimizer:
    """An optimizer in the table OPTIMIZERS with its settings, see ``make_optimizer``.

    ``options`` are the values of its options in the order of the table; None uses the defaults. Values are validated on
    construction; ``dataclasses.replace(optimizer, learning_rate=0.01)`` returns a changed copy.
    """

    name: str
    learning_rate: float | None = None
    options: tuple[float, ...] | None = None
    weight_decay: float | None = None
    clip_norm: float = 0.0
    clip_value: float = 0.0
    max_norm: float = 0.0
    layer_rates: tuple[float, ...] = ()
    schedule: Schedule | None = None

    def __post_init__(self):
        rule = OPTIMIZERS[known("optimizer", self.name, OPTIMIZERS)]
        rate = rule.learning_rate if self.learning_rate is None else self.learning_rate
        weight_decay = rule.weight_decay if self.weight_decay is None else self.weight_decay
        checked = {
            "learning_rate": check_real("learning_rate", rate, 0, open_low=True),
            "options": check_option_values("optimizer", self.name, self.options, rule.options, RANGES),
            "weight_decay": check_real("weight_decay", weight_decay, 0),
        }
        for key in ("clip_norm", "clip_value", "max_norm"):
            checked[key] = check_real(key, getattr(self, key), 0)
        if not is_listing(self.layer_rates):
            raise ValueError(f"layer_rates must be a number for each layer, got {self.layer_rates!r}.")
        checked["layer_rates"] = tuple(
            check_real("each of layer_rates", rate, 0, open_low=True) for rate in self.layer_rates
        )
        checked["schedule"] = None if self.schedule is None else check_schedule(self.schedule)
        for key, value in checked.items():
            object.__setattr__(self, key, value)

    def __repr__(self):
        rule, plain = OPTIMIZERS[self.name], Optimizer(self.name)
        given = {"learning_rate": self.learning_rate, **dict(zip(rule.options, self.options, strict=True))}
        names = [field.name for field in fields(self) if field.name not in ("name", "options")]
        given |= {key: getattr(self, key) for key in names if getattr(self, key) != getattr(plain, key)}
        return call_text("make_optimizer", self.name, given)

    def for_kernels(self):
        """The record that is passed to the kernels."""
        return KernelOptimizer(*(getattr(self, field.name) for field in fields(self)))


@with_names(OPTIMIZERS=OPTIMIZERS)
def make_optimizer(
    name: str,
    learning_rate: float | None = None,
    *,
    weight_decay: float | None = None,
    clip_norm: float = 0.0,
    clip_value: float = 0.0,
    max_norm: float = 0.0,
    layer_rates: Sequence[float] = (),
    schedule: str | Schedule | None = None,
    **options: float,
) -> Optimizer:
    """Make an optimizer with options, for ``MLP`` and the ``solver`` of the estimators.

    Parameters
    ----------
    name : {OPTIMIZERS}
        Formulas and papers: ``help(fastmlp.kernels.rules.optimizers)``.
    learning_rate : float > 0, default=None
        None uses the value of the paper or the usual one: 0.01 for 'sgd', 'momentum', 'nesterov' and 'adagrad', 1 for
        'adadelta', 0.002 for 'adamax' and 'nadam', 0.001 for the others.
    weight_decay : float >= 0, default=0, and 0.01 for 'adamw'
        Decay of the weights, not of the biases. For 'sgd', 'momentum' and 'nesterov' weight_decay x W is added to the
        gradient, so that momentum applies to it too; for the others each step subtracts learning_rate x weight_decay x
        W separately (Loshchilov & Hutter 2019).
    clip_norm, clip_value : float >= 0, default=0
        Upper bound for the norm of the whole gradient (Pascanu, Mikolov & Bengio 2013), penalties included, and for the
        absolute value of each of its entries; 0 means no bound. The norm is clipped first.
    max_norm : float >= 0, default=0
        Upper bound for the norm of the incoming weights of each unit after each step (Srivastava et al. 2014); 0 means
        no bound.
    layer_rates : sequence of float > 0, default=()
        Factors of the learning rate, one per layer.
    schedule : str or the result of ``make_schedule``, default=None
        Learning rate schedule; a name uses the default options of the schedule.
    **options : float
        momentum in [0, 1): 'momentum' and 'nesterov' (default 0.9) and 'sgd' (0). nesterov: True or False, for 'sgd'
        with a momentum. 'sgd' with a momentum is the same as 'momentum', or 'nesterov' with nesterov=True. rho in
        [0, 1): 'rmsprop' (0.9) and 'adadelta' (0.95). beta_1, beta_2 in [0, 1): 'adam' and its variants (0.9, 0.999).
        epsilon > 0: 'adagrad', 'adadelta', 'rmsprop', and 'adam' and its variants other than 'adamax' (1e-8, for
        'adadelta' 1e-6).

    Returns
    -------
    Optimizer

    Raises
    ------
    ValueError
        If the name or an option is unknown, or a value is out of range; the message gives the allowed values.
    """
    if known("optimizer", name, OPTIMIZERS) == "sgd":
        name, options = _sgd_with_momentum(options)
    values = option_values("optimizer", name, options, OPTIMIZERS[name].options)
    return Optimizer(
        name, learning_rate, values, weight_decay, clip_norm, clip_value, max_norm,
        layer_rates, schedule,  # type: ignore[arg-type]  # converted by Optimizer
    )  # fmt: skip


def _sgd_with_momentum(options):
    """(name, options) in the table for 'sgd' with the options momentum and nesterov, as in PyTorch and Keras."""
    momentum, nesterov = option_values("optimizer", "sgd", options, {"momentum": 0.0, "nesterov": False})
    momentum = check_real("momentum", momentum, **RANGES["momentum"]._asdict())
    (nesterov,) = check_flags(nesterov=nesterov)
    if momentum == 0:
        if nesterov:
            raise ValueError("nesterov=True requires a momentum above 0, for example momentum=0.9.")
        return "sgd", {}
    return "nesterov" if nesterov else "momentum", {"momentum": momentum}


def check_optimizer(given):
    """Validate an optimizer or its name. Returns an Optimizer, or 'lbfgs' or 'lm', which have no update rule."""
    if isinstance(given, Optimizer):
        return given
    if isinstance(given, tuple):  # from a model file
        return from_record("optimizer", Optimizer, given)
    known("optimizer", given, (*OPTIMIZERS, *FULL_BATCH))
    return given if given in FULL_BATCH else Optimizer(given)
