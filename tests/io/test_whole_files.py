"""Atomic writes: the next write removes the temporary files of dead processes, and no others."""

import os
import signal
import subprocess
import sys
import time

import pytest

from fastmlp import MLP, to_c, to_numpy_source
from fastmlp.io import atomic as whole_files
from fastmlp.io.atomic import write_whole

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
