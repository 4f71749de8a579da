"""Device functions, and their composition into one: loops over the layers of a network are unrolled in this way."""

from functools import reduce

from numba import cuda


def device(function):
    """Compile a device function, which only kernels and other device functions can call."""
    return cuda.jit(device=True)(function)


def inlined(function):
    """A device function inlined into its caller, so that local arrays passed to it can stay in registers."""
    return cuda.jit(device=True, forceinline=True)(function)


def chain(functions, decorate=device):
    """A device function that calls several functions in turn with the same arguments."""
    if not functions:
        return decorate(lambda *given: None)
    if len(functions) == 1:
        return functions[0]
    first, rest = functions[0], chain(functions[1:], decorate)

    @decorate
    def call(*given):
        first(*given)
        rest(*given)

    return call


def sum_of(functions):
    """A device function that returns the sum of several functions, called in turn with the same arguments."""
    zero = device(lambda *given: 0.0)
    return reduce(lambda first, second: device(lambda *given: first(*given) + second(*given)), functions, zero)
