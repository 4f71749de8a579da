"""Work that kills.py ends by force: each function does its work in a folder, and goes on there if it is called again.

A new way to go on after a kill is one more function in WORK: call the estimator's fit with what is left in the folder.
"""

import numpy as np

import fastmlp
from fastmlp import (
    MLP,
    Checkpoint,
    Layer,
    MLPClassifier,
    MLPEnsembleRegressor,
    MLPRegressor,
    TabularMLPRegressor,
    make_optimizer,
    make_schedule,
)
from fastmlp.cli.main import main
from fastmlp.estimators import checkpoint_folder
from fastmlp.training import epochs

rng = np.random.default_rng(0)
X = rng.standard_normal((240, 4))
Y = np.sin(X[:, 0] * X[:, 1])
BLOCKS = list(zip(np.split(X, [50, 120]), np.split(Y, [50, 120])))
EPOCHS = 6
EVERY_CHUNK = 1e-9  # seconds between two checkpoints


def a_batch_per_chunk():
    """Make chunks as short as they can be, so that there is a checkpoint after each batch."""
    checkpoint_folder.SECONDS = EVERY_CHUNK
    epochs.FIRST_CHUNK_FLOPS = 0
    epochs.ChunkSize.update = lambda *call: None


def network(**options):
    layers = [Layer(8, "tanh", dropout=0.1), Layer(1, "identity")]
    return MLP(layers, random_state=0, backend="cython", **options)


def begun(path, new):
    """The model in a file, or a new one."""
    return fastmlp.load(path) if path.exists() else new()


def fit(folder):
    model = begun(folder / "m", network)
    if model.epoch < EPOCHS:
        model.fit(X, Y, EPOCHS - model.epoch, 40, callbacks=Checkpoint(folder / "m", seconds=EVERY_CHUNK))
    model.save(folder / "m")  # removes what a killed save has left


def early_stopping(folder):
    """With a schedule, and best weights that must not be lost."""
    schedule = make_schedule("reduce_on_plateau", factor=0.5, patience=1)
    optimizer = make_optimizer("adam", 0.1, schedule=schedule)
    model = begun(folder / "m", lambda: network(optimizer=optimizer, dtype="float64"))
    if model.best_epoch is None:  # the fit has not ended
        watched = {"validation_data": (X[:60], Y[:60]), "patience": 4}
        model.fit(X[60:], Y[60:], 40 - model.epoch, 60, callbacks=Checkpoint(folder / "m"), **watched)
    model.save(folder / "m")


def stream(folder):
    model = begun(folder / "m", network)
    if model.epoch < EPOCHS:
        checkpoint, options = Checkpoint(folder / "m", 2, EVERY_CHUNK), {"shuffle_blocks": 2, "n_samples": len(X)}
        model.fit_stream(BLOCKS, EPOCHS - model.epoch, 40, **options, callbacks=checkpoint)
    model.save(folder / "m")


def saves(folder):
    """Saves to the same file by calls of the user, after single epochs."""
    model = begun(folder / "m", network)
    for _ in range(3 * EPOCHS - model.epoch):
        model.fit(X, Y, 1, 120).save(folder / "m")


def estimator(folder):
    model = MLPClassifier((8,), batch_size=40, max_iter=8, n_iter_no_change=9, early_stopping=True, random_state=0)
    path = folder / "m"
    checkpoint = Checkpoint(path, seconds=EVERY_CHUNK)
    model.fit(X, Y > 0, callbacks=checkpoint, resume_from=path if path.exists() else None)
    model.save(folder / "fitted")


def ensemble(folder):
    member = MLPRegressor(hidden_layer_sizes=(8,), batch_size=80, max_iter=3, n_iter_no_change=9)
    model = MLPEnsembleRegressor(member, n_members=3, random_state=0)
    model.fit(X, Y, checkpoints=folder).save(folder / "m")


def tabular(folder):
    model = TabularMLPRegressor(hidden_layer_sizes=(8,), n_members=2, epochs=2, random_state=0)
    model.fit(X, Y, checkpoints=folder).save(folder / "m")


def exports(folder):
    model = network().fit(X, Y, 1)
    for _ in range(3):
        fastmlp.to_c(model, folder / "m.c")
        fastmlp.to_numpy_source(model, folder / "m.py")


def command_line(folder):
    """It has no checkpoints: a command is given again, and writes over whole files of the command before."""
    np.savez(folder / "data.npz", X=X, y=Y)
    for seed in "01":
        command("train", folder / "data.npz", "--plain", "--epochs", 3, "--hidden", 8, "--seed", seed, "--quiet",
                "--out", folder / "m", "--plot", folder / "m.png")  # fmt: skip
        command("predict", folder / "m", folder / "data.npz", "--out", folder / "predicted.csv")
        command("export", folder / "m", folder / "m.c")


def command(*given):
    main([*map(str, given)], prog_name="fastmlp", standalone_mode=False)


WORK = {
    work.__name__: work
    for work in (fit, early_stopping, stream, saves, estimator, ensemble, tabular, exports, command_line)
}
INPUTS = ("data.npz",)  # written by no function of fastmlp
