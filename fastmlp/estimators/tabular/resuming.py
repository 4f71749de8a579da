"""Resume a fit of a table estimator: a folder with the plan of its members, and a file for each of them."""

import json
from pathlib import Path

import joblib

from fastmlp.estimators import checkpoint_folder
from fastmlp.io.atomic import write_whole
from fastmlp.model.mlp import MLP
from fastmlp.training.callbacks import Checkpoint, as_list

from .members import Plan
from .plan import rows_of_members
from .recipe import Variant

OTHER = (
    "{} has the checkpoints of a fit to other data or with other parameters: resume with what it was begun with, or "
    "pass another folder."
)


class MemberCheckpoint(Checkpoint):
    """Saves a member while it is trained to a file with the suffix .part, and when it is done to ``path``."""

    def __init__(self, path, n_epochs):
        self._done, self._n_epochs = path, n_epochs
        super().__init__(part_of(path), every=n_epochs + 1, seconds=checkpoint_folder.SECONDS)

    def after_fit(self, model, error):
        if error is not None or model.diverged:
            return
        if not model.interrupted:
            model.save(self._done)
            self.path.unlink(missing_ok=True)
        elif model.epoch < self._n_epochs:
            super().after_fit(model, error)


class MemberFiles:
    """The files of the members of one fit.

    Parameters
    ----------
    folder : Path
    *fit : object
        Data and parameters, on which the members depend.
    """

    def __init__(self, folder, *fit):
        self._folder, self._plan, self._digest = folder, folder / "plan.json", joblib.hash(fit)

    def planned(self, make, parts):
        """(Plan, seeds of the members) of the folder, or what ``make`` returns, which is then saved there.

        The plan of a fit with a time limit depends on measurements. ``parts`` are the rows of the folds.
        """
        if not self._plan.exists():
            plan, seeds = make()
            saved = {"fit": self._digest, "n_epochs": plan.n_epochs, "variants": plan.variants, "seeds": seeds}
            write_whole(self._plan, json.dumps(saved).encode())
            return plan, seeds
        try:
            saved = json.loads(self._plan.read_text())
            variants = [Variant(*variant) for variant in saved["variants"]]
            digest, n_epochs, seeds = saved["fit"], saved["n_epochs"], saved["seeds"]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{self._plan} is damaged ({error!r}): remove the folder to begin again.") from error
        if digest != self._digest:
            raise ValueError(OTHER.format(self._folder))
        return Plan(n_epochs, variants, rows_of_members(parts, len(variants))), seeds

    def begin(self, members, n_epochs, callbacks):
        """Replace members by those of the files. Returns {number: arguments of ``fit``} of those that are not done."""
        left = {}
        for number, member in enumerate(members):
            path = checkpoint_folder.path_of(self._folder, number)
            found = next(filter(Path.exists, (path, part_of(path))), None)
            if found is not None:
                members[number] = MLP.load(found)
                members[number].n_jobs = member.n_jobs
                if members[number].layers != member.layers:
                    raise ValueError(OTHER.format(found))
            if found == path:
                part_of(path).unlink(missing_ok=True)
            else:
                keep = MemberCheckpoint(path, n_epochs)
                left[number] = {"epochs": n_epochs - members[number].epoch, "callbacks": [*as_list(callbacks), keep]}
        return left


def part_of(path):
    """The file of a member that is being trained."""
    return path.with_suffix(".part")
