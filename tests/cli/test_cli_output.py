"""Commands whose output cannot be written, or is not read to the end."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

from fastmlp.cli.main import main

COMMANDS = {
    "info": ["info"],
    "train": ["train", "iris", "--epochs", "1", "--out", "other.fastmlp", "--quiet"],
    "predict": ["predict", "model.fastmlp", "t.csv"],
    "evaluate": ["evaluate", "model.fastmlp", "t.csv", "--json"],
    "export": ["export", "model.fastmlp", "m.py"],
    "bench": ["bench", "--network", "2,1", "--rounds", "1", "--backend", "numpy"],
    "measure": ["measure", "--help"],
}
needs_a_full_device = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")


def full_disk():
    return os.open("/dev/full", os.O_WRONLY)


def closed_pipe():
    """A pipe whose reader has closed it, as after ``| head``."""
    read, write = os.pipe()
    os.close(read)
    return write


@needs_a_full_device
@pytest.mark.parametrize("buffered", [True, False])
@pytest.mark.parametrize(
    "output, told", [(full_disk, "Error: [Errno 28] No space left on device\n"), (closed_pipe, "")]
)
def test_output_that_cannot_be_written(tmp_path, monkeypatch, capsys, output, told, buffered):
    """A full disk gives one line on stderr and exit status 1; a closed pipe is not reported as an error."""
    monkeypatch.chdir(tmp_path)
    pd.DataFrame({"a": range(50), "y": range(50)}).to_csv("t.csv", index=False)
    assert (
        not CliRunner()
        .invoke(main, ["train", "t.csv", "--target", "y", "--epochs", "1", "--quiet", "--plain"])
        .exit_code
    )
    assert COMMANDS.keys() == main.commands.keys()
    for arguments in [*COMMANDS.values(), ["--help"], ["--version"]]:
        raw = io.FileIO(output(), "w")
        stream = io.TextIOWrapper(io.BufferedWriter(raw) if buffered else raw, write_through=not buffered)
        for name in ("stdout", "__stdout__"):
            monkeypatch.setattr(sys, name, stream)
        with pytest.raises(SystemExit) as ended:
            main(arguments, prog_name="fastmlp")
        stream.close()  # the interpreter flushes at exit
        assert (ended.value.code, capsys.readouterr().err) == (1, told), arguments


@needs_a_full_device
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_in_a_shell(tmp_path, unbuffered):
    environment = os.environ | {"PYTHONUNBUFFERED": unbuffered}  # '' counts as unset
    line = f"{sys.executable} -m fastmlp info > /dev/full"
    done = subprocess.run(line, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "Error: [Errno 28] No space left on device\n")
