"""When to stop by the validation loss, and which weights to keep."""

import math


class EarlyStopping:
    """Keeps a copy of the best ``parameters``, which are changed in place; ``patience`` None does nothing."""

    def __init__(self, parameters, patience):
        self._parameters, self._patience = parameters, patience
        self._best, self._best_loss, self._stalled = None, math.inf, 0
        self._best_epoch = None

    def note(self, epoch, loss):
        """Hear of the validation loss, or another number that should be low, after that epoch."""
        if self._patience is None:
            return
        self._stalled += 1
        if loss < self._best_loss:
            self._best, self._best_loss, self._stalled = self._parameters.copy(), loss, 0
            self._best_epoch = epoch

    @property
    def is_over(self):
        return self._patience is not None and self._stalled >= self._patience

    def restore_best(self):
        """Put the best weights back, if there are any. Returns their epoch, or None."""
        if self._best is not None:
            self._parameters[...] = self._best
        return self._best_epoch
