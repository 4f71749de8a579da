"""scikit-learn's own tests of its MLPs, run on fastmlp's estimators."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

# name: why it cannot run on another implementation
LEFT_OUT = {
    "test_fit": "calls the private method _fit_stochastic with scikit-learn's arguments, and reads _label_binarizer",
    "test_gradient": "calls the private methods _pack, _unpack and _loss_grad_lbfgs",
}
SWAP = """
from sklearn import neural_network

import fastmlp

for name in ("MLPClassifier", "MLPRegressor"):
    setattr(neural_network, name, getattr(fastmlp, name))
"""


def test_scikit_learns_tests_of_its_mlps_pass(tmp_path):
    (tmp_path / "swap_estimators.py").write_text(SWAP)
    root = Path(find_spec("sklearn").origin).parent
    module = "neural_network/tests/test_mlp.py"
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-P", "-m", "pytest", "-q", "-p", "swap_estimators", "-p", "no:cacheprovider"]
    command += [f"--rootdir={root}", *(f"--deselect={module}::{name}" for name in LEFT_OUT), root / module]
    result = subprocess.run(
        command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout
    passed, deselected = map(int, re.search(r"(\d+) passed, (\d+) deselected", result.stdout).groups())
    assert passed >= 57
    assert deselected == len(LEFT_OUT)
