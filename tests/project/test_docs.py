"""Examples in docstrings, the README and docs/ run and print the text shown; the site builds and is complete."""

import doctest
import importlib
import os
import pkgutil
import posixpath
import re
import shlex
import subprocess
import sys
from contextlib import redirect_stdout
from importlib.util import find_spec
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

import fastmlp
from fastmlp.backends import registry
from fastmlp.cli.main import main
from problems import quick_first

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(page for page in DOCS.rglob("*.md") if "_build" not in page.parts)]
MODULES = [
    module.name
    for module in pkgutil.walk_packages(fastmlp.__path__, "fastmlp.")
    if not module.name.startswith(("fastmlp.__main__", "fastmlp.kernels"))
    if module.name != "fastmlp.torch" or find_spec("torch") is not None
]
BLOCK = re.compile(r"^```(python|sh|text)\n(.*?)^```$", re.S | re.M)
NUMBER = re.compile(r"-?\d+(?:[.,]\d+)*(?:e[+-]?\d+)?")


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_there_are_examples():
    found = [doctest.DocTestFinder().find(importlib.import_module(name)) for name in MODULES]
    assert sum(bool(test.examples) for tests in found for test in tests) >= 3


def what_is_missing(block):
    """What a block requires and is not available: it may begin with '# needs a GPU', or '# needs' and packages."""
    (needs,) = re.findall(r"\A# needs (.*)", block) or [""]
    if needs == "a GPU":
        return registry.why_not("cuda")
    return [name for name in needs.split(", ") if name and find_spec(name) is None]


def run_commands(block):
    """Run the lines that begin with fastmlp; pip, make and other commands are not run."""
    for line in block.splitlines():
        if line.startswith("fastmlp ") and not (line.startswith("fastmlp measure") and registry.why_not("cuda")):
            result = CliRunner().invoke(main, shlex.split(line, comments=True)[1:])
            assert result.exit_code == 0, f"{line}\n{result.output}"


def alike(printed, shown):
    """Compare texts; numbers may differ by 5 %, because the last digits depend on the processor."""
    numbers = [[float(number.replace(",", "")) for number in NUMBER.findall(text)] for text in (printed, shown)]
    same = NUMBER.sub("#", printed).split() == NUMBER.sub("#", shown).split()
    return same and np.allclose(*numbers, rtol=0.05, atol=1e-12)


@pytest.fixture
def tables(tmp_path, monkeypatch):
    """A folder with the files that the README uses."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.RandomState(0)
    houses = pd.DataFrame({"area": rng.uniform(30, 200, 300), "town": rng.choice(["Ulm", "Bonn"], 300)})
    houses["price"] = 3000 * houses.area + 20000 * (houses.town == "Ulm")
    for name in ("houses", "sold"):
        houses.to_csv(f"{name}.csv", index=False)
    houses.drop(columns="price").to_csv("new.csv", index=False)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("page", quick_first(PAGES), ids=lambda page: str(page.relative_to(ROOT)))
def test_pages_run(page, tmp_path, monkeypatch, request):
    """Blocks run in order, in one namespace and one folder; a text block is the output of the block before it."""
    if page.name == "README.md":
        request.getfixturevalue("tables")
    monkeypatch.chdir(tmp_path)
    scope, printed = {}, None
    for kind, block in BLOCK.findall(page.read_text()):
        if kind == "text":
            assert printed is None or alike(printed, block), (
                f"{page.name} says\n{block}\nbut this was printed:\n{printed}"
            )
        elif kind == "sh":
            run_commands(block)
        elif what_is_missing(block):
            printed = None
        else:
            with redirect_stdout(StringIO()) as out:
                exec(compile(block, str(page), "exec"), scope)
            printed = out.getvalue()


@pytest.mark.exhaustive
def test_the_site_builds_and_has_every_public_name(tmp_path):
    pytest.importorskip("sphinx", reason="needs the extra docs")
    pytest.importorskip("myst_parser", reason="needs the extra docs")
    pytest.importorskip("furo", reason="needs the extra docs")
    from sphinx.util.inventory import InventoryFile

    command = [sys.executable, "-P", "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", DOCS, tmp_path]
    built = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "LC_ALL": "C"})
    assert built.returncode == 0, built.stderr
    with open(tmp_path / "objects.inv", "rb") as file:
        found = InventoryFile.load(file, "", posixpath.join)
    names = {name for kind, entries in found.items() if kind.startswith("py:") for name in entries}
    assert {f"fastmlp.{name}" for name in fastmlp.__all__} <= names
