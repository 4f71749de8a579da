"""The command ``fastmlp``: train on a table, predict, score and export with a saved model, time what works here."""

import click

from . import __version__
from .cli_common import INTERRUPTED
from .cli_machine import bench, info, measure
from .cli_models import evaluate, export, predict
from .cli_train import train


class Commands(click.Group):
    """Ctrl-C and what cannot be written end every command as they end a fit."""

    def invoke(self, ctx):
        try:
            return super().invoke(ctx)
        except (KeyboardInterrupt, click.Abort):
            click.echo("Interrupted.", err=True)
            ctx.exit(INTERRUPTED)
        except OSError as error:
            if isinstance(error, BrokenPipeError):
                raise
            raise click.ClickException(str(error)) from error


@click.group(
    cls=Commands,
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
