"""Check and time backend cuda on this machine's GPU, in a given number of minutes: ``make gpu-check``.

Each part is a separate process with a time limit, killed with all its children when the limit or the total is reached,
and the report is written after every part. The most important parts come first, so that 3 minutes on 16 cores are
useful:

1. installed packages and tools, and what is missing (no process, a second);
2. smoke test: is there a GPU, and does one kernel compile, run and agree with NumPy?
3. each training strategy once, against the reference;
4. timing of the rows of gpu/rows.py;
5. every feature with every strategy, then the other test files;
6. torch on the same rows, which does not depend on fastmlp;
7. the extension module, for this CPU only, and the fits that are compared with it;
8. every pair of activation, loss and optimizer; compute-sanitizer.

Needs no network. Writes gpu/report.json, gpu/REPORT.md and gpu/logs beside this file.
"""

import argparse
import platform
import sys
import time
from pathlib import Path

if sys.version_info < (3, 11):  # noqa: UP036 - checked before anything else fails
    sys.exit(f"gpu-check needs Python 3.11 or newer, this is {platform.python_version()}: make gpu-check PYTHON=...")
HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "gpu"))

import limited  # noqa: E402
import page  # noqa: E402
import parts as parts_of  # noqa: E402
import requirements  # noqa: E402


def arguments(given=None):
    parser = argparse.ArgumentParser(description="Check and time backend 'cuda' on this machine's GPU.")
    parser.add_argument("--minutes", type=float, default=9, help="limit for everything (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=60, help="limit per part (default: %(default)s)")
    parser.add_argument("--only", action="append", metavar="PART", help="a part's name in the report; repeatable")
    parser.add_argument("--out", type=Path, default=HERE / "gpu", help="folder of the report")
    return parser.parse_args(given)


def chosen(parts, names):
    """The parts with these names, or all parts."""
    unknown = set(names or ()) - {part.name for part in parts}
    if unknown:
        known = ", ".join(part.name for part in parts)
        sys.exit(f"--only: no part is called {', '.join(sorted(unknown))}; there are: {known}")
    return [part for part in parts if not names or part.name in names]


def say(text):
    print(text, flush=True)


def check_parts(parts, report, out, end, seconds, stop, environment):
    """Run the parts until ``end``, and write the report after each."""
    results = report["parts"] = [{"name": part.name, "state": "not run", "said": part.obstacle} for part in parts]
    page.write(report, out)
    for part, result in zip(parts, results, strict=True):
        left = end - time.monotonic() - limited.REAP_SECONDS
        if part.obstacle:
            continue
        if stop.signal or left <= 0:
            result["said"] = "interrupted before" if stop.signal else "no time was left"
            continue
        log, begin = out / "logs" / f"{part.name.replace(' ', '_').replace(':', '')}.log", time.monotonic()
        state, gone = limited.run(part.command, log, min(seconds, left), environment, stop, parts_of.ROOT)
        text = log.read_text(errors="replace")
        state, said, values = parts_of.result_of(part, state, text)
        said += "" if gone else "; its process could not be killed"
        result |= {"state": state, "wall": round(time.monotonic() - begin, 1), "said": said, "values": values}
        say(f"{part.name}: {state} after {result['wall']} s: {said or values}")
        if "why_not" in values:  # nothing else can run
            result["state"] = "not run"
            del results[1:]
            break
        page.write(report, out)
    page.write(report, out)


def main():
    options, begin, stop = arguments(), time.monotonic(), limited.Stop()
    stop.listen()
    out = options.out.resolve()  # parts run in another folder
    site = out / "site"
    (out / "logs").mkdir(parents=True, exist_ok=True)
    parts = chosen(parts_of.all_parts(site), options.only)
    versions, problems, bring = requirements.check(parts_of.ROOT / "pyproject.toml")
    say(", ".join(f"{name} {version}" for name, version in versions.items()))
    for line in [*problems, *(requirements.how_to_bring(bring) if bring else [])]:
        say(f"- {line}")
    parts_of.copy_sources(site)
    system = f"{platform.system()} {platform.machine()}"
    report = {"platform": system, "versions": versions, "problems": problems, "bring": bring}
    end = begin + 60 * options.minutes
    check_parts(parts, report, out, end, options.seconds, stop, parts_of.environment(site))
    say(f"the report: {out / 'REPORT.md'}")
    if stop.signal:
        sys.exit(128 + stop.signal)
    smoke = report["parts"][0].get("values", {})
    if "why_not" in smoke:
        sys.exit(f"not run on a GPU: {smoke['why_not']}")
    bad = [part["name"] for part, given in zip(report["parts"], parts, strict=True)
           if part["state"] != "passed" and not given.obstacle]  # fmt: skip
    if bad:
        sys.exit(f"not passed: {', '.join(bad)}; see {out / 'logs'}")


if __name__ == "__main__":
    main()
