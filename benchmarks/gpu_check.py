"""Everything that only a GPU can show, in one command: ``make gpu-check``.

The kernels against the reference, compute-sanitizer where it is installed, and the rows of gpu/rows.py beside torch. It
needs no network. Writes gpu/report.json and gpu/REPORT.md beside this file; where there is no GPU the report says so.
"""

import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections import Counter
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import click

HERE = Path(__file__).parent
TESTS = HERE.parent / "tests" / "cuda"
sys.path.insert(0, str(HERE / "gpu"))

from rows import ROWS, data_of, flops, least_bytes, time_ours  # noqa: E402
from torch_peer import matrix_rate, memory_rate, time_torch  # noqa: E402

PACKAGES = "fastmlp", "numba", "numba-cuda", "cuda-core", "cuda-bindings", "torch"
COUNTED = re.compile(r"(\d+) (passed|failed|errors?|skipped)")
FILE_SECONDS = 1800  # for a file of tests; a kernel that waits for ever must not take the report with it
SANITIZERS = "memcheck", "racecheck", "synccheck"
SANITIZED = "test_device_contract.py"  # a part of the suite: a sanitizer slows kernels down by a hundred times


def run_tests(name, files, before=()):
    """(whether all passed, how many did what) of files of tests on the GPU, each in a process of its own: after an
    illegal access a process has lost the GPU. What they print goes to logs/<name>.log."""
    if importlib.util.find_spec("pytest") is None:
        return False, "not run: this Python has no pytest"
    counts, all_passed, log = Counter(), True, HERE / "gpu" / "logs" / f"{name}.log"
    log.parent.mkdir(exist_ok=True)
    environment = os.environ | {"FASTMLP_GPU": "1", "NUMBA_CUDA_LOW_OCCUPANCY_WARNINGS": "0"}
    with log.open("w") as out:
        for file in files:
            # -P: fastmlp is the installed one, not the folder that this is started from.
            command = [*before, sys.executable, "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider", str(file)]
            try:
                run = subprocess.run(
                    command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                    timeout=FILE_SECONDS,
                )  # fmt: skip
                said, all_passed = run.stdout, all_passed and run.returncode == 0
            except subprocess.TimeoutExpired as late:
                said, all_passed = (late.stdout or b"").decode() + "\n1 failed: it took too long\n", False
            out.write(said)
            last = [line for line in said.splitlines() if COUNTED.search(line)][-1:]
            counts.update({kind: int(number) for line in last for number, kind in COUNTED.findall(line)})
    return all_passed, ", ".join(f"{number} {kind}" for kind, number in counts.items()) or "no tests: see the log"


def sanitize():
    """{tool: (clean, summary)}."""
    tool = shutil.which("compute-sanitizer") or shutil.which("compute-sanitizer", path="/usr/local/cuda/bin")
    if tool is None:
        return {}
    options = "--error-exitcode", "9", "--target-processes", "all"
    return {name: run_tests(name, [TESTS / SANITIZED], [tool, "--tool", name, *options]) for name in SANITIZERS}


def attempt(found, work):
    """``work()`` adds to ``found``; what it fails with stands there instead, and others go on."""
    try:
        work()
    except Exception as error:
        found.setdefault("errors", []).append(f"{type(error).__name__}: {error}")


def time_rows(names):
    """For each row a dictionary of what was measured."""
    rates, with_torch = {}, importlib.util.find_spec("torch") is not None
    if with_torch:
        attempt(rates, lambda: rates.update(flops=matrix_rate(), bytes=memory_rate()))
    for name in names:
        row = ROWS[name]
        found = {"name": name, "target": row.target, "sizes": row.sizes, "batch": row.batch}

        def ours(row=row, found=found):
            found["seconds"], found["kernels"] = time_ours(row)
            found["samples_per_second"] = row.batch / found["seconds"]
            found["flops_per_second"] = flops(row) / found["seconds"]
            if "bytes" in rates:
                found["floor_seconds"] = max(flops(row) / rates["flops"], least_bytes(row) / rates["bytes"])
                found["times_floor"] = found["seconds"] / found["floor_seconds"]

        def theirs(row=row, found=found):
            found["torch_seconds"] = time_torch(row, data_of)
            found["times_torch"] = found["torch_seconds"] / found["seconds"]

        attempt(found, ours)
        if with_torch and "seconds" in found:
            attempt(found, theirs)
        click.echo(f"{name}: { ({k: v for k, v in found.items() if isinstance(v, float)}) } {found.get('errors', '')}")
        yield found


def markdown(report):
    """The report as a page."""
    lines = ["# Backend `cuda` on a GPU", ""]
    if "why_not" in report:
        return "\n".join([*lines, f"**Not run on a GPU.** {report['why_not']}", "", *_targets(), ""])
    lines += [
        f"{report['gpu']}, compute capability {report['capability']}, on {report['platform']}.",
        ", ".join(f"{name} {found}" for name, found in report["versions"].items()) + ".", "",
        f"Kernels against the reference: {report['parity'][1]}.",
        *(f"compute-sanitizer {tool}: {said}." for tool, (_, said) in report["sanitizer"].items()),
        "" if report["sanitizer"] else "compute-sanitizer is not installed there.", "",
        "| row | seconds of a step | samples/s | x torch | x floor | kernels | hoped for |", "|---" * 7 + "|",
    ]  # fmt: skip
    for row in report["rows"]:
        if "seconds" not in row:
            lines.append(f"| {row['name']} | {row['errors'][0]} | | | | | {row['target']} |")
            continue
        ratios = [f"{row[name]:.2f}" if name in row else "-" for name in ("times_torch", "times_floor")]
        numbers = f"{row['seconds']:.3g} | {row['samples_per_second']:,.0f}"
        lines.append(f"| {row['name']} | {numbers} | {' | '.join(ratios)} | {row['kernels']} | {row['target']} |")
    return "\n".join([*lines, "", "Medians, by events of the GPU; `make gpu-check` makes this page.", ""])


def _targets():
    return ["What `make gpu-check` will measure:", "", "| row | hoped for, on an H200 |", "|---|---|",
            *(f"| {name} | {row.target} |" for name, row in ROWS.items())]  # fmt: skip


def installed():
    for name in PACKAGES:
        try:
            yield name, version(name)
        except PackageNotFoundError:
            yield name, "not installed"


@click.command()
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default=HERE / "gpu")
@click.option(
    "--row", "rows", multiple=True, type=click.Choice(list(ROWS)), help="Only time this row; may be repeated."
)
def main(out, rows):
    """Check and time backend 'cuda' on this machine's GPU."""
    from fastmlp import backends

    out.mkdir(parents=True, exist_ok=True)
    why_not = backends.why_not("cuda")
    if why_not is not None:
        write({"why_not": why_not}, out)
        raise click.ClickException(f"not run on a GPU: {why_not}")
    from fastmlp.kernels.numba_cuda import devices

    gpu = devices.current()
    report = {
        "gpu": gpu.name, "capability": ".".join(map(str, gpu.capability)), "platform": platform.platform(),
        "versions": dict(installed()), "parity": (None, "not asked for"), "sanitizer": {}, "rows": [],
    }  # fmt: skip
    for row in time_rows(rows or ROWS):
        report["rows"].append(row)
        write(report, out)
    if not rows:
        report["parity"] = run_tests("parity", sorted(TESTS.glob("test_*.py")))
        write(report, out)
        report["sanitizer"] = sanitize()
        write(report, out)
        if not (report["parity"][0] and all(clean for clean, _ in report["sanitizer"].values())):
            raise click.ClickException(f"the kernels are not right on this GPU: see {HERE / 'gpu' / 'logs'}")


def write(report, out):
    """As it is so far."""
    (out / "report.json").write_text(json.dumps(report, indent=1) + "\n")
    (out / "REPORT.md").write_text(markdown(report))


if __name__ == "__main__":
    main()
