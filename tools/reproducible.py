"""Build the source distribution and the wheel twice, and compare them byte for byte: python tools/reproducible.py.

The two builds differ in folder, file times, umask and seed of hashes. SOURCE_DATE_EPOCH is the time of the last commit,
as for a release: 'SOURCE_DATE_EPOCH=$(git log -1 --format=%ct) python -m build'.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
STEPS = "build_sdist", "build_wheel"
BUILD = "from setuptools.build_meta import {name}; {name}(r'{folder}')"


def git(*arguments):
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout


def build(folder, number, epoch, steps=STEPS):
    """Build the first or second copy of the tracked files. Returns {name: path} of the results."""
    tree, results = folder / (f"copy-{number}" * (number + 1)), folder / f"results-{number}"
    results.mkdir()
    for name in filter(None, git("ls-files", "-z").split("\0")):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, tree / name)
        os.utime(tree / name, (time.time() - 10**6 * number,) * 2)
        (tree / name).chmod((0o644, 0o600)[number])
    settings = {"SOURCE_DATE_EPOCH": epoch, "PYTHONHASHSEED": str(number), "PYTHONPATH": ""}
    for step in steps:
        command = [sys.executable, "-c", BUILD.format(name=step, folder=results)]
        done = subprocess.run(
            command, cwd=tree, env=os.environ | settings, umask=(0o022, 0o077)[number], capture_output=True, text=True
        )
        if done.returncode:
            raise SystemExit(done.stdout + done.stderr)
    return {path.name: path for path in results.iterdir()}


def members(path):
    """{name: digest and metadata} of an archive."""
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as file:
            return {
                one.filename: (digest(file.read(one)), one.date_time, one.external_attr >> 16) for one in file.filelist
            }
    with tarfile.open(path) as file:
        return {
            one.name: (one.isfile() and digest(file.extractfile(one).read()), one.mtime, one.mode, one.uname)
            for one in file
        }


def digest(content):
    return hashlib.sha256(content).hexdigest()


def main():
    epoch = os.environ.get("SOURCE_DATE_EPOCH") or git("log", "-1", "--format=%ct").strip()
    with tempfile.TemporaryDirectory() as folder:
        first, second = (build(Path(folder), number, epoch) for number in range(2))
        if first.keys() != second.keys():
            raise SystemExit(f"different files: {sorted(first)} and {sorted(second)}")
        same = True
        for name, path in sorted(first.items()):
            digests = [digest(one.read_bytes()) for one in (path, second[name])]
            print(f"{name}: {'the same bytes, SHA-256 ' + digests[0] if digests[0] == digests[1] else 'DIFFERENT'}")
            if digests[0] != digests[1]:
                same, one, other = False, members(path), members(second[name])
                for member in sorted(one.keys() | other.keys()):
                    if one.get(member) != other.get(member):
                        print(f"  {member}: {one.get(member)} and {other.get(member)}")
    return not same


if __name__ == "__main__":
    sys.exit(main())
