"""Activations by name or as custom functions; also the checks and names that custom losses share."""

from numbers import Real

from fastmlp.kernels.rules import ACTIVATIONS, Activation
from fastmlp.validation.checks import known


def check_activation(given):
    """Validate an activation. Returns a name in the table ACTIVATIONS, or an Activation for a custom one."""
    if isinstance(given, str):
        return known("activation", given, ACTIVATIONS)
    pair = check_functions("activation", given[:2] if isinstance(given, Activation) else given, ACTIVATIONS)
    row = Activation(*pair, of_input=True)
    if isinstance(given, Activation) and given != row:
        raise ValueError("pass the name of a built-in activation, not its row of the table ACTIVATIONS.")
    try_functions("activation", pair, (0.5,))
    return row


def check_functions(kind, given, table):
    """Validate a custom pair (function, derivative). Raises ValueError with the names in the table otherwise."""
    if not (isinstance(given, (tuple, list)) and len(given) == 2 and all(map(callable, given))):
        raise ValueError(
            f"unknown {kind} {given!r}. Known: {', '.join(table)}. A custom {kind} is a pair (function, derivative)."
        )
    return tuple(given)


def try_functions(kind, functions, arguments):
    """Call custom functions once. Raises ValueError unless each returns a number."""
    for function in functions:
        try:
            value = function(*arguments)
        except Exception as error:
            given = ", ".join(map(str, arguments))
            raise ValueError(f"the {kind} function {name_of(function)} fails for {given}: {error!r}") from error
        if not isinstance(value, Real):
            raise ValueError(f"the {kind} function {name_of(function)} must return a number, got {value!r}.")


def name_of(choice):
    """The name of an activation, loss or function, including custom ones."""
    if isinstance(choice, str):
        return choice
    return name_of(choice.function) if isinstance(choice, tuple) else getattr(choice, "__name__", repr(choice))


def built_in_name(choice):
    """The name of a loss or optimizer given as a name, an object or the tuple of its fields; None if it is custom."""
    name = choice[0] if isinstance(choice, tuple) else getattr(choice, "name", choice)
    return name if isinstance(name, str) else None
