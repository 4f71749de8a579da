"""What a run writes: the content of each file as it is replaced, for comparison with what killed runs leave."""

import json
import sys
from collections import defaultdict
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

from fastmlp.io import atomic

MODELS = "m", "fitted", ".fastmlp", ".part"  # names, or suffixes, of files that fastmlp.load reads


class Expected(NamedTuple):
    """What an unbroken run leaves: files, all contents that each has had, seconds, number of calls in atomic.py."""

    final: dict[str, str]
    written: dict[str, set[str]]
    seconds: float
    n_calls: int


def digest(name, path):
    """Of the content that a file of that name is to have; the entries in the header of a model file have no order."""
    content = Path(path).read_bytes()
    if is_model(name):
        end = 8 + int.from_bytes(content[:8], "little")
        with suppress(ValueError):
            content = json.dumps(json.loads(content[8:end]), sort_keys=True).encode() + content[end:]
    return blake2b(content, digest_size=16).hexdigest()


def is_model(name):
    return name in MODELS or Path(name).suffix in MODELS


def is_temporary(path):
    return path.name.startswith(".fastmlp-")


def contents(folder, *ignored):
    """{name: digest} of the files of a folder; temporary ones and those that are ignored are left out."""
    files = [path for path in folder.iterdir() if not is_temporary(path) and path.name not in ignored]
    return {path.name: digest(path.name, path) for path in files}


def record(note):
    """Append to the file ``note`` a line for each file that is about to be replaced, until the process ends."""
    file, calls = open(note, "a"), count_calls(lambda number: None)  # noqa: SIM115

    def hook(event, given):
        if event == "os.rename":
            name = Path(given[1]).name
            file.write(json.dumps((name, digest(name, given[0]), calls[0])) + "\n")
            file.flush()

    sys.addaudithook(hook)


def recorded(note):
    """({name: digests of the contents that it has had}, number of calls in atomic.py), from what ``record`` wrote."""
    written, calls = defaultdict(set), 0
    for line in note.read_text().splitlines():
        name, content, calls = json.loads(line)
        written[name].add(content)
    note.unlink()
    return written, calls


def count_calls(act):
    """Call ``act`` with the number of each call and return of a function of C in atomic.py. Returns [that number]."""
    calls = [0]

    def profile(frame, event, function):
        if event in ("c_call", "c_return") and frame.f_code.co_filename == atomic.__file__:
            calls[0] += 1
            act(calls[0])

    sys.setprofile(profile)
    return calls
