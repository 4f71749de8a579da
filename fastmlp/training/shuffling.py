"""The order of the samples in each epoch."""

from __future__ import annotations

from contextlib import contextmanager
from ctypes import c_void_p, cast
from dataclasses import dataclass

import numpy as np


@dataclass
class Shuffle:
    """Function that returns the sample order of the next epoch.

    Attributes
    ----------
    random_state : RandomState
    from_scratch : bool
        Whether the order is a permutation of the sorted samples, so that it depends on the random state only and model
        files need not store it. False: of the previous order, as in scikit-learn.
    last : ndarray of int or None
        The last order that a call has returned, from which a resumed fit continues if there is one.
    """

    random_state: np.random.RandomState
    from_scratch: bool
    last: np.ndarray | None = None

    def __call__(self, order):
        permutation = self.random_state.permutation(len(order))
        self.last = permutation if self.from_scratch else order[permutation]
        return self.last


def first_order(shuffle, n_samples):
    """The order before the first epoch: that of the samples, or that in which a Shuffle continues."""
    if shuffle is None or shuffle.last is None:
        return np.arange(n_samples)
    if len(shuffle.last) != n_samples:
        raise ValueError(f"the order of the last epoch has {len(shuffle.last)} samples, not {n_samples}.")
    return shuffle.last


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
