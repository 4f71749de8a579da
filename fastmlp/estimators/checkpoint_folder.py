"""A folder of checkpoints: a file for each member of an ensemble or a table estimator, from which their fit goes on."""

import sys
from numbers import Integral
from pathlib import Path

from fastmlp.io.atomic import check_destination, path_text
from fastmlp.training.callbacks import Checkpoint

SECONDS = 30  # between two checkpoints of a member


def checked_folder(folder, random_state):
    """The folder as a Path, made if it is missing. Raises an error if a fit could not be repeated with its files."""
    if not isinstance(random_state, Integral):
        raise ValueError(
            "checkpoints needs an integer as random_state, so that a fit that is run again has the same members, got "
            f"random_state={random_state!r}."
        )
    folder = Path(path_text(folder, "checkpoints"))
    folder.mkdir(exist_ok=True)
    check_destination(folder / "member-0.fastmlp")
    return folder


def path_of(folder, number):
    """The file of a member."""
    return folder / f"member-{number}.fastmlp"


def checkpoint_for(path):
    """A Checkpoint that is rarely written while epochs are short, and at the end of the fit."""
    return Checkpoint(path, every=sys.maxsize, seconds=SECONDS)
