"""Commands with a time limit, and the values they report."""

import contextlib
import faulthandler
import json
import os
import signal
import subprocess
import time

REAP_SECONDS = 2  # the longest wait for a killed process, which may be stuck inside the driver
POLL_SECONDS = 0.1
TRACE_SECONDS = 20
MARK = "RESULT "


class Stop:
    """Records SIGTERM or SIGINT, so that the report can be finished before the program exits."""

    def __init__(self):
        self.signal = None

    def listen(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._remember)

    def _remember(self, number, frame):
        self.signal = self.signal or number


def run(command, log, seconds, environment, stop, folder=None):
    """Run a command until it ends, the time is up or a signal arrives; then kill its remaining processes.

    The output is written to a file, because a grandchild could keep a pipe open. The command has its own process group,
    so that one SIGKILL reaches all its processes.

    Returns
    -------
    state : str
        "passed", "failed", "timed out" or "stopped".
    gone : bool
        Whether the process has ended.
    """
    with log.open("wb") as out:
        try:
            child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, env=environment, cwd=folder,
                process_group=0,
            )  # fmt: skip
        except OSError as error:
            out.write(f"{error}\n".encode())
            return "failed", True
        try:
            state = _state_of(child, time.monotonic() + seconds, stop)
        finally:
            gone = _kill(child)
    return state, gone


def _state_of(child, end, stop):
    while stop.signal is None and (left := end - time.monotonic()) > 0:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return "failed" if child.wait(min(left, POLL_SECONDS)) else "passed"
    return "timed out" if stop.signal is None else "stopped"


def _kill(child):
    """Kill the whole process group, even if its leader has ended. Returns whether the leader has ended."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(REAP_SECONDS)
    return child.returncode is not None


@contextlib.contextmanager
def trace():
    """Inside a command, print a traceback every 20 seconds, so that the log shows where it hangs."""
    faulthandler.dump_traceback_later(TRACE_SECONDS, repeat=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()  # the last line of output must be the reason of a failure


def report_values(**values):
    """Report values from inside a command; they are recorded even if the command hangs afterwards."""
    print(MARK + json.dumps(values), flush=True)


def reported_values(text):
    """All values reported in the output of a command, as one dictionary."""
    values = {}
    for line in text.splitlines():
        if line.startswith(MARK):
            with contextlib.suppress(ValueError):  # the line may be truncated
                values.update(json.loads(line.removeprefix(MARK)))
    return values
