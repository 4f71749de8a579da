"""Processes killed at random moments of fits, streams, saves, ensembles, commands and fits of two MPI ranks."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from recorded_files import Expected, contents, is_temporary, recorded

from fastmlp.io import atomic

SIZES = {"forks": 16, "ranks": 1}, {"forks": 970, "ranks": 30}
FIGURE = (
    "{kills} processes killed, of which {rank_kills} jobs of two ranks; {kinds} kinds of work; each went on, and left "
    "the files of an unbroken run; {segments} segments of shared memory left by MPI"
)
HERE, MEMORY = Path(__file__).parent, Path("/dev/shm")
N_WORKERS = 2
SECONDS = 120  # a job that hangs takes longer
VICTIMS = ["rank-0"], ["rank-1"], ["rank-0", "rank-1"], ["mpiexec"]


def run(size, seed, folder):
    sys.path.append(str(HERE.parent / "distributed"))
    from mpi import mpiexec

    if atomic.fcntl is None:
        raise RuntimeError("needs the locks of Unix")
    with tempfile.TemporaryDirectory(prefix="fastmlp-", dir=MEMORY if MEMORY.is_dir() else folder) as place:
        ranks = kills_of_ranks(mpiexec(), size["ranks"], seed, Path(place) / "ranks")
        counts = kills_of_forks(size["forks"], seed, Path(place))  # a disk would take most of the time to write
    n_ranks = ranks.pop("kills")
    kills = sum(counts["kills"].values()) + n_ranks
    faults = counts["faults"] + ranks.pop("faults")
    return {"kills": kills, "rank_kills": n_ranks, "kinds": len(counts["kills"]) + 1, **ranks, "faults": faults}


def environment(temporary):
    """That of processes that import the modules of this folder and put temporary files into another."""
    # mpi4py replaces the first folder by that of the program.
    path = os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")]))
    one = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    return {**os.environ, **one, "PYTHONPATH": path, "TMPDIR": str(temporary)}


def kills_of_forks(n_kills, seed, folder):
    """{"kills": {work: number}, "faults": list} of several processes of kill_worker.py."""
    workers, counts = [], {"kills": {}, "faults": []}
    for number in range(N_WORKERS):
        own = folder / f"worker-{number}"
        (own / "temporary").mkdir(parents=True)
        share = n_kills // N_WORKERS + (number < n_kills % N_WORKERS)
        command = [sys.executable, "-P", str(HERE / "kill_worker.py"), str(share), f"{seed}-{number}", str(own)]
        options = {"stdout": subprocess.PIPE, "text": True, "env": environment(own / "temporary")}
        workers.append((own, subprocess.Popen(command, **options)))
    for own, worker in workers:
        output, _ = worker.communicate()
        if worker.returncode:
            raise RuntimeError(f"kill_worker.py ended with {worker.returncode}; its error is above")
        found = json.loads(output)
        for name, kills in found["kills"].items():
            counts["kills"][name] = counts["kills"].get(name, 0) + kills
        litter = [path.name for path in (own / "temporary").iterdir()]
        counts["faults"] += found["faults"] + ([f"left in the folder for temporary files: {litter}"] if litter else [])
    return counts


class Job:
    """A fit of two ranks in a folder, killed_ranks.py, that has begun."""

    def __init__(self, mpiexec, folder, *note):
        self.folder, self.log = folder, folder.with_suffix(".log")
        for path in folder.glob("rank-*"):
            path.unlink()
        command = [mpiexec, "-n", "2", sys.executable, "-P", "-m", "mpi4py", str(HERE / "killed_ranks.py")]
        with open(self.log, "w") as log:
            options = {"stdout": log, "stderr": log, "env": environment(folder.parent)}
            self.process = subprocess.Popen([*command, str(folder), *map(str, note)], **options)
        ready = wait(lambda: len(list(folder.glob("rank-*"))) == 2 or self.process.poll() is not None)
        assert ready and self.process.poll() is None, self.log.read_text()
        self.pids = {path.name: int(path.read_text()) for path in folder.glob("rank-*")}
        self.segments = set().union(*map(segments_of, self.pids.values()))
        self.pids["mpiexec"] = self.process.pid

    def kill(self, names):
        """Kill some of its processes, in their order. Returns whether one was alive."""
        alive = [name for name in names if is_alive(self.pids[name])]
        for name in alive:
            with suppress(ProcessLookupError):
                os.kill(self.pids[name], signal.SIGKILL)
        return bool(alive)

    def end(self):
        """Wait until all its processes have ended. Returns what is wrong."""
        if wait(lambda: self.process.poll() is not None and not any(map(is_alive, self.pids.values()))):
            return []
        left = [name for name, pid in self.pids.items() if is_alive(pid)]
        self.kill(left)
        return [f"{', '.join(left)} did not end: {self.log.read_text()[-2000:]}"]

    def contents(self):
        return contents(self.folder, "seconds", *self.pids)


def segments_of(pid):
    """The files in memory that a process shares."""
    with suppress(OSError):
        maps = Path(f"/proc/{pid}/maps").read_text().splitlines()
        return {Path(line.split()[5]) for line in maps if f" {MEMORY}/" in line and not line.endswith("(deleted)")}
    return set()


def is_alive(pid):
    with suppress(OSError):
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    return False


def wait(condition):
    """Wait until a condition holds. Returns whether it does."""
    stop = time.monotonic() + SECONDS
    while not condition():
        if time.monotonic() > stop:
            return False
        time.sleep(0.002)
    return True


def unbroken_ranks(mpiexec, folder):
    """The Expected of a fit of two ranks."""
    folder.mkdir()
    note = folder.with_suffix(".note")
    job = Job(mpiexec, folder, note)
    faults = job.end()
    assert not faults and job.process.returncode == 0, job.log.read_text()
    written, calls = recorded(note)
    found = Expected(job.contents(), written, float((folder / "seconds").read_text()), calls)
    shutil.rmtree(folder)
    return found


def kills_of_ranks(mpiexec, n_kills, seed, folder):
    """{"kills": number, "segments": number, "faults": list} of jobs of two ranks."""
    rng, kills, faults, left = random.Random(f"ranks {seed}"), 0, [], set()
    expected = unbroken_ranks(mpiexec, folder)
    while kills < n_kills:
        folder.mkdir()
        hows, found = [], []
        for _ in range(min(rng.randint(1, 4), n_kills - kills)):
            victims, after = rng.choice(VICTIMS), rng.uniform(0, expected.seconds)
            hows.append(f"{', '.join(victims)} after {after:.4f} s")
            job = Job(mpiexec, folder)
            time.sleep(after)
            kills += job.kill(victims)
            found += job.end()
            left |= {path for path in job.segments if path.exists()}
            if any(content not in expected.written["m"] for content in job.contents().values()):
                found.append("the checkpoint is not one of an unbroken fit")
        job = Job(mpiexec, folder)
        found += job.end()
        if job.contents() != expected.final:
            found.append(f"the result is not that of an unbroken fit: {job.log.read_text()[-2000:]}")
        if litter := [path.name for path in folder.iterdir() if is_temporary(path)]:
            found.append(f"{litter} are left at the end")
        faults += [f"ranks, killed {'; '.join(hows)}: {fault}" for fault in found]
        shutil.rmtree(folder)
    for path in left:
        path.unlink(missing_ok=True)
    return {"kills": kills, "segments": len(left), "faults": faults}
