"""Try to break fastmlp, and count what was tried: python torture.py [PART ...]. Writes docs/reliability_table.md.

Each part is a module of this folder, with

- a docstring whose first line says what it tries;
- ``SIZES``: how much of it, in the tests and here;
- ``FIGURE``: a format of the counts that it found;
- ``run(size, seed, folder)``, which returns the counts as a dictionary. ``faults`` is a list of texts, each with all
  that is needed to see one again. The folder is empty and is removed after the run.
"""

import argparse
import datetime
import importlib
import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path

FOLDER = Path(__file__).parent
DOCS = FOLDER.parent.parent / "docs"
RESULTS, TABLE = DOCS / "reliability.json", DOCS / "reliability_table.md"
# Names of the modules, in the order of the table.
PARTS = (
    "fuzz", "same_data", "files", "kills", "full_disks", "clocks", "threads", "processes", "signals", "sanitizers",
    "guard_pages", "configurations", "drift", "extremes", "accuracy", "mc_dropout", "machines", "aarch64",
)  # fmt: skip
SHORT, LONG = 0, 1  # places in SIZES


def part(name):
    """Import the module of a part."""
    if str(FOLDER) not in sys.path:
        sys.path.insert(0, str(FOLDER))
    return importlib.import_module(name)


def run(name, length, seed=0):
    """Run a part in a temporary folder. Returns its counts."""
    module = part(name)
    with tempfile.TemporaryDirectory(prefix="fastmlp-", ignore_cleanup_errors=True) as folder:
        return module.run(module.SIZES[length], seed, Path(folder))


def table(results):
    """The table of docs/reliability.md, in Markdown."""
    lines = ["| part | what is tried | what was found | minutes | machine and day |", "|---|---|---|---|---|"]
    for name in PARTS:
        module, found = part(name), results.get(name)
        tried = module.__doc__.splitlines()[0].rstrip(".")
        if found is None:
            cells = "not run yet", "", ""
        else:
            where = f"{found['machine']}, {found['day']}"
            cells = figure(module, found["counts"]), f"{found['seconds'] / 60:.1f}", where
        lines.append(f"| {name} | {tried} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def figure(module, counts):
    """What a run of a part found, in words."""
    return f"{module.FIGURE.format(**counts)}; {len(counts['faults'])} faults"


def processor():
    """Name of this machine's processor, with its number of cores."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else ()
    name = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    return f"{name}, {os.cpu_count()} cores"


def main(given=None):
    parser = argparse.ArgumentParser(description="Try to break fastmlp, and count what was tried.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)} (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="of all that is random (default: %(default)s)")
    options = parser.parse_args(given)
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}. There are {', '.join(PARTS)}")
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    faults = []
    for name in options.parts or PARTS:
        begun = time.perf_counter()
        counts = run(name, LONG, options.seed)
        seconds = round(time.perf_counter() - begun, 1)
        day = str(datetime.date.today())
        results[name] = {"counts": counts, "seed": options.seed, "seconds": seconds, "machine": processor(), "day": day}
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")
        TABLE.write_text(table(results))
        print(f"{name}: {figure(part(name), counts)}, {seconds} s", flush=True)
        faults += [f"{name}: {fault}" for fault in counts["faults"]]
    print(*faults, sep="\n")
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
