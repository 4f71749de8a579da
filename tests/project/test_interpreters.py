"""Subinterpreters and Python without its global lock are refused when fastmlp is imported."""

import subprocess
import sys

import pytest

from fastmlp.interpreter import check_interpreter
from patience import PATIENCE

SCRIPT = """
import sys
if sys.version_info >= (3, 13):
    import _interpreters as interpreters
else:
    import _xxsubinterpreters as interpreters
code = '''
import sys
sys.path[:] = {path!r}
try:
    import fastmlp
except ImportError as error:
    print(error, flush=True)
'''.format(path=sys.path)
interpreters.run_string(interpreters.create(), code)
import fastmlp
"""


def test_a_subinterpreter_is_refused():
    result = subprocess.run([sys.executable, "-P", "-c", SCRIPT], capture_output=True, text=True, timeout=PATIENCE)
    assert result.returncode == 0, result.stderr
    assert "fastmlp does not work in a subinterpreter" in result.stdout


def test_python_without_its_global_lock_is_refused(monkeypatch):
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: False, raising=False)
    with pytest.raises(ImportError, match="PYTHON_GIL=1"):
        check_interpreter()
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: True)
    check_interpreter()
