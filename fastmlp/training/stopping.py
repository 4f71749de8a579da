"""When to stop by the validation loss, and which weights to keep."""

import math
from typing import NamedTuple

import numpy as np

NOTHING_WATCHED = (
    "The score that early stopping watches was NaN after every epoch: nothing was watched, and the weights are those "
    "of the last epoch. Check the evaluation set and the metric."
)


class EarlyStopping(NamedTuple):
    """State of the early stopping of a fit. A training state holds it from the first epoch until the fit has ended.

    ``watched`` and ``n_rows`` are the name of the score and the number of validation samples. A later fit continues
    from here if it has the same. Lower scores are better.
    """

    watched: str
    n_rows: int
    best_score: float = math.inf
    best_parameters: np.ndarray | None = None
    best_epoch: int | None = None
    stalled: int = 0

    def after(self, epoch, score, parameters):
        """The state after that epoch; ``parameters`` are copied where they are the best so far."""
        if score < self.best_score:
            return self._replace(best_score=score, best_parameters=parameters.copy(), best_epoch=epoch, stalled=0)
        return self._replace(stalled=self.stalled + 1)
