"""Fits on several ranks, each compared with the fit of one process. Rank 0 prints {case: Found} as JSON."""

import json
import pickle
import sys
import time
import warnings
from copy import copy, deepcopy
from itertools import pairwise
from unittest.mock import patch

import narwhals.stable.v2 as nw
import numpy as np
import pandas as pd
from mpi4py import MPI
from scipy import sparse
from sklearn.base import clone

from fastmlp import (
    MLP,
    DataParallel,
    Layer,
    MLPClassifier,
    MLPRegressor,
    TabularMLPRegressor,
    make_optimizer,
    make_schedule,
)
from fastmlp.distributed import machine
from fastmlp.distributed.communication import Ranks
from fastmlp.distributed.sums import CompressedSum, PlainSum, SharedSum
from fastmlp.distributed.updates import OwnUpdate, SharedUpdate
from fastmlp.kernels.reference.forward_pass import to_bfloat16

COMM = MPI.COMM_WORLD
RNG = np.random.default_rng(0)
ROWS = 203
X, WEIGHT = RNG.standard_normal((ROWS, 7)), RNG.uniform(0, 2, ROWS)
Y, LABELS = np.sin(X[:, :2]), np.array(list("abc"))[np.clip(np.round(X[:, 0]), -1, 1).astype(int) + 1]
FRAME = pd.DataFrame(X, columns=list("abcdefg"))
VALID, SPARSE = (X[:40] + 0.1, Y[:40]), sparse.csr_matrix(np.where(X > 0.5, X, 0))
WEIGHT[:60] = 0  # whole batches, and all rows of a rank in others
SCHEDULED = make_optimizer("sgd", 0.1, schedule=make_schedule("cosine", epochs=2))
CLIPPED = make_optimizer("adam", 0.01, clip_norm=0.05, weight_decay=0.1, max_norm=0.9)
PENALTIES = {"alpha": 0.1, "l1": 0.01, "activity_l1": 0.01}
NOISE = {"input_noise": 0.1, "input_dropout": 0.1}


def layers(dropout=0.0):
    return [Layer(11, "tanh", dropout=dropout), Layer(2, "identity")]


def mlp(communicator, dropout=0.0, **options):
    options = {"dtype": "float64", "backend": "cython", "random_state": 3, **options}
    return MLP(layers(dropout), communicator=communicator, **options)


def stop_in_third(model, epoch, results):
    return epoch == 3


class Halve:
    """A callback that changes weights, and the kind of the optimizer."""

    def __call__(self, model, epoch, results):
        model.parameters[:] *= 0.5
        model.optimizer = make_optimizer("momentum", 0.05)


# case: (model, its options, samples, arguments of fit)
FITS = {
    "plain": (mlp, {}, (X, Y), {}),
    "numpy": (mlp, {"backend": "numpy"}, (X, Y), {"epochs": 2}),
    "float32": (mlp, {"dtype": "float32"}, (X, Y), {}),
    "weights": (mlp, PENALTIES, (X, Y), {"sample_weight": WEIGHT}),
    "weights of targets": (mlp, PENALTIES, (X, Y), {"sample_weight": WEIGHT[:, None] * [1, 2], "shuffle": False}),
    "dropout": (mlp, {"dropout": 0.2, **NOISE, **PENALTIES}, (X, Y), {}),
    "full batch": (mlp, PENALTIES, (X, Y), {"batch_size": None}),
    "batches of one": (mlp, PENALTIES, (X[:40], Y[:40]), {"batch_size": 1, "epochs": 2}),
    "one row left": (mlp, {"optimizer": SCHEDULED, **PENALTIES}, (X, Y), {"batch_size": 101}),
    "clipped": (mlp, {"optimizer": CLIPPED}, (X, Y), {}),
    "sparse": (mlp, {}, (SPARSE, Y), {}),
    "sparse, numpy": (mlp, {"backend": "numpy"}, (SPARSE, Y), {"epochs": 2}),
    "sparse, dropout of inputs": (mlp, NOISE, (SPARSE, Y), {}),
    "early stopping": (mlp, {}, (X, Y), {"epochs": 30, "validation_data": VALID, "metric": "r2", "patience": 2}),
    "monitor": (mlp, {}, (X, Y), {"monitor": True}),
    "callback that stops": (mlp, {}, (X, Y), {"epochs": 9, "callbacks": stop_in_third}),
    "callback that changes": (mlp, {}, (X, Y), {"callbacks": Halve()}),
    "lbfgs": (mlp, {"optimizer": "lbfgs", "alpha": 0.1}, (X, Y), {"epochs": 20, "sample_weight": WEIGHT}),
    "classifier": (MLPClassifier, {}, (X, LABELS), {}),
    "classifier, early stopping": (MLPClassifier, {"early_stopping": True, "max_iter": 30}, (X, LABELS), {}),
    "classifier, sets": (MLPClassifier, {}, (X, LABELS), {"eval_set": [(X[:40] + 0.1, LABELS[:40])]}),
    "regressor": (MLPRegressor, {"dropout": 0.3, "scale": "standard"}, (X, Y), {"sample_weight": WEIGHT}),
    "regressor, sgd": (MLPRegressor, {"solver": "sgd", "learning_rate": "invscaling"}, (X, Y), {}),
    "regressor, lbfgs": (MLPRegressor, {"solver": "lbfgs", "max_iter": 20}, (X, Y), {"callbacks": stop_in_third}),
}
RECORDED = (
    "history", "epoch", "best_epoch", "loss_curve_", "best_loss_", "validation_scores_", "evals_result_", "n_iter_",
    "t_", "classes_",
)  # fmt: skip


def new(kind, options, communicator):
    if kind is not mlp:
        options = {"max_iter": 4, "random_state": 1, "backend": "cython", **options}
    return kind(communicator=communicator, **options)


def compared(alone, together):
    """[largest difference of the parameters, of what was recorded, whether all ranks have the same parameters]"""
    one, other = (getattr(model, "_state", None) or model._net for model in (alone, together))
    everywhere = COMM.allgather((other.parameters.tobytes(), repr(recorded(together))))
    difference = max_difference(recorded(alone), recorded(together))
    return [float(np.abs(one.parameters - other.parameters).max()), difference, len(set(everywhere)) == 1]


def recorded(model):
    return {name: getattr(model, name) for name in RECORDED if hasattr(model, name)}


def max_difference(one, other):
    if isinstance(one, dict) and one.keys() == other.keys():
        return max((max_difference(value, other[name]) for name, value in one.items()), default=0.0)
    if np.shape(one) != np.shape(other):
        return float("inf")
    if np.asarray(one).dtype.kind not in "fiu":
        return 0.0 if np.array_equal(one, other) else float("inf")
    return float(np.max(np.abs(np.subtract(one, other)), initial=0))


def fit(case):
    kind, options, samples, arguments = FITS[case]
    if kind is mlp:
        arguments = {"epochs": 3, "batch_size": 20, **arguments}
    alone, together = (new(kind, options, communicator) for communicator in (None, COMM))
    alone.fit(*samples, **arguments)
    of_leader = {"sample_weight", "validation_data", "eval_set", "callbacks"}
    if COMM.rank:
        samples = None, None
        arguments = {name: value for name, value in arguments.items() if name not in of_leader}
    together.fit(*samples, **arguments)
    return compared(alone, together)


def partial_fits():
    alone, together = (MLPRegressor(random_state=0, backend="cython", communicator=one) for one in (None, COMM))
    for _ in range(3):
        alone.partial_fit(X, Y)
        together.partial_fit(X, Y)
    return compared(alone, together)


def own_rows(weighted):
    """Ranks have 9, 18, 27 ... rows; each batch has one, two, three ... of them, and the last batch is full too."""
    counts = 9 * np.arange(1, COMM.size + 1)
    starts = np.concatenate([[0], np.cumsum(counts)])
    order = np.concatenate([
        np.arange(start, start + rank + 1) + batch * (rank + 1)
        for batch in range(9) for rank, start in enumerate(starts[:-1])
    ])  # fmt: skip
    n, own, batch_size = starts[-1], slice(*starts[COMM.rank : COMM.rank + 2]), int(counts.sum()) // 9
    weights = {"sample_weight": WEIGHT + 0.1} if weighted else {}
    given = {"batch_size": batch_size, "shuffle": False, "epochs": 2}
    alone, together = mlp(None, 0.2, **PENALTIES), mlp(DataParallel(COMM, "own"), 0.2, **PENALTIES)
    alone.fit(X[:n][order], Y[:n][order], **given, **{name: all_[:n][order] for name, all_ in weights.items()})
    together.fit(X[:n][own], Y[:n][own], **given, **{name: all_[:n][own] for name, all_ in weights.items()})
    return compared(alone, together)


def scattered(kind, samples, of_leader, options=None, **of_all):
    """Full batches of rows that rank 0 alone passes."""
    alone, together = (new(kind, options or {}, one) for one in (None, DataParallel(COMM, "scattered")))
    alone.fit(*samples, **of_leader, **of_all)
    together.fit(*((None, None) if COMM.rank else samples), **({} if COMM.rank else of_leader), **of_all)
    return compared(alone, together)


def own_rows_of_estimator(kind, samples, **options):
    """Ranks have different numbers of rows, and classes."""
    order = np.argsort(samples[1], kind="stable") if samples[1].ndim == 1 else np.arange(ROWS)
    bounds = [0, *(ROWS * np.arange(1, COMM.size) // (COMM.size + 1)), ROWS]
    own, options = order[bounds[COMM.rank] : bounds[COMM.rank + 1]], {"batch_size": ROWS, "shuffle": False, **options}
    alone, together = (new(kind, options, one) for one in (None, DataParallel(COMM, "own")))
    alone.fit(*(one[order] for one in samples))
    together.fit(*(one[own] for one in samples))
    parameters, records, same = compared(alone, together)
    return [parameters, max(records, difference_of_scalings(alone, together)), same]


def difference_of_scalings(alone, together):
    one, other = ((model._net.scaling, model._net.target_scaling) for model in (alone, together))
    pairs = [(mine, its) for mine, its in zip(one, other) if mine is not None or its is not None]
    return max((float(np.abs(np.subtract(*pair)).max()) for pair in pairs), default=0.0)


def held_out_own_rows():
    """Early stopping by the accuracy on what all ranks hold out: 7 samples of rank 0, and 11 of each other."""
    own = np.arange(35) if COMM.rank == 0 else np.arange(55) + 35 * COMM.rank
    together = MLPClassifier(
        early_stopping=True, validation_fraction=0.2, random_state=0, max_iter=9, communicator=DataParallel(COMM, "own")
    ).fit(X[own], LABELS[own])
    hits = np.multiply(together.validation_scores_, 11 * COMM.size - 4)
    same = len(set(COMM.allgather((together._net.parameters.tobytes(), repr(recorded(together)))))) == 1
    return [float(np.abs(hits - hits.round()).max()), float(together.n_iter_ < 2), same]


def scaled_stream():
    """Means and standard deviations are those of the blocks of all ranks, of which the last may have none."""
    shifted, weight = (3 * X + 5, Y - 8), np.outer(WEIGHT, [1, 2])
    weight[140:, 1] = 0
    blocks = [(*(one[start : start + 70] for one in shifted), weight[start : start + 70]) for start in (0, 70, 140)]
    alone, together = (
        MLPRegressor(scale="standard", random_state=0, max_iter=1, communicator=one).fit_stream(blocks)
        for one in (None, COMM)
    )
    same = len(set(COMM.allgather(repr((together._net.scaling, together._net.target_scaling))))) == 1
    return [difference_of_scalings(alone, together), 0.0, same]


def own_rows_without_weights():
    """All rows of rank 0 have the weight 0."""
    own, weight = slice(ROWS * COMM.rank // COMM.size, ROWS * (COMM.rank + 1) // COMM.size), np.ones(ROWS)
    weight[: ROWS // COMM.size if COMM.size > 1 else 0] = 0
    alone, together = mlp(None), mlp(DataParallel(COMM, "own"))
    alone.fit(X, Y, batch_size=None, shuffle=False, sample_weight=weight)
    together.fit(X[own], Y[own], batch_size=None, shuffle=False, sample_weight=weight[own])
    return compared(alone, together)


def own_rows_without_targets():
    """Only the last rank has missing targets."""
    own, some = slice(ROWS * COMM.rank // COMM.size, ROWS * (COMM.rank + 1) // COMM.size), Y.copy()
    some[ROWS - ROWS // (2 * COMM.size) :, 0] = np.nan
    alone, together = mlp(None, missing_targets="ignore"), mlp(DataParallel(COMM, "own"), missing_targets="ignore")
    alone.fit(X, some, batch_size=None, shuffle=False)
    together.fit(X[own], some[own], batch_size=None, shuffle=False)
    return compared(alone, together)


def own_rows_with_validation():
    """Rank 0 alone has validation data, by which all ranks stop."""
    own, given = slice(COMM.rank, None, COMM.size), {"epochs": 30, "batch_size": 20, "metric": "r2", "patience": 2}
    together = mlp(DataParallel(COMM, "own"), optimizer=make_optimizer("adam", 0.05))
    together.fit(X[own], Y[own], validation_data=None if COMM.rank else VALID, **given)
    found = COMM.allgather((together.best_epoch, together.history["validation_r2"], together.parameters.tobytes()))
    score = together.evaluate(*VALID)["r2"]
    return [abs(max(found[0][1]) - score), float(together.epoch == 30), all(one == found[0] for one in found)]


def shuffled_own_rows():
    """Every row is seen once in an epoch: with a rate of nearly 0 the mean loss is that of all rows."""
    n = COMM.size * 20
    own = slice(COMM.rank, n, COMM.size)
    together = mlp(DataParallel(COMM, "own"), optimizer=make_optimizer("sgd", 1e-14))
    together.fit(X[:n][own], Y[:n][own], epochs=2, batch_size=2 * COMM.size + 1)
    loss = together.evaluate(X[:n], Y[:n])["loss"]
    return [0.0, float(np.abs(np.subtract(together.history["loss"], loss)).max()), True]


def stream():
    """Blocks are shared out, and each batch has rows of the blocks that the ranks have read."""
    size, n_ranks = 12, COMM.size
    n = 2 * n_ranks * size
    blocks = [(X[start : start + size], Y[start : start + size]) for start in range(0, n, size)]
    per_rank = size // 2
    order = np.concatenate([
        np.arange(per_rank) + (pair * n_ranks + rank) * size + half * per_rank
        for pair in range(2) for half in range(2) for rank in range(n_ranks)
    ])  # fmt: skip
    given = {"batch_size": per_rank * n_ranks, "shuffle": False, "epochs": 2}
    alone, together = mlp(None, **PENALTIES), mlp(COMM, **PENALTIES)
    alone.fit(X[:n][order], Y[:n][order], **given)
    together.fit_stream(blocks, **given)
    return compared(alone, together)


def few_blocks():
    """A rank without a block takes part in the steps of the others."""
    alone, together = mlp(None, **PENALTIES), mlp(COMM, **PENALTIES)
    given = {"batch_size": 6 * COMM.size, "shuffle": False, "epochs": 2}
    alone.fit(X[:180], Y[:180], **given)
    together.fit_stream([(X[:180], Y[:180])], **given)
    return compared(alone, together)


def stream_of_an_iterator():
    """Ranks take blocks of an iterator in turn, and rank 0 alone has evaluation sets."""
    blocks = [(X[start : start + 10], Y[start : start + 10]) for start in range(0, 60, 10)]
    found = [
        MLPRegressor(max_iter=1, random_state=0, backend="cython", communicator=COMM).fit_stream(
            given, eval_set=None if COMM.rank else VALID
        )
        for given in (blocks, iter(blocks), lambda: iter(blocks))
    ]
    weights = [model._net.parameters for model in found]
    wrong = found[0].t_ != 60 or any(model.evals_result_ != found[0].evals_result_ for model in found)
    same = len(set(COMM.allgather(weights[0].tobytes()))) == 1
    return [float(np.abs(np.diff(weights[1:], axis=0)).max()), float(wrong), same]


def shuffled_stream():
    """As ``shuffled_own_rows``, for blocks of different lengths."""
    blocks = [(X[start : start + 5 + start % 3], Y[start : start + 5 + start % 3]) for start in range(0, 100, 5)]
    together = mlp(COMM, optimizer=make_optimizer("sgd", 1e-14))
    together.fit_stream(blocks, batch_size=8, epochs=2)
    loss = together.evaluate(np.vstack([one for one, _ in blocks]), np.vstack([one for _, one in blocks]))["loss"]
    return [0.0, float(np.abs(np.subtract(together.history["loss"], loss)).max()), True]


def local_steps():
    """Two epochs of one average each, by hand."""
    n, size = 24 * COMM.size, 4
    optimizer = make_optimizer("momentum", 0.05)
    together = mlp(DataParallel(COMM, local_steps=6), 0.0, optimizer=optimizer, alpha=0.1)
    together.fit(X[:n], Y[:n], batch_size=size * COMM.size, epochs=2, shuffle=False)
    ranks = [mlp(None, 0.0, optimizer=optimizer, alpha=0.1 / COMM.size).build(7) for _ in range(COMM.size)]
    for _ in range(2):
        for rank, model in enumerate(ranks):
            own = np.arange(n).reshape(6, COMM.size, size)[:, rank].ravel()
            model.fit(X[own], Y[own], batch_size=size, epochs=1, shuffle=False)
        for name in ("parameters", "slots"):
            mean = np.mean([getattr(model._state, name) for model in ranks], axis=0)
            for model in ranks:
                getattr(model._state, name)[...] = mean
    difference = max(np.abs(ranks[0]._state.slots - together._state.slots).max(), 0)
    return [float(np.abs(ranks[0].parameters - together.parameters).max()), float(difference), True]


def sums(kind, dtype):
    """Sums of arrays, shorter and longer than the number of ranks; in bfloat16 they are rounded before and after."""
    options = {"compression": "bfloat16"} if kind is CompressedSum else {}
    ranks, worst, same = Ranks(DataParallel(COMM, **options)), 0.0, True
    with ranks.training("the test"):
        for n in (1, 2, 7, 1000):
            for seed in range(3):
                arrays = np.random.default_rng([n, seed]).standard_normal((COMM.size, n)).astype(dtype)
                expected = arrays.sum(axis=0, dtype="f8")
                if kind is CompressedSum:
                    expected = to_bfloat16(to_bfloat16(arrays).sum(axis=0))
                adds = PlainSum(ranks, n, dtype) if kind is PlainSum else ranks.updates.sum_of(n, dtype)
                adds.part[...] = arrays[COMM.rank]
                found = adds.total().copy()
                worst = max(worst, float(np.abs(found - expected).max()))
                same = same and type(adds) is kind and len(set(COMM.allgather(found.tobytes()))) == 1
    return [worst, 0.0, same]


def updates(kind, optimizer, **options):
    """The steps of a fit in parts or not; the results of all kinds are those of the fits above."""
    model, ranks = mlp(None, optimizer=optimizer).fit(X, Y, epochs=1), Ranks(DataParallel(COMM, **options))
    with ranks.training("the test"):
        return [float(type(ranks.updates.of(model._problem(), model._state)) is not kind), 0.0, True]


def barriers():
    """What a rank wrote before a barrier is seen by all after it, with one array or another."""
    here, worst = machine.Machine(COMM), 0
    for _ in range(2):
        (numbers,) = here.shared_arrays("f8", (here.n_ranks,))
        for turn in range(100):
            if turn % here.n_ranks == here.rank:
                time.sleep(1e-3)  # the others wait
            numbers[here.rank] = turn
            here.wait()
            worst = max(worst, np.abs(numbers - turn).max())
            here.wait()
    here.free()
    return [float(worst), 0.0, True]


def barriers_of_mpi():
    """The same if the engine of one rank was not built."""
    found = machine.native_barrier() if COMM.rank else None
    with patch.object(machine, "native_barrier", lambda: found):
        return barriers()


def several_machines(run, *given):
    """As if ranks were on two machines."""
    with patch.object(machine, "ranks_here", lambda communicator: communicator.Split(communicator.rank % 2)):
        return run(*given)


def compression():
    """A fit stays near the one without it: gradients have 8 significant bits."""
    alone, together = mlp(None, dtype="float32"), mlp(DataParallel(COMM, compression="bfloat16"), dtype="float32")
    for model in (alone, together):
        model.fit(X, Y, batch_size=20, epochs=3)
    difference, _, same = compared(alone, together)
    return [float(not 0 < difference < 0.05), 0.0, same]


def table(**options):
    """Members and trials are independent; a single member is trained together. Differences of predictions."""
    frame = {"number": X[:, 0].round(2), "text": LABELS.tolist(), "other": X[:, 1]}
    models = [
        TabularMLPRegressor(epochs=12, random_state=0, communicator=one, hidden_layer_sizes=(16,), **options)
        for one in (None, COMM)
    ]
    models[0].fit(frame, Y[:, 0])
    models[1].fit(*((frame, Y[:, 0]) if COMM.rank == 0 else (None, None)))
    alone, together = (model.predict(frame) for model in models)
    same = len(set(COMM.allgather(together.tobytes()))) == 1
    scores = np.subtract(*[getattr(model, "score_", 0.0) for model in models])
    return [float(np.abs(alone - together).max()), abs(float(scores)), same]


def fits_in_turn():
    """The second fit goes on from what a callback of rank 0 has set in the first, in a part of the ranks."""
    part = COMM.Split(COMM.rank % 2)
    alone, together = mlp(None), mlp(part)
    for model in (alone, together):
        model.fit(X, Y, epochs=2, batch_size=20, callbacks=Halve() if model is alone or part.rank == 0 else None)
        model.fit(X, Y, epochs=2, batch_size=20)
    found = float(np.abs(alone.parameters - together.parameters).max())
    part.Free()
    return [found, float(together.optimizer != alone.optimizer), True]


def loosen(model, epoch, results):
    model.tol = 10.0  # no epoch improves the loss by as much, so training stops after n_iter_no_change


def limits_that_callbacks_change():
    alone, together = (
        MLPRegressor(random_state=0, backend="cython", n_iter_no_change=3, max_iter=20, communicator=one)
        for one in (None, COMM)
    )
    alone.fit(X, Y, callbacks=loosen)
    together.fit(X, Y, callbacks=None if COMM.rank else loosen)
    return compared(alone, together)


def forgets(model, epoch, results):
    """Without it training would stop after n_iter_no_change."""
    model.best_loss_, model.t_, model._no_improvement_count = np.inf, 0, 0
    return epoch == 9


def progress_that_callbacks_change():
    alone, together = (
        MLPRegressor(random_state=0, backend="cython", n_iter_no_change=3, tol=10.0, communicator=one)
        for one in (None, COMM)
    )
    alone.fit(X, Y, callbacks=forgets)
    together.fit(X, Y, callbacks=None if COMM.rank else forgets)
    return compared(alone, together)


def changes_settings(model, epoch, results):
    model.backend, model.alpha = "numpy", 0.3


def settings_that_callbacks_change():
    """They hold for the next fit on all ranks."""
    alone, together = mlp(None), mlp(COMM)
    for model in (alone, together):
        model.fit(X, Y, epochs=1, callbacks=None if model is together and COMM.rank else changes_settings)
        model.fit(X, Y, epochs=1)
    return compared(alone, together)


def copies_in_a_part():
    """Communicators other than COMM_WORLD cannot be copied, but estimators with them can."""
    part = COMM.Split(COMM.rank % 2)
    alone, together = (
        MLPRegressor(random_state=0, backend="cython", max_iter=3, communicator=one) for one in (None, part)
    )
    alone.fit(X, Y)
    copied = clone(together).fit(X, Y)
    wrong = [pickle.loads(pickle.dumps(one)).communicator is not None for one in (together, copied)]
    wrong += [deepcopy(one).communicator is None for one in (together, copied)]
    wrong += [clone(TabularMLPRegressor(communicator=part)).communicator is None]
    difference = float(np.abs(alone._net.parameters - copied._net.parameters).max())
    part.Free()
    wrong += [pickle.loads(pickle.dumps(together)).communicator is not None]
    return [difference, float(sum(wrong)), True]


def copies():
    """Copies train alone or share the communicator; what is pickled has none."""
    given = MLPRegressor(max_iter=2, backend="cython", communicator=COMM).fit(X, Y)
    shared = MLPRegressor(max_iter=2, communicator=DataParallel(COMM))
    wrong = [
        clone(given).communicator is None,
        clone(shared).communicator is not shared.communicator,
        copy(shared).communicator is not shared.communicator,
        *(pickle.loads(pickle.dumps(one)).communicator is not None for one in (given, shared, mlp(COMM))),
        deepcopy(mlp(COMM)).communicator is None,
    ]
    return [float(sum(wrong)), 0.0, True]


def own_rows_after_a_stop():
    """The order of an interrupted epoch over all samples is not one of a rank's own rows."""
    together = mlp(COMM).build(7)
    together._state.order, together._state.position = np.arange(ROWS)[::-1].copy(), 20
    together._state.epoch_start = together.parameters.copy()
    own = slice(COMM.rank, None, COMM.size)
    together.communicator = DataParallel(COMM, "own")
    together.fit(X[own], Y[own], epochs=1, batch_size=20)
    wrong = not np.isfinite(together.history["loss"]).all() or together._state.step < -(-ROWS // 20)
    return [0.0, float(wrong), True]


def uneven_local_steps():
    """Ranks have 12, 24 ... rows; each weighs as much in an average as it has rows."""
    counts, optimizer = 12 * np.arange(1, COMM.size + 1), make_optimizer("sgd", 0.05)
    starts = np.concatenate([[0], np.cumsum(counts)])
    own = [slice(start, stop) for start, stop in pairwise(starts)]
    together = mlp(DataParallel(COMM, "own", local_steps=3), optimizer=optimizer, alpha=0.1)
    batch_size = int(counts.sum()) // 3
    together.fit(X[own[COMM.rank]], Y[own[COMM.rank]], batch_size=batch_size, epochs=1, shuffle=False)
    mean = 0.0
    for count, rows in zip(counts, own):
        share = count / counts.sum()
        model = mlp(None, optimizer=optimizer, alpha=0.1 * share).build(7)
        mean += share * model.fit(X[rows], Y[rows], batch_size=count // 3, epochs=1, shuffle=False).parameters
    return [float(np.abs(mean - together.parameters).max()), 0.0, True]


OTHERS = {
    "fits in turn": fits_in_turn,
    "limits that callbacks change": limits_that_callbacks_change,
    "copies": copies,
    "copies in a part of the ranks": copies_in_a_part,
    "progress that callbacks change": progress_that_callbacks_change,
    "settings that callbacks change": settings_that_callbacks_change,
    "own rows without weights": own_rows_without_weights,
    "own rows without targets": own_rows_without_targets,
    "own rows after a stop": own_rows_after_a_stop,
    "local steps, uneven": uneven_local_steps,
    "partial_fit": partial_fits,
    "own rows": lambda: own_rows(False),
    "own rows, weights": lambda: own_rows(True),
    "own rows, shuffled": shuffled_own_rows,
    "own rows, early stopping": own_rows_with_validation,
    "own rows of a classifier": lambda: own_rows_of_estimator(MLPClassifier, (X, LABELS), scale="standard"),
    "own rows of two classes": lambda: own_rows_of_estimator(MLPClassifier, (X, LABELS == "a")),
    "own rows of labels": lambda: own_rows_of_estimator(MLPClassifier, (X, (Y > 0).astype(int))),
    "own rows of a regressor": lambda: own_rows_of_estimator(
        MLPRegressor, (X, Y, WEIGHT), scale="standard", dropout=0.2
    ),
    "own rows, lbfgs": lambda: own_rows_of_estimator(MLPRegressor, (3 * X, Y), solver="lbfgs", scale="standard"),
    "own rows, held out": held_out_own_rows,
    "scattered": lambda: scattered(mlp, (X, Y), {"sample_weight": WEIGHT}, batch_size=None, shuffle=False),
    "scattered frame": lambda: scattered(
        MLPClassifier, (FRAME, LABELS), {}, {"batch_size": ROWS, "shuffle": False, "class_weight": {"a": 3}}
    ),
    "scattered, one weight": lambda: scattered(
        MLPRegressor, (nw.from_native(FRAME), Y), {"sample_weight": 2.0}, {"batch_size": ROWS, "shuffle": False}
    ),
    "scattered, constant columns": lambda: scattered(
        MLPRegressor,
        (np.hstack([X, 0 * X[:, :2] + [0.1, 1 / 3]]), Y),
        {"sample_weight": 1e-6 * WEIGHT},
        {"batch_size": ROWS, "shuffle": False, "scale": "standard"},
    ),
    "scattered, sparse": lambda: scattered(mlp, (SPARSE.tocoo(), Y.tolist()), {}, batch_size=None, shuffle=False),
    "stream, scaled": scaled_stream,
    "stream": stream,
    "stream, few blocks": few_blocks,
    "stream of an iterator": stream_of_an_iterator,
    "stream, shuffled": shuffled_stream,
    "local steps": local_steps,
    "sums in bfloat16": lambda: sums(CompressedSum, "f4"),
    "sums in shared memory": lambda: sums(SharedSum if COMM.size > 1 else PlainSum, "f8"),
    "barriers": barriers,
    "barriers of MPI": barriers_of_mpi,
    "updates in parts": lambda: updates(SharedUpdate if COMM.size > 1 else OwnUpdate, SCHEDULED),
    "updates with bounds": lambda: updates(OwnUpdate, CLIPPED),
    "updates in bfloat16": lambda: updates(OwnUpdate, SCHEDULED, compression="bfloat16"),
    "two machines, updates": lambda: several_machines(updates, OwnUpdate, SCHEDULED),
    "two machines": lambda: several_machines(fit, "dropout"),
    "two machines, sums": lambda: several_machines(sums, PlainSum if COMM.size < 3 else SharedSum, "f8"),
    "sums by allreduce": lambda: sums(PlainSum, "f8"),
    "gradients in bfloat16": compression,
    "table": table,
    "table, members": lambda: table(n_members=3),
    "table, folds": lambda: table(n_folds=2),
}

if __name__ == "__main__":
    warnings.simplefilter("ignore")
    found = {case: fit(case) for case in FITS} | {case: run() for case, run in OTHERS.items()}
    if COMM.rank == 0:
        json.dump(found, sys.stdout)
