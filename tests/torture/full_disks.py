"""Every writer on a disk that is full, read-only, gone or limited, at a random byte: one clear error, nothing lost."""

import errno
import os
import random
import resource
import subprocess
import warnings
from contextlib import ExitStack, contextmanager, suppress
from unittest.mock import patch

import numpy as np
from click.testing import CliRunner
from recorded_files import contents, is_temporary

import fastmlp
from fastmlp import MLP, Checkpoint, Layer, MLPClassifier, MLPEnsembleClassifier, TabularMLPClassifier
from fastmlp.backends import cost_model
from fastmlp.cli.main import main
from fastmlp.cli.tables import pd, write_table
from fastmlp.inspection.plots import plot_activation

SIZES = 2, 30
FIGURE = "{failed} failed writes of {writers} writers in {ways} ways: the old file, the weights and one error each"
EPOCHS = 5

rng = np.random.default_rng(0)
X = rng.standard_normal((120, 4))
y = (X[:, 0] > 0).astype(int)
FRAME = pd.DataFrame({"a": np.arange(3000.0)})


def network():
    return MLP([Layer(32, "tanh"), Layer(2, "softmax")], "categorical_cross_entropy", random_state=0, backend="cython")


def classifier(max_iter=EPOCHS):
    return MLPClassifier((32,), max_iter=max_iter, n_iter_no_change=9, random_state=0, backend="cython")


def command(*given):
    """Run a command; OSError with its one line on stderr if it fails."""
    result = CliRunner().invoke(main, [*map(str, given)])
    if result.exit_code:
        lines = [line for line in result.stderr.splitlines() if not line.startswith("warning: ")]
        assert result.exit_code == 1, result
        assert len(lines) == 1 and lines[0].startswith("Error: "), lines
        raise OSError(lines[0])


def writers(inputs):
    """{name: function that writes a file}; ``inputs`` is a folder that stays writable."""
    model, data, saved = network().fit(X, y, 1), inputs / "data.npz", inputs / "table"
    np.savez(data, X=X, y=y)
    command("train", data, "--plain", "--epochs", 1, "--quiet", "--out", saved)
    member = classifier(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = [
            classifier(1).fit(X, y), MLPEnsembleClassifier(member, n_members=2, random_state=0).fit(X, y),
            TabularMLPClassifier(hidden_layer_sizes=(8,), epochs=1, random_state=0).fit(X, y),
        ]  # fmt: skip
    train = "train", data, "--plain", "--epochs", 1, "--quiet"
    return {
        "MLP": model.save, **{type(each).__name__: each.save for each in fitted},
        "to_c": lambda path: fastmlp.to_c(model, path),
        "to_numpy_source": lambda path: fastmlp.to_numpy_source(model, path),
        "plot": lambda path: plot_activation("tanh", f"{path}.png"),
        "table": lambda path: write_table(FRAME, f"{path}.csv"),
        "speeds": lambda path: save_speeds(path),
        "train": lambda path: command(*train, "--out", path),
        "train --plot": lambda path: command(*train, "--out", inputs / "other", "--plot", f"{path}.png"),
        "predict": lambda path: command("predict", saved, data, "--out", f"{path}.csv"),
        "export": lambda path: command("export", saved, f"{path}.c"),
    }  # fmt: skip


def save_speeds(path):
    with patch.object(cost_model, "FILE", path):
        cost_model.save("gpu", "cython", (1.0, 2.0), (3.0, 4.0))


@contextmanager
def limited(folder, rng):
    """Writes fail in the middle: files may have no more bytes than a part of the smallest one."""
    before, size = resource.getrlimit(resource.RLIMIT_FSIZE), min(path.stat().st_size for path in folder.iterdir())
    resource.setrlimit(resource.RLIMIT_FSIZE, (rng.randrange(size), before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def failing(name, code):
    """A way in which a function of os fails, as some file systems do it late."""

    @contextmanager
    def way(folder, rng):
        with patch.object(os, name, side_effect=OSError(code, os.strerror(code))):
            yield

    return way


@contextmanager
def gone(folder, rng):
    """The folder has become a file."""
    folder.rename(folder.with_name("away"))
    folder.write_text("")
    try:
        yield
    finally:
        folder.unlink()
        folder.with_name("away").rename(folder)


@contextmanager
def full(folder, rng):
    """A file system in memory has no page left, for the file or even for its name."""
    with open(folder / "filler", "wb", buffering=0) as filler, suppress(OSError):
        while True:
            filler.write(bytes(4096))
    try:
        yield
    finally:
        (folder / "filler").unlink()


@contextmanager
def read_only(folder, rng):
    remount(folder, "ro")
    try:
        yield
    finally:
        remount(folder, "rw")


def remount(folder, how):
    subprocess.run(["mount", "-o", f"remount,{how}", str(folder)], check=True, capture_output=True)


@contextmanager
def small_disk(folder):
    """Mount a file system in memory on a folder. Yields whether that is possible: it needs the rights of root."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    mounted = hasattr(os, "geteuid") and os.geteuid() == 0
    mounted = mounted and subprocess.run(mount, capture_output=True).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", str(folder)], check=True)


WAYS = {
    "a limit of bytes": limited, "no space, at fsync": failing("fsync", errno.ENOSPC),
    "no permission, at replace": failing("replace", errno.EACCES), "a folder that is gone": gone,
}  # fmt: skip
ON_SMALL_DISK = {"a full disk": full, "a read-only disk": read_only}


def try_writer(write, way, folder, rng):
    """What is wrong after a write that fails, and one that does not."""
    write(folder / "m")
    before = contents(folder)
    with way(folder, rng):
        try:
            write(folder / "m")
        except OSError:
            pass
        else:
            yield "no error"
    yield from left(folder, before)
    write(folder / "m")
    if set(contents(folder)) != set(before):
        yield f"the next write leaves {sorted(contents(folder))}"


def left(folder, before):
    if contents(folder) != before:
        yield "the old file has changed"
    if litter := [path.name for path in folder.iterdir() if is_temporary(path)]:
        yield f"{litter} are left"


def fit_mlp(model, n_epochs, **options):
    model.fit(X, y, n_epochs, 20, **options)
    return model.parameters


def stream_mlp(model, n_epochs, **options):
    model.fit_stream([(X[:50], y[:50]), (X[50:], y[50:])], n_epochs, 20, n_samples=120, **options)
    return model.parameters


def try_fit(fit, way, folder, rng):
    """What is wrong after a fit whose checkpoint fails in some epoch, and is continued."""
    last, path = rng.randint(2, EPOCHS - 1), folder / "m"
    whole, model = fit(network(), EPOCHS).copy(), network()
    with ExitStack() as stack:
        before = {}

        def begin(model, epoch, results):
            if epoch == last:
                before.update(contents(folder))
                stack.enter_context(way(folder, rng))

        try:
            fit(model, EPOCHS, callbacks=[begin, Checkpoint(path)])
            yield "no error"
        except OSError as error:
            if getattr(error, "__notes__", ()):
                yield f"more than one error: {error.__notes__}"
    yield from left(folder, before)
    if not before or fastmlp.load(path).epoch != last - 1 or model.epoch != last:
        yield "the checkpoint or the model is not of the last epoch"
    if not np.array_equal(fit(model, EPOCHS - last), whole):
        yield "the fit goes on with other bits"


def try_estimator(way, folder, rng):
    """What is wrong after a fit of an estimator whose checkpoint fails in some epoch."""
    last, weights, model = rng.randint(2, EPOCHS), [], classifier()
    with ExitStack() as stack, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        classifier().fit(X, y, callbacks=lambda model, *given: weights.append(model.coefs_[0].copy()))
        with suppress(OSError):
            begin = lambda model, epoch, results: epoch == last and bool(stack.enter_context(way(folder, rng)))  # noqa: E731
            model.fit(X, y, callbacks=[begin, Checkpoint(folder / "m")])
            yield "no error"
    if model.n_iter_ != last or not np.array_equal(model.coefs_[0], weights[last - 1]):
        yield "the weights of the last epoch are lost"
    if fastmlp.load(folder / "m").n_iter_ != last - 1:
        yield "the checkpoint is not that of the epoch before"


def run(size, seed, folder):
    rng, faults, failed = random.Random(f"disks {seed}"), [], 0
    (folder / "inputs").mkdir()
    (folder / "disk").mkdir()
    tries = {
        name: lambda way, place, rng, write=write: try_writer(write, way, place, rng)
        for name, write in writers(folder / "inputs").items()
    }
    tries |= {
        "fit": lambda *given: try_fit(fit_mlp, *given), "fit_stream": lambda *given: try_fit(stream_mlp, *given),
        "fit of an estimator": try_estimator,
    }  # fmt: skip
    with small_disk(folder / "disk") as mounted:
        ways = WAYS | (ON_SMALL_DISK if mounted else {})
        for number in range(size):
            for name, attempt in tries.items():
                way = list(ways)[(number + failed) % len(ways)]
                place = folder / ("disk" if way in ON_SMALL_DISK else "inner")
                place.mkdir(exist_ok=True)
                found = list(attempt(ways[way], place, rng))
                faults += [f"{name}, {way}: {fault}" for fault in found]
                failed += 1
                for path in place.iterdir():
                    path.unlink()
    return {"failed": failed, "writers": len(tries), "ways": len(ways), "faults": faults}
