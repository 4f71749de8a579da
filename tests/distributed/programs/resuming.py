"""Print whether a fit of an estimator by all ranks that is resumed has the result of an unbroken one, on every rank."""

import json
import sys
import warnings
from contextlib import suppress

import numpy as np
from mpi4py import MPI

from fastmlp import Checkpoint, MLPClassifier, MLPRegressor

COMM = MPI.COMM_WORLD
RNG = np.random.default_rng(0)
X = RNG.standard_normal((200, 5))
Y = np.sin(X[:, 0])
CASES = {
    "plain": (MLPRegressor, {}, Y),
    "early stopping": (MLPClassifier, {"early_stopping": True, "n_iter_no_change": 2, "max_iter": 40}, Y > 0),
    "dropout": (MLPRegressor, {"dropout": 0.2, "scale": "standard"}, Y),
    "adaptive": (MLPRegressor, {"solver": "sgd", "learning_rate": "adaptive", "tol": 0.1, "n_iter_no_change": 1}, Y),
}


def result(model):
    """The order in which the losses of steps are added up depends on how fast they are, but not the weights."""
    kept = model._net.parameters, model.n_iter_, np.round(model.loss_curve_, 6), model.validation_scores_
    return [np.array(part, float).tolist() for part in kept if part is not None]


def is_same(kind, parameters, y, path, last):
    parameters = {"hidden_layer_sizes": (6,), "max_iter": 9, "random_state": 0, "batch_size": 20} | parameters
    whole = kind(**parameters, communicator=COMM).fit(X, y)

    def fail(model, epoch, results):
        if epoch == last:
            raise MemoryError

    with suppress(MemoryError):
        kind(**parameters, communicator=COMM).fit(X, y, callbacks=[Checkpoint(path), fail])
    resumed = kind(**parameters, communicator=COMM).fit(X, y, resume_from=path)
    others = kind(**parameters, communicator=COMM)
    try:
        others.fit(X + 1, y, resume_from=path)
        refused = False
    except ValueError as error:
        refused = "other data" in str(error)
    return result(resumed) == result(whole) and refused


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    found = {name: [is_same(*case, f"{sys.argv[1]}/{name}", last) for last in (2, 5)] for name, case in CASES.items()}
    found = COMM.gather(found)
    if COMM.rank == 0:
        print(json.dumps(found))
