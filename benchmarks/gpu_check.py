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
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import click

HERE = Path(__file__).parent
TESTS = HERE.parent / "tests" / "cuda"
sys.path.insert(0, str(HERE / "gpu"))

from rows import ROWS, data_of, flops, least_bytes, time_ours  # noqa: E402
from torch_peer import matrix_rate, memory_rate, time_torch  # noqa: E402

PACKAGES = "fastmlp", "numba", "numba-cuda", "cuda-core", "cuda-bindings", "torch"


def run_tests(*before, more=()):
    """(whether all passed, pytest's last line) of the parity suite on the GPU."""
    command = [*before, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *(more or [str(TESTS)])]
    run = subprocess.run(command, env=os.environ | {"FASTMLP_GPU": "1"}, capture_output=True, text=True)
    lines = [line for line in run.stdout.splitlines() if re.search(r"\d+ (passed|failed|error)", line)]
    (HERE / "gpu" / "last_run.log").write_text(run.stdout + run.stderr)
    return run.returncode == 0, lines[-1] if lines else f"exit status {run.returncode}"


def sanitize():
    """{tool: (clean, summary)} for a part of the suite: each tool slows kernels down by a hundred times."""
    tool = shutil.which("compute-sanitizer")
    if tool is None:
        return {}
    part = [str(TESTS / "test_device_contract.py")]
    found = {}
    for name in ("memcheck", "racecheck", "synccheck"):
        before = [tool, "--tool", name, "--error-exitcode", "9", "--target-processes", "all"]
        found[name] = run_tests(*before, more=part)
    return found


def time_rows():
    """For each row a dictionary of what was measured; a row that fails says why, and others go on."""
    with_torch = importlib.util.find_spec("torch") is not None
    matrices, memory = (matrix_rate(), memory_rate()) if with_torch else (None, None)
    for name, row in ROWS.items():
        found = {"name": name, "target": row.target, "sizes": row.sizes, "batch": row.batch}
        try:
            found["seconds"], found["kernels"] = time_ours(row)
            found["samples_per_second"] = row.batch / found["seconds"]
            found["flops_per_second"] = flops(row) / found["seconds"]
            if with_torch:
                found["torch_seconds"] = time_torch(row, data_of)
                found["times_torch"] = found["torch_seconds"] / found["seconds"]
                found["floor_seconds"] = max(flops(row) / matrices, least_bytes(row) / memory)
                found["times_floor"] = found["seconds"] / found["floor_seconds"]
        except Exception as error:
            found["error"] = f"{type(error).__name__}: {error}"
        click.echo(f"{name}: {found.get('error') or {k: v for k, v in found.items() if isinstance(v, float)}}")
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
        if "error" in row:
            lines.append(f"| {row['name']} | {row['error']} | | | | | {row['target']} |")
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
@click.option("--rows-only", is_flag=True, help="Only time the rows.")
def main(out, rows_only):
    """Check and time backend 'cuda' on this machine's GPU."""
    from fastmlp import backends

    why_not = backends.why_not("cuda")
    if why_not is None:
        from fastmlp.kernels.numba_cuda import devices

        gpu = devices.current()
        report = {
            "gpu": gpu.name, "capability": ".".join(map(str, gpu.capability)), "platform": platform.platform(),
            "versions": dict(installed()), "parity": (None, "not asked for") if rows_only else run_tests(),
            "sanitizer": {} if rows_only else sanitize(), "rows": list(time_rows()),
        }  # fmt: skip
    else:
        report = {"why_not": why_not}
    out.mkdir(parents=True, exist_ok=True)
    (out / "report.json").write_text(json.dumps(report, indent=1) + "\n")
    (out / "REPORT.md").write_text(markdown(report))
    click.echo(f"{out / 'REPORT.md'}")
    if why_not is not None:
        raise click.ClickException(f"not run on a GPU: {why_not}")
    if not rows_only and not (report["parity"][0] and all(clean for clean, _ in report["sanitizer"].values())):
        raise click.ClickException("the kernels are not right on this GPU: see gpu/last_run.log")


if __name__ == "__main__":
    main()
