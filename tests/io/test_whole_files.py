"""Atomic writes: the next write removes the temporary files of dead processes, and no others."""

import errno
import os
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest

from fastmlp import MLP, to_c, to_numpy_source
from fastmlp.backends import cost_model
from fastmlp.cli.tables import write_table
from fastmlp.inspection.plots import plot_activation
from fastmlp.io import atomic as whole_files
from fastmlp.io.atomic import write_whole

FRAME = pd.DataFrame({"a": [1.5, 2.0], "b": ["x", "y"]})
pytestmark = pytest.mark.skipif(whole_files.fcntl is None, reason="needs the module fcntl")

WRITER = """
import os, sys
from fastmlp.io.atomic import write_whole
def stop(file):
    print("written", flush=True)
    sys.stdin.read()  # until the test ends
os.fsync = stop
write_whole(sys.argv[1], b"never finished")
"""


def start_writer(path):
    """Start a process that writes its temporary file, and waits before it renames the file."""
    command = [sys.executable, "-P", "-c", WRITER, str(path)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "written\n"
    return process


def temporary(folder):
    return {path.name for path in folder.iterdir() if path.name.startswith(".fastmlp-")}


def kill(process):
    process.send_signal(signal.SIGKILL)
    process.communicate()


def test_only_files_of_dead_writers_to_the_same_target_are_removed(tmp_path):
    target, other = tmp_path / "model", tmp_path / "other"
    dead, alive, elsewhere = start_writer(target), start_writer(target), start_writer(other)
    try:
        kill(dead)
        kill(elsewhere)
        assert len(temporary(tmp_path)) == 3
        write_whole(target, b"whole")
        left = temporary(tmp_path)
        assert len(left) == 2
    finally:
        kill(alive)
    write_whole(target, b"whole again")
    assert len(temporary(tmp_path) & left) == 1  # the temporary file of the other target
    assert target.read_bytes() == b"whole again"
    write_whole(other, b"whole")
    assert {path.name for path in tmp_path.iterdir()} == {"model", "other"}


@pytest.fixture
def killed(monkeypatch):
    """``killed(write)`` leaves the temporary file of a process that is killed in ``write``."""

    def leave(write):
        with monkeypatch.context() as patch:
            for function in ("fsync", "unlink"):
                patch.setattr(os, function, lambda *given: 1 / 0 if len(given) else None)
            with pytest.raises(ZeroDivisionError):
                write()

    return leave


@pytest.mark.parametrize("write", [MLP.save, to_c, to_numpy_source])
def test_every_writer_removes_temporary_files(tmp_path, killed, write):
    model = MLP([(1, "identity")]).build(2)
    for _ in range(3):
        killed(lambda: write(model, tmp_path / "target"))
    assert len(temporary(tmp_path)) == 1  # each removes the file of the previous one
    write(model, tmp_path / "target")
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


def test_files_of_another_host_stay_for_a_day(tmp_path, killed, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("platform.node", lambda: "another")
        killed(lambda: write_whole(tmp_path / "target", b""))
    (name,) = temporary(tmp_path)
    write_whole(tmp_path / "target", b"")
    assert temporary(tmp_path) == {name}
    yesterday = time.time() - 25 * 3600
    os.utime(tmp_path / name, (yesterday, yesterday))
    write_whole(tmp_path / "target", b"")
    assert temporary(tmp_path) == set()


def test_writes_succeed_without_locks_or_removal(tmp_path, killed, monkeypatch):
    killed(lambda: write_whole(tmp_path / "target", b""))
    (name,) = temporary(tmp_path)
    os.unlink(tmp_path / name)
    (tmp_path / name).mkdir()
    write_whole(tmp_path / "target", b"one")

    def no_locks(*given):
        raise OSError("not supported")

    (tmp_path / name).rmdir()
    (tmp_path / name).touch()
    monkeypatch.setattr(whole_files.fcntl, "flock", no_locks)
    write_whole(tmp_path / "target", b"two")
    assert temporary(tmp_path) == {name}
    assert (tmp_path / "target").read_bytes() == b"two"


def test_a_temporary_file_removed_before_it_is_locked_is_created_again(tmp_path, monkeypatch):
    lock, removed = whole_files.fcntl.flock, []

    def late(file, operation):
        if not removed:
            removed.extend(temporary(tmp_path))
            os.unlink(tmp_path / removed[0])
        lock(file, operation)

    monkeypatch.setattr(whole_files.fcntl, "flock", late)
    write_whole(tmp_path / "target", b"whole")
    assert removed
    assert (tmp_path / "target").read_bytes() == b"whole"


OUTPUTS = {
    "m.png": lambda path: plot_activation("tanh", path),
    "m.svg": lambda path: plot_activation("tanh", path),
    "m.csv": lambda path: write_table(FRAME, path),
    "m.csv.gz": lambda path: write_table(FRAME, path),
    "m.parquet": lambda path: write_table(FRAME, path),
    "speeds.json": lambda path: cost_model.save("gpu", "cython", (1.0, 2.0), (3.0, 4.0)),
}


@pytest.mark.parametrize("name", OUTPUTS)
def test_every_output_is_replaced_only_by_a_whole_one(tmp_path, monkeypatch, name):
    """On a full disk the old file stays, and no other is left."""
    monkeypatch.setattr(cost_model, "FILE", tmp_path / name)
    OUTPUTS[name](tmp_path / name)
    before = (tmp_path / name).read_bytes()
    assert len(before) > 10
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            OUTPUTS[name](tmp_path / name)
    assert (tmp_path / name).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [name]


def full(file):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("name", ["p.csv", "p.csv.gz", "p.csv.bz2", "p.csv.xz", "p.csv.zip", "p.parquet"])
def test_predictions_are_compressed_as_the_name_says(tmp_path, name):
    write_table(FRAME, str(tmp_path / name))
    read = pd.read_parquet if name.endswith("parquet") else pd.read_csv
    pd.testing.assert_frame_equal(read(tmp_path / name), FRAME)


def test_a_plot_without_a_suffix_gets_that_of_matplotlib(tmp_path):
    plot_activation("tanh", tmp_path / "plot")
    plot_activation("tanh", tmp_path / "other.")
    assert {path.name for path in tmp_path.iterdir()} == {"plot.png", "other.png"}
