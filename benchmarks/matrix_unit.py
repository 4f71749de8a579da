"""The unit of this machine that multiplies matrices in reduced precision."""

from fastmlp.backends import registry
from fastmlp.cli.machine import products_of


def unit():
    """How fastmlp multiplies in medium precision, in the words of ``fastmlp info``."""
    return products_of(registry.choose().kernels)["medium"]
