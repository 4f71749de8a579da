"""Write a model file of each kind as this version does, for test_versions.py: python write_files.py.

They are written once for each release that changes what files hold, and never again: later releases must read them.
"""

import json
import sys
import warnings
from pathlib import Path

FOLDER = Path(__file__).parent
sys.path.insert(0, str(FOLDER.parents[1] / "support"))

import fastmlp  # noqa: E402
from saved_models import MODELS, numbers_of  # noqa: E402


def main():
    folder, predictions = FOLDER / fastmlp.__version__, {}
    folder.mkdir()
    warnings.simplefilter("ignore")
    for name, (make, inputs) in MODELS.items():
        model = make()
        model.save(folder / f"{name}.fastmlp")
        predicted = numbers_of(model, inputs)
        predictions[name] = None if predicted is None else predicted[:8].tolist()
    (folder / "predictions.json").write_text(json.dumps(predictions) + "\n")


if __name__ == "__main__":
    main()
