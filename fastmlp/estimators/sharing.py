"""Copies of estimators that have a communicator."""

from __future__ import annotations

from typing import Any, Self

from sklearn.base import BaseEstimator

from fastmlp.distributed.data_parallel import DataParallel


class SharesCommunicator(BaseEstimator):
    """Base class of estimators whose copies and clones share their communicator, and whose pickles leave it out.

    Communicators of mpi4py, apart from COMM_WORLD, cannot be copied, so that copies have a DataParallel instead.
    """

    communicator: Any

    def __getstate__(self):
        state = dict(super().__getstate__())
        return state | {"communicator": _that_can_be_copied(state.get("communicator"))}

    def __sklearn_clone__(self) -> Self:
        template = object.__new__(type(self))
        template.__dict__.update(vars(self), communicator=_that_can_be_copied(self.communicator))
        return super(SharesCommunicator, template).__sklearn_clone__()


def _that_can_be_copied(communicator):
    """A DataParallel instead of a communicator; None instead of one that has been freed."""
    if communicator is None or isinstance(communicator, DataParallel):
        return communicator
    try:
        return DataParallel(communicator)
    except ValueError:
        return None
    except TypeError:  # ``fit`` says what is wrong
        return communicator
