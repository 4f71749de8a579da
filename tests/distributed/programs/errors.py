"""Calls that must fail on all ranks with the same error. Rank 0 prints {case: [message of each rank]} as JSON."""

import json
import sys
import tempfile
import warnings

import numpy as np
import pandas as pd
from mpi4py import MPI
from scipy import sparse

from fastmlp import (
    MLP,
    Callback,
    Checkpoint,
    DataParallel,
    Layer,
    MLPClassifier,
    MLPEnsembleRegressor,
    MLPRegressor,
    TabularMLPClassifier,
    TabularMLPRegressor,
    cross_val_fit,
    fit_many,
    make_loss,
    make_optimizer,
)

COMM = MPI.COMM_WORLD
OWN, SCATTERED = DataParallel(COMM, "own"), DataParallel(COMM, "scattered")
OTHER = COMM.Dup()
LAST = COMM.rank == COMM.size - 1
RNG = np.random.default_rng(0)
X = RNG.standard_normal((60, 4))
Y = np.sin(X[:, :1])
BLOCKS, FEWER = [(X, Y)] * (2 * COMM.size), [(X, Y)] * (2 * COMM.size - LAST)
LABELS = np.where(X[:, 0] > 0, "yes", "no" if LAST else "maybe")


def mlp(communicator=COMM, units=5, outputs=1, **options):
    layers = [Layer(units, "tanh"), Layer(outputs, "identity")]
    return MLP(layers, communicator=communicator, random_state=0, backend="cython", **options)


def regressor(communicator=COMM, **options):
    return MLPRegressor(communicator=communicator, backend="cython", **options)


def scattered(kind, *samples):
    kind(SCATTERED).fit(*(None if COMM.rank else one for one in samples))


def resumes_with_own_rows():
    folder = COMM.bcast(tempfile.mkdtemp() if COMM.rank == 0 else None)
    regressor(OWN, max_iter=2).fit(X, Y.ravel(), callbacks=Checkpoint(f"{folder}/fit"))
    regressor(OWN, max_iter=2).fit(X, Y.ravel(), resume_from=f"{folder}/fit")


def unsendable():
    frame = pd.DataFrame(X)
    frame.attrs["note"] = lambda: None
    return frame


def warm_start_with_a_class_less():
    model = MLPClassifier(warm_start=True, communicator=OWN, max_iter=2).fit(X, LABELS)
    model.fit(X, np.where(LABELS == "no", "yes", LABELS))


def quantiles(low):
    layers, loss = [Layer(3), Layer(2, "identity")], make_loss("quantile", quantile=[low, 0.9])
    return MLP(layers, loss, communicator=COMM, backend="cython", random_state=0)


def custom(rate):
    loss = (lambda p, t: rate * (p - t) ** 2), (lambda p, t: 2 * rate * (p - t))
    return MLP([Layer(1, "identity")], loss, backend="numpy", communicator=COMM)


def binary(communicator):
    return MLP([Layer(1, "logistic")], "binary_cross_entropy", backend="cython", communicator=communicator)


def freed():
    communicator = COMM.Dup()
    communicator.Free()
    mlp(communicator)


def freed_later():
    communicator = COMM.Dup()
    model = mlp(communicator)
    communicator.Free()
    model.fit(X, Y)


def exits(*given):
    raise SystemExit(3)


def fits_another(*given):
    mlp().fit(X, Y, epochs=1)


def fits_with_another_communicator(*given):
    mlp(OTHER).fit(X, Y, epochs=1)


class BreaksAtTheEnd(Callback):
    def after_fit(self, model, error):
        raise ZeroDivisionError("it broke")


def strictly(fit):
    """Call ``fit`` while warnings are errors."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit()


def fitted_on_last(communicator=COMM, **options):
    model = regressor(communicator, warm_start=True, **options)
    if LAST:
        model.set_params(communicator=None).fit(X, Y.ravel()).set_params(communicator=communicator)
    model.fit(X, Y.ravel())


def named(given):
    return pd.DataFrame(given, columns=list("dcba" if LAST else "abcd"))


def breaks(*given):
    raise ZeroDivisionError("it broke")


def interrupts(*given):
    raise KeyboardInterrupt


class Interrupt(KeyboardInterrupt):
    pass


def interrupts_in_its_own_way(*given):
    raise Interrupt("it broke")


class OpenFile(list):
    """Samples that cannot be pickled."""

    def __reduce__(self):
        raise TypeError("an open file")


def large(rate):
    return make_optimizer("sgd", rate)


CALLS = {
    "other width": lambda: mlp(units=5 + LAST).fit(X, Y),
    "other dtype": lambda: mlp(dtype="float64" if LAST else "float32").fit(X, Y),
    "other optimizer": lambda: mlp(optimizer=large(0.1 + LAST)).fit(X, Y),
    "other epochs": lambda: mlp().fit(X, Y, epochs=3 + LAST),
    "other parameters": lambda: regressor(alpha=0.1 + LAST).fit(X, Y),
    "other columns": lambda: mlp(OWN).fit(X[:, : 4 - LAST], Y),
    "other samples": lambda: mlp().fit(X + LAST, Y),
    "other samples of an estimator": lambda: regressor().fit(X, Y.ravel() + LAST),
    "no samples on one": lambda: mlp(OWN).fit(X[: 60 * (1 - LAST)], Y[: 60 * (1 - LAST)]),
    "None on rank 0": lambda: mlp().fit(*((None, None) if COMM.rank == 0 else (X, Y))),
    "NaN on one": lambda: mlp(OWN).fit(np.where(LAST, np.nan, X), Y),
    "weights on one": lambda: mlp(OWN).fit(X, Y, sample_weight=np.ones(60) if LAST else None),
    "patience on one": lambda: mlp().fit(X, Y, validation_data=(X, Y), patience=3 if LAST else None),
    "small batches": lambda: mlp(OWN).fit(X, Y, batch_size=COMM.size - 1),
    "monitor": lambda: mlp(OWN).fit(X, Y, monitor=True),
    "balanced classes of own rows": lambda: MLPClassifier(class_weight="balanced", communicator=OWN).fit(X, LABELS),
    "checkpoint of own rows": resumes_with_own_rows,
    "labels of two kinds": lambda: MLPClassifier(communicator=OWN).fit(
        X, np.where(X[:, 0] > 0, 1, 2) if LAST else LABELS
    ),
    "labels on one": lambda: MLPClassifier(communicator=OWN).fit(X, X[:, 0] if LAST else LABELS),
    "few samples to scatter": lambda: scattered(regressor, X[:1], Y[:1]),
    "samples to scatter on one": lambda: mlp(SCATTERED).fit(X, Y) if LAST else scattered(mlp, X, Y),
    "other lengths to scatter": lambda: scattered(mlp, X, Y[:-1]),
    "nothing to scatter": lambda: scattered(mlp, None, None),
    "no weights to scatter": lambda: scattered(regressor, X, Y.ravel(), 0 * X[:, 0]),
    "no weights for lbfgs": lambda: regressor(OWN, solver="lbfgs").fit(X, Y.ravel(), 0 * X[:, 0]),
    "infinite scale": lambda: regressor(OWN, scale="targets").fit(X, 1e300 * Y.ravel() if LAST else Y.ravel()),
    "scale on one": lambda: regressor(OWN, scale="standard" if LAST else None).fit(X, Y.ravel()),
    "scale of a stream on one": lambda: regressor(scale="standard" if LAST else None).fit_stream(BLOCKS),
    "fitted on one, with scale": lambda: fitted_on_last(OWN, scale="standard"),
    "other class weights of own rows": lambda: MLPClassifier(class_weight={"yes": 2 + LAST}, communicator=OWN).fit(
        X, LABELS
    ),
    "other target_values": lambda: MLPClassifier(
        loss="squared_error", target_values=(0.1, 0.9 if LAST else 1), communicator=OWN
    ).fit(X, LABELS),
    "sparse labels on one": lambda: MLPClassifier(communicator=OWN).fit(
        X, sparse.csr_matrix(X > 0) if LAST else (X > 0).astype(int)
    ),
    "weights of two kinds": lambda: regressor(OWN, scale="targets").fit(X, Y + X, np.ones((60, 4) if LAST else 60)),
    "weights of two kinds of a model": lambda: mlp(OWN, outputs=4, optimizer="lbfgs").fit(
        X, Y + X, sample_weight=np.ones((60, 4) if LAST else 60)
    ),
    "own rows on one": lambda: regressor(OWN if LAST else COMM).fit(X, Y.ravel()),
    "partial_fit on one": lambda: getattr(regressor(OWN), "partial_fit" if LAST else "fit")(X, Y.ravel()),
    "no labels": lambda: MLPClassifier(communicator=OWN).fit(X, None if LAST else LABELS),
    "no values in a column": lambda: regressor(OWN, missing_targets="ignore").fit(X, Y * [[1, np.nan]]),
    "no values in a column of a model": lambda: mlp(OWN, outputs=2, missing_targets="ignore").fit(X, Y * [[1, np.nan]]),
    "a class less": warm_start_with_a_class_less,
    "samples that cannot be sent": lambda: scattered(regressor, unsendable(), Y.ravel()),
    "weights by name to scatter": lambda: scattered(regressor, X, Y.ravel(), "balanced"),
    "wrong callbacks on rank 0": lambda: mlp().fit(X, Y, callbacks=None if COMM.rank else 3),
    "other quantiles": lambda: quantiles(0.1 if LAST else 0.2).fit(X, Y),
    "other captured variables": lambda: custom(2.0 + LAST).fit(X, Y),
    "other rows of tables": lambda: TabularMLPRegressor(communicator=COMM).fit(X[:: 1 - 2 * LAST], Y.ravel()),
    "local steps of lbfgs": lambda: mlp(DataParallel(COMM, local_steps=2), optimizer="lbfgs").fit(X, Y),
    "small batches of a stream": lambda: mlp().fit_stream(BLOCKS, batch_size=COMM.size - 1),
    "freed communicator": freed,
    "lm": lambda: mlp(optimizer="lm").fit(X, Y),
    "invalid parameter": lambda: regressor(alpha=-1).fit(X, Y.ravel()),
    "no communicator": lambda: mlp(3),
    "no communicator of an estimator": lambda: regressor("world").fit(X, Y.ravel()),
    "unknown rows": lambda: DataParallel(COMM, "mine"),
    "compression of steps": lambda: DataParallel(COMM, local_steps=2, compression="bfloat16"),
    "callback": lambda: mlp().fit(X, Y, callbacks=breaks),
    "callback on rank 0 only": lambda: mlp().fit(X, Y, callbacks=None if COMM.rank else breaks),
    "callback that interrupts": lambda: mlp().fit(X, Y, callbacks=interrupts),
    "callback that interrupts in its own way": lambda: regressor().fit(X, Y, callbacks=interrupts_in_its_own_way),
    "open file": lambda: mlp().fit(X, Y, validation_data=(OpenFile(X.tolist()), Y)),
    "metric": lambda: mlp().fit(X, Y, validation_data=(X, Y), metric=breaks),
    "callback of lbfgs": lambda: mlp(optimizer="lbfgs").fit(X, Y, callbacks=breaks),
    "callback that exits": lambda: mlp().fit(X, Y, callbacks=exits),
    "callback after the fit": lambda: mlp().fit(X, Y, callbacks=BreaksAtTheEnd()),
    "fit in a callback": lambda: mlp().fit(X, Y, callbacks=fits_another),
    "fit with another communicator": lambda: mlp().fit(X, Y, callbacks=fits_with_another_communicator),
    "fit in a metric": lambda: mlp().fit(X, Y, validation_data=(X, Y), metric=fits_another),
    "fits in threads": lambda: fit_many([mlp(), mlp()], X, Y),
    "folds in threads": lambda: cross_val_fit(regressor(), X, Y.ravel()),
    "members in threads": lambda: MLPEnsembleRegressor(regressor()).fit(X, Y.ravel()),
    "other models": lambda: (regressor() if LAST else mlp()).fit(X, Y.ravel()),
    "epochs on one": lambda: mlp().fit(X, Y, epochs=1 - LAST),
    "epochs of a stream on one": lambda: mlp().fit_stream(BLOCKS, epochs=1 - LAST),
    "epochs of partial_fit on one": lambda: regressor().partial_fit(X, Y.ravel(), epochs=1 - LAST),
    "parameter on one": lambda: regressor(alpha=-LAST).fit(X, Y.ravel()),
    "lbfgs in a stream on one": lambda: regressor(solver="lbfgs" if LAST else "adam").fit_stream(BLOCKS),
    "metric on one": lambda: regressor().fit(X, Y, eval_set=[(X, Y)], eval_metric="neg_loss" if LAST else None),
    "fitted on one": fitted_on_last,
    "freed after a fit": freed_later,
    "strict about convergence": lambda: strictly(lambda: regressor(max_iter=2).fit(X, Y.ravel())),
    "strict about batches": lambda: strictly(lambda: regressor(batch_size=500).fit(X, Y.ravel())),
    "strict about blocks": lambda: strictly(lambda: mlp().fit_stream(BLOCKS, n_samples=7)),
    "no weights at all": lambda: mlp(OWN).fit(X, Y, sample_weight=np.zeros(60)),
    "other names": lambda: mlp(OWN).fit(named(X), Y),
    "other names of an estimator": lambda: regressor().fit(named(X), Y.ravel()),
    "other names of tables": lambda: TabularMLPRegressor(communicator=COMM).fit(named(X), Y.ravel()),
    "other labels": lambda: MLPClassifier(communicator=COMM).fit(X, LABELS),
    "other labels of tables": lambda: TabularMLPClassifier(communicator=COMM).fit(X, LABELS),
    "other class weights": lambda: binary(OWN).fit(X, Y > 0, class_weight={0: 1, 1: 2 + LAST}),
    "other first block": lambda: regressor().fit_stream([(X + LAST, Y.ravel())] * 9),
    "fewer blocks": lambda: mlp().fit_stream(FEWER),
    "fewer blocks of an iterator": lambda: mlp().fit_stream(iter(FEWER)),
    "other shuffling of blocks": lambda: regressor().fit_stream(BLOCKS, shuffle_blocks=1 + LAST),
    "n_samples on one": lambda: mlp(OWN).fit_stream(BLOCKS, n_samples=None if LAST else 60),
    "other n_samples": lambda: mlp().fit_stream(BLOCKS, n_samples=60 + LAST),
    "checkpoint": lambda: mlp().fit(X, Y, callbacks=Checkpoint("/nowhere/model")),
    "divergence": lambda: regressor(solver="sgd", learning_rate_init=1e9).fit(1e3 * X, Y.ravel()),
    "other columns in a block": lambda: mlp().fit_stream([*BLOCKS[:-1], (X[:, :2], Y)], shuffle=False),
    "own rows of tables": lambda: TabularMLPRegressor(communicator=OWN).fit(X, Y.ravel()),
    "time limit of tables": lambda: TabularMLPRegressor(communicator=COMM, time_limit=1).fit(X, Y.ravel()),
    "invalid table": lambda: TabularMLPRegressor(communicator=COMM).fit(X, Y.ravel()[1:]),
}


def message_of(call):
    try:
        call()
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    return "no error"


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    found = {case: COMM.allgather(message_of(call)) for case, call in CALLS.items()}
    model = mlp().fit(X, Y)  # no rank is left behind
    found["afterwards"] = COMM.allgather(f"{model.epoch} epochs")
    if COMM.rank == 0:
        json.dump(found, sys.stdout)
