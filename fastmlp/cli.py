"""The command ``fastmlp``: train on a table, predict, score and export with a saved model, time what works here."""

import click

from . import __version__
from .cli_machine import bench, info, measure
from .cli_models import evaluate, export, predict
from .cli_train import train


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Exit status: 0 all is well, 1 something was wrong with data or files, 2 with the command, 130 Ctrl-C.",
)
@click.version_option(__version__)
def main():
    """Train and run multilayer perceptrons, fast.

    Results go to stdout, with --json as one object for machines; progress, warnings and errors go to stderr.
    """


for command in (train, predict, evaluate, export, bench, info, measure):
    main.add_command(command)
