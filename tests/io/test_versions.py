"""Files of every release load and predict the numbers that they did then, for ever (versions/write_files.py)."""

import json
from pathlib import Path

import numpy as np
import pytest

import fastmlp
from saved_models import MODELS, numbers_of

VERSIONS = Path(__file__).parent / "versions"
FILES = sorted(VERSIONS.glob("*/*.fastmlp"))


def test_there_is_a_file_of_each_kind():
    assert {path.stem for path in FILES} == MODELS.keys()


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_file_of_an_earlier_release(path, tmp_path):
    expected = json.loads((path.parent / "predictions.json").read_text())[path.stem]
    model = fastmlp.load(path)
    model.save(tmp_path / "again")
    for found in (model, fastmlp.load(tmp_path / "again")):
        predicted = numbers_of(found, MODELS[path.stem][1])
        if expected is None:
            assert predicted is None
        else:
            np.testing.assert_allclose(predicted[:8], expected, rtol=1e-4, atol=1e-6)
