"""The backend of a network: custom functions compiled for it, and the choice of 'auto'."""

import numpy as np

from fastmlp.backends import registry
from fastmlp.kernels.device_errors import BY_TARGET, DeviceError
from fastmlp.kernels.spec import optimizer

from .activations import name_of
from .precision import HIGHEST, check_precision_of_backend


def compile_custom_functions(kernels, network, parameters):
    """Compile custom activations and losses. Raises ValueError if that fails, before the model is changed."""
    custom = [choice for choice in (*network.activations, network.loss) if not isinstance(choice, str)]
    if not custom:
        return
    row = np.zeros((1, network.n_columns), parameters.dtype)
    try:
        kernels.loss_and_gradient(network, parameters, row, np.zeros((1, network.sizes[-1]), parameters.dtype))
    except (ValueError, ImportError, DeviceError):
        raise
    except Exception as error:  # compilers raise many kinds of errors
        names = ", ".join(dict.fromkeys(map(name_of, custom)))
        why = str(error).strip().splitlines() or [""]
        raise ValueError(
            f"Numba cannot compile {names}: use only numbers and functions of the module math in custom functions "
            f"({type(error).__name__}: {why[0]})"
        ) from error


def check_device(kernels, by_target):
    """Raise ValueError if a GPU is to train with losses that are computed output by output (``is_by_target``)."""
    if by_target and kernels.DEVICE is not None:
        raise ValueError(BY_TARGET)


def choose_backend(work, parameters, by_target):
    """The backend that 'auto' chooses for some Work.

    No GPU if it cannot compute losses output by output, an input stage, custom functions or the products.
    """
    found = registry.choose("auto", None if by_target or work.network.inputs is not None else work)
    if found.name in registry.ON_CPU:
        return found
    try:
        check_precision_of_backend(work.network.matmul_precision, found.kernels)
        if work.network.matmul_precision != HIGHEST:  # a ValueError if this GPU has no such products
            found.kernels.describe(work.network, optimizer("sgd"), parameters.dtype, work.batch_size)
        compile_custom_functions(found.kernels, work.network, parameters)
    except ValueError as error:
        found = registry.choose("auto")
        return found._replace(reason=f"{found.reason}; the GPU cannot be used: {error}")
    return found
