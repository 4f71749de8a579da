"""The order of the samples in each epoch."""

from __future__ import annotations

from contextlib import contextmanager
from ctypes import c_void_p, cast
from typing import NamedTuple

import numpy as np


class Shuffle(NamedTuple):
    """Function that returns the sample order of the next epoch.

    Attributes
    ----------
    random_state : RandomState
    from_scratch : bool
        Whether the order is a permutation of the sorted samples, so that it depends on the random state only and model
        files need not store it. False: of the previous order, as in scikit-learn.
    """

    random_state: np.random.RandomState
    from_scratch: bool

    def __call__(self, order):
        permutation = self.random_state.permutation(len(order))
        return permutation if self.from_scratch else order[permutation]


@contextmanager
def draws_of(shuffle):
    """Context manager: the addresses with which compiled code draws random numbers (``draws`` of kernels.spec.Repeat).

    None if another thread is drawing from the same generator; (0, 0) if ``shuffle`` is None.
    """
    if shuffle is None:
        yield 0, 0
        return
    generator = shuffle.random_state._bit_generator
    free = generator.lock.acquire(blocking=False)
    try:
        interface = generator.ctypes
        yield (cast(interface.next_uint32, c_void_p).value, interface.state_address) if free else None
    finally:
        if free:
            generator.lock.release()
