"""Builds have the same bytes again, and the oldest dependencies come from pyproject.toml."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "tools"))

import oldest_dependencies  # noqa: E402
import reproducible  # noqa: E402


def test_the_source_distribution_has_the_same_bytes_again(tmp_path):
    """'make reproducible' compares the wheel too, which is compiled for minutes."""
    pytest.importorskip("Cython", reason="needs Cython, as a build does")
    if not (ROOT / ".git").exists():
        pytest.skip("needs the files that git tracks")
    builds = [reproducible.build(tmp_path, number, "1700000000", ["build_sdist"]) for number in range(2)]
    (first,), (second,) = (built.values() for built in builds)
    assert reproducible.members(first) == reproducible.members(second)
    assert first.read_bytes() == second.read_bytes()
    assert {time for _, time, *_ in reproducible.members(first).values()} == {1700000000}


def test_every_dependency_has_a_lower_bound():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = ["cli", "onnx", "parquet"]
    found = oldest_dependencies.oldest(extras, project)
    assert {"numpy", "scikit-learn", "numba", "pandas", "pyarrow", "onnx", "click"} <= found.keys()
    assert all(found.values()), found
    script = [sys.executable, "-P", ROOT / "tools" / "oldest_dependencies.py", ",".join(extras)]
    printed = subprocess.run(script, capture_output=True, text=True, check=True).stdout.split()
    assert printed == sorted(f"{name}=={version}" for name, version in found.items())


def test_extras_that_name_other_extras():
    project = {
        "name": "ours",
        "dependencies": ["a>=1"],
        "optional-dependencies": {"one": ["b>=2.0.1,<3"], "two": ["ours[one]", "c[more]>=4; python_version > '3'"]},
    }
    assert oldest_dependencies.oldest(["two"], project) == {"a": "1", "b": "2.0.1", "c": "4"}


def test_the_workflows_use_targets_that_exist():
    workflows = "".join(path.read_text() for path in (ROOT / ".github" / "workflows").glob("*.yml"))
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"run: make ([a-z-]+?)-?(?: |\$)", workflows):
        assert re.search(rf"^[\w %-]*\b{target}\b.*:", makefile, re.M), target
