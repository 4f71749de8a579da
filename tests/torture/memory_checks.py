"""Runs odd_shapes.py in processes that a wrong access to memory may end, and says at which case."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

TORTURE = Path(__file__).parent
PROGRAM = TORTURE / "odd_shapes.py"
MOST_FAULTS, PATIENCE = 20, 1200  # of one run; seconds
HEAD = 25  # lines of a report


def give_up(reason, in_tests):
    """Nothing can be tried here: tests are skipped."""
    if in_tests:
        pytest.skip(reason)
    raise RuntimeError(reason)


def start(package, arguments, environment):
    """Run the program with a package of its own in a folder, or with the one of this process (None)."""
    paths = [package, TORTURE, TORTURE.parent / "support", os.environ.get("PYTHONPATH")]
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"} | environment
    environment["PYTHONPATH"] = os.pathsep.join(str(path) for path in paths if path)
    command = [sys.executable, "-P", "-X", "faulthandler", PROGRAM, *map(str, arguments)]
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=errors)
        try:
            code = process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            code = f"no end after {PATIENCE} s"
        texts = [file.seek(0) or file.read() for file in (out, errors)]
    return subprocess.CompletedProcess(command, code, *texts)


def faults_of(arguments, first, stop, package=None, environment=()):
    """Texts about the cases from ``first`` to ``stop`` that end the process or differ from the reference."""
    faults = []
    while first < stop and len(faults) < MOST_FAULTS:
        ended = start(package, [*arguments, "--cases", first, stop], dict(environment))
        case = None
        for line in ended.stdout.splitlines():
            if line.startswith("differs"):
                faults.append(f"{line} in case {case}")
            elif line != "end":
                case = line
        if ended.stdout.endswith("end\n"):
            break
        if case is None:
            raise RuntimeError(f"{PROGRAM} ended with {ended.returncode} before its first case: {ended.stderr}")
        faults.append(f"ended with {ended.returncode} in case {case}\n{report(ended.stderr)}")
        first = int(case.split()[0]) + 1
    return [f"{' '.join(map(str, arguments))}: {fault}" for fault in faults]


def report(text):
    """The head of what was said about an end."""
    return "\n".join(text.splitlines()[:HEAD])


def unseen(wrong, words, arguments, package=None, environment=()):
    """A list of one text if a mistake that is made on purpose does not end the process with these words."""
    ended = start(package, [*arguments, "--wrong", wrong, "--cases", 0, 0], dict(environment))
    if not ended.stdout and words in ended.stderr:
        return []
    said = f"{ended.returncode} {report(ended.stdout + ended.stderr)}"
    return [f"{' '.join(map(str, arguments))}: {wrong} is not found: {said}"]
