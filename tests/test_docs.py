"""Examples in docstrings and the README run and say what they print."""

import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import fastmlp
from fastmlp import backends

README = Path(__file__).parent.parent / "README.md"
MODULES = [f"fastmlp.{module.name}" for module in pkgutil.iter_modules(fastmlp.__path__) if module.name != "__main__"]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_there_are_examples():
    found = [doctest.DocTestFinder().find(importlib.import_module(name)) for name in MODULES]
    assert sum(bool(test.examples) for tests in found for test in tests) >= 3


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_readme_examples(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.S)
    assert blocks
    scope = {}
    for block in blocks:
        if not block.startswith("# needs a GPU") or backends.why_not("cuda") is None:
            exec(compile(block, "README.md", "exec"), scope)
