"""Forks processes that do some work, kills them, and looks at what is left: kill_worker.py KILLS SEED FOLDER.

A fork of a process that has imported everything begins to work at once. This one never fits: it stays without threads.
"""

import json
import os
import random
import resource
import shutil
import signal
import sys
import time
import traceback
from collections import Counter
from itertools import cycle
from pathlib import Path

import killed_work
from recorded_files import Expected, contents, count_calls, is_model, is_temporary, record, recorded

from fastmlp.io import model_files

SECONDS = 120  # a process that hangs takes longer
KILLS_OF_A_CASE = 3
FILE_BYTES = 6000  # of the largest model
KILLED = -signal.SIGKILL, -signal.SIGXFSZ


class Case:
    """A piece of work in a new folder."""

    def __init__(self, name, folder):
        self.work, self.folder = killed_work.WORK[name], Path(folder)
        self.folder.mkdir()

    def run(self, *armed):
        """Do the work in a fork, in which the functions ``armed`` are called first. Returns its process id."""
        sys.stdout.flush()
        pid = os.fork()
        if pid:
            return pid
        status = 1
        try:
            with open(self.folder.with_suffix(".log"), "w") as log:
                os.dup2(log.fileno(), 1)
                os.dup2(log.fileno(), 2)
            for arm in armed:
                arm()
            self.work(self.folder)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def end(self, pid, after=SECONDS):
        """The exit status of a process; None if it had to be killed after so many seconds."""
        stop = time.monotonic() + after
        while time.monotonic() < stop:
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.0005)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        return None

    def contents(self):
        return contents(self.folder, *killed_work.INPUTS)

    def litter(self):
        return [path.name for path in self.folder.iterdir() if is_temporary(path)]

    def log(self):
        return self.folder.with_suffix(".log").read_text()[-2000:]

    def ending(self, status):
        return f"it hangs: {self.log()}" if status is None else f"exit status {status}: {self.log()}"


def unbroken(name, folder):
    """The Expected of a piece of work."""
    note, case = folder / "note", Case(name, folder / f"recorded-{name}")
    assert case.end(case.run(lambda: record(note))) == 0, case.log()
    again, begun = Case(name, folder / f"unbroken-{name}"), time.monotonic()
    assert again.end(again.run()) == 0, again.log()
    seconds = time.monotonic() - begun
    assert again.contents() == case.contents(), f"two unbroken runs of {name} differ"
    written, calls = recorded(note)
    return Expected(case.contents(), written, seconds, calls)


def die_at_call(n):
    """Die before or after one of the calls that write a file: open, flock, write, fsync, rename and the rest."""
    count_calls(lambda number: number == n and os.kill(os.getpid(), signal.SIGKILL))


def die_at_byte(n):
    """Die in the middle of the first write beyond so many bytes of a file."""
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n, n))


def kill_once(case, expected, rng):
    """Run the work, and kill it. Returns (how, whether it was killed, fault or None)."""
    kind = rng.choice(["moment", "call", "byte"])
    if kind == "moment":
        after = rng.uniform(0, expected.seconds)
        how, status = f"after {after:.6f} s", case.end(case.run(), after)
        status = KILLED[0] if status is None else status
    else:
        n = rng.randint(1, expected.n_calls if kind == "call" else FILE_BYTES)
        die = die_at_call if kind == "call" else die_at_byte
        how, status = f"at {kind} {n}", case.end(case.run(lambda: die(n)))
    return how, status in KILLED, None if status in (0, *KILLED) else case.ending(status)


def faults_of(case, expected):
    """What is wrong with the files that a killed process has left."""
    for name, found in case.contents().items():
        if found not in expected.written.get(name, ()):
            yield f"{name} is not one of the files that an unbroken run writes"
        if is_model(name):
            try:
                model_files.load(case.folder / name)
            except Exception as error:
                yield f"{name} cannot be read: {error!r}"
    if len(case.litter()) > len(expected.written):
        yield f"{len(case.litter())} temporary files for {len(expected.written)} files"


def try_case(name, expected, n_kills, folder, rng):
    """Kill a piece of work so many times, then let it end. Returns (kills, faults)."""
    case, hows, kills, faults = Case(name, folder), [], 0, []
    for _ in range(n_kills):
        how, killed, fault = kill_once(case, expected, rng)
        hows.append(how)
        kills += killed
        faults += ([fault] if fault else []) + list(faults_of(case, expected))
    status = case.end(case.run())
    if status != 0:
        faults.append(f"then {case.ending(status)}")
    elif case.contents() != expected.final:
        faults.append("the result is not that of an unbroken run")
    if litter := case.litter():
        faults.append(f"{len(litter)} temporary files are left at the end")
    shutil.rmtree(folder)
    return kills, [f"{name}, killed {', '.join(hows)}: {fault}" for fault in faults]


def main(n_kills, seed, folder):
    rng, folder = random.Random(f"kills {seed}"), Path(folder)
    killed_work.a_batch_per_chunk()
    expected = {name: unbroken(name, folder) for name in killed_work.WORK}
    kills, faults = Counter(), []
    for name in cycle(rng.sample(sorted(expected), len(expected))):
        n = min(rng.randint(1, KILLS_OF_A_CASE), n_kills - kills.total())
        found, more = try_case(name, expected[name], n, folder / "case", rng)
        kills[name] += found
        faults += more
        if kills.total() == n_kills:
            break
    print(json.dumps({"kills": kills, "faults": faults}))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3])
