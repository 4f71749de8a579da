"""Damaged, hostile and future files: one clear error, in bounded memory and time, and nothing is executed.

Models of every kind that fastmlp saves, as tests/io/versions holds them, are damaged, edited with the checksum made
right again, or replaced by pickles and zip bombs; CSV, Parquet and NPZ files for the command line too. Two processes
share the trials. A trial depends on the seed and its number alone: 'python files.py FOLDER SEED NUMBER' repeats one.
"""

import json
import os
import pickle
import resource
import subprocess
import sys
import time
import warnings
from collections import Counter
from pathlib import Path

SIZES = (300, 10_000)
FIGURE = (
    "{files:,} files: {refused:,} refused with one clear error, {loaded:,} loaded and worked; a file took at most "
    "{megabytes} MB more memory and {seconds} s of CPU time"
)
PROCESSES = 2
MEGABYTES, SECONDS = 600, 30  # limits for a file: BOMB_BYTES of zeros twice and more are refused, not read
HANGS_AFTER = 300  # seconds
WATCHED = "pickle.find_class", "os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "os.mkdir", "os.fork"


def run(size, seed, folder):
    """Try ``size`` files."""
    shares = [Share(folder / str(first), seed, range(first, size, PROCESSES)) for first in range(PROCESSES)]
    found = [share.result() for share in shares]
    counts = sum((Counter(one["counts"]) for one in found), Counter())
    return {
        "files": size,
        "refused": counts.pop("refused", 0),
        "loaded": counts.pop("loaded", 0),
        "megabytes": max(one["megabytes"] for one in found),
        "seconds": max(one["seconds"] for one in found),
        "kinds": dict(sorted(counts.items())),
        "faults": [fault for one in found for fault in one["faults"]],
    }


class Share:
    """The trials of one process, which is started again after a crash."""

    def __init__(self, folder, seed, numbers):
        folder.mkdir()
        self._folder, self._seed, self._numbers = folder, seed, list(numbers)
        self._process = self._start(self._numbers)

    def _start(self, numbers):
        (self._folder / "numbers").write_text(json.dumps(numbers))
        return subprocess.Popen([sys.executable, "-P", __file__, self._folder, str(self._seed)])

    def result(self):
        """Wait for all trials. Returns what ``tried`` found, with a fault for each crash."""
        found = {"counts": Counter(), "megabytes": 0, "seconds": 0.0, "faults": []}
        while True:
            code = self._process.wait()
            log = self._folder / "log"
            lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
            for line in lines:
                found["counts"].update(line["counts"])
                found["megabytes"] = max(found["megabytes"], line["megabytes"])
                found["seconds"] = max(found["seconds"], line["seconds"])
                found["faults"] += line["faults"]
            self._numbers = self._numbers[len(lines) :]
            if not self._numbers:
                return found
            found["faults"].append(f"trial {self._numbers[0]} of seed {self._seed}: the process ended with {code}")
            self._numbers = self._numbers[1:]
            log.unlink(missing_ok=True)
            self._process = self._start(self._numbers)


# In the child process.


class Fault(Exception):
    """Something that must not happen."""


def main():
    import signal

    sys.path[:0] = [str(Path(__file__).parents[1] / "support"), str(Path(__file__).parent)]
    folder, seed = Path(sys.argv[1]), int(sys.argv[2])
    single = [int(number) for number in sys.argv[3:]]
    numbers = single or json.loads((folder / "numbers").read_text())
    warnings.simplefilter("ignore")
    watch = Watch(folder)
    warm_up(folder, watch)
    resource.setrlimit(resource.RLIMIT_AS, (address_space() + 8 * 2**30,) * 2)  # protects the machine
    with open(os.devnull if single else folder / "log", "w") as log:
        for number in numbers:
            signal.alarm(HANGS_AFTER)  # ends the process
            line = tried(number, seed, folder, watch)
            if single:
                print(number, line)
            print(json.dumps(line), file=log, flush=True)


def address_space():
    """Bytes of address space that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def peak():
    """The most memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


class Watch:
    """Records events of Python that no file may cause."""

    def __init__(self, folder):
        self.events, self.on, self._executed = [], False, folder / "executed"
        sys.addaudithook(self._see)

    def _see(self, event, arguments):
        if self.on and event in WATCHED:
            self.events.append(f"{event} {arguments!r}"[:200])

    def check(self):
        """Raise Fault if something was executed."""
        seen, self.events = self.events, []
        if seen or self._executed.exists():
            raise Fault(f"executed: {seen or self._executed}")


def warm_up(folder, watch):
    """One sound file of each kind, so that later ones import nothing."""
    import hostile_files as hostile
    import numpy as np

    for name in hostile.NAMES:
        load(hostile.VERSIONS / f"{name}.fastmlp", name, folder)
    for suffix, content in hostile.tables().items():
        (folder / f"table{suffix}").write_bytes(content)
        for rng in map(np.random.RandomState, range(6)):
            command_line(rng, folder / f"table{suffix}", folder)


def tried(number, seed, folder, watch):
    """A trial: {"counts", "megabytes", "seconds", "faults"}."""
    import numpy as np

    rng = np.random.RandomState([seed, number])
    kinds, shares = zip(*TRIALS.items())
    kind = kinds[rng.choice(len(kinds), p=shares)]
    before, begun, faults, outcome = peak(), time.process_time(), [], "failed"
    try:
        outcome = kind(rng, folder, watch)
        watch.on = False
        watch.check()
    except Exception as error:
        faults.append(f"trial {number} of seed {seed} ({kind.__name__}): {type(error).__name__}: {error}"[:500])
    watch.on, watch.events = False, []
    megabytes, seconds = peak() - before, round(time.process_time() - begun, 1)
    if megabytes > MEGABYTES or seconds > SECONDS:
        faults.append(f"trial {number} of seed {seed} ({kind.__name__}): {megabytes} MB, {seconds} s")
    return {"counts": {outcome: 1, kind.__name__: 1}, "megabytes": megabytes, "seconds": seconds, "faults": faults}


def load(path, name, folder):
    """Load a model file, use the model and save it again in ``folder``. Returns (whether it loads, its predictions)."""
    import fastmlp
    from fastmlp.io.model_files import ModelFileError
    from saved_models import MODELS, use

    try:
        model = fastmlp.load(path)
    except ModelFileError as error:
        if str(path) not in str(error):
            raise Fault(f"the message does not name the file: {error}") from error
        return False, None
    predictions = use(model, MODELS[name][1])
    model.save(folder / "again.fastmlp")
    return True, predictions


def damaged_models(rng, folder, watch):
    """Refused, or the same model."""
    import hostile_files as hostile
    import numpy as np

    name = hostile.NAMES[rng.randint(len(hostile.NAMES))]
    content = (hostile.VERSIONS / f"{name}.fastmlp").read_bytes()
    path = folder / "model.fastmlp"
    make = hostile.claims if not rng.randint(4) else hostile.damaged
    path.write_bytes(make(rng, content))
    watch.on = True
    loaded, predictions = load(path, name, folder)
    if loaded and path.read_bytes() != content:
        _, expected = load(hostile.VERSIONS / f"{name}.fastmlp", name, folder)
        if not np.array_equal(predictions, expected):
            raise Fault("a damaged file was loaded as another model")
    return "loaded" if loaded else "refused"


def edited_models(rng, folder, watch):
    """Refused, or a model that works."""
    import hostile_files as hostile

    name = hostile.NAMES[rng.randint(len(hostile.NAMES))]
    path = hostile.with_entries(rng, name, hostile.CHANGES[rng.randint(len(hostile.CHANGES))], folder)
    watch.on = True
    return "loaded" if load(path, name, folder)[0] else "refused"


def foreign_files(rng, folder, watch):
    """Refused, by ``load`` and by the command line."""
    import hostile_files as hostile

    path = folder / "model.fastmlp"
    path.write_bytes(hostile.foreign(rng, folder))
    watch.on = True
    if load(path, "network", folder)[0] or invoke("predict", path, folder / "table.csv") == "loaded":
        raise Fault("loaded")
    return "refused"


def pickled_models(rng, folder, watch):
    """An exception and no crash: pickles are for files that one trusts, and what they raise is up to Python."""
    import hostile_files as hostile

    import fastmlp
    from saved_models import MODELS, OTHERS, use

    name = hostile.NAMES[rng.randint(len(hostile.NAMES))]
    model = fastmlp.load(hostile.VERSIONS / f"{name}.fastmlp")
    content = pickle.dumps(model)
    try:
        if rng.randint(2):
            model = pickle.loads(hostile.truncated(rng, content))
        else:
            state = dict(model.__getstate__())
            state[list(state)[rng.randint(len(state))]] = OTHERS[rng.randint(len(OTHERS))]
            model = object.__new__(type(model))
            getattr(model, "__setstate__", vars(model).update)(state)
        use(model, MODELS[name][1])
    except Exception:
        return "refused"
    return "loaded"


def tables(rng, folder, watch):
    """A table for the command line: results, or one error."""
    import hostile_files as hostile

    suffix, content = (hostile.hostile_table if rng.randint(2) else hostile.damaged_table)(rng, folder)
    path = folder / f"changed{suffix}"
    path.write_bytes(content)
    watch.on = True
    return command_line(rng, path, folder)


def command_line(rng, path, folder):
    """One of the commands that read a table."""
    import hostile_files as hostile

    models = [hostile.VERSIONS / f"{name}.fastmlp" for name in hostile.TABLE_MODELS]
    model = models[rng.randint(len(models))]
    train = "train", path, "--target", "y", "--out", folder / "trained.fastmlp", "--quiet", "--epochs", 1
    commands = [
        ("predict", model, path),
        ("evaluate", model, path),
        (*train, "--hidden", "4"),
        (*train, "--hidden", "4", "--activation", "tanh"),
    ]
    return invoke(*commands[rng.randint(len(commands))])


def invoke(*arguments):
    """Run a command in this process: 'loaded', or 'refused' after one error. Raises Fault for a traceback."""
    from click.testing import CliRunner

    from fastmlp.cli.main import main as fastmlp

    result = CliRunner().invoke(fastmlp, list(map(str, arguments)))
    if result.exit_code == 0:
        return "loaded"
    if not isinstance(result.exception, SystemExit) or result.output.count("Error: ") != 1:
        raise Fault(f"{arguments[0]} {Path(arguments[-1]).name}: {result.exception!r} {result.output[-300:]}")
    return "refused"


# The share of each kind of files.
TRIALS = {damaged_models: 0.3, edited_models: 0.4, foreign_files: 0.05, pickled_models: 0.05, tables: 0.2}

if __name__ == "__main__":
    main()
