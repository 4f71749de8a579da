"""The command ``fastmlp``: train on a table; predict, evaluate and export with a saved model; benchmark."""

import os
import sys
from contextlib import suppress

import click

from fastmlp import __version__

from .common import EXIT_INTERRUPTED
from .machine import bench, info, measure
from .models import evaluate, export, predict
from .train import train


class Commands(click.Group):
    """Group of commands with common handling of Ctrl-C and of errors when writing files or output."""

    def main(self, *args, **kwargs):
        """Run a command and flush its output; a closed pipe (``| head``) is not reported as an error."""
        try:
            super().main(*args, **kwargs)
        except OSError as error:  # from --help or --version, printed before a command is invoked
            with suppress(OSError):
                click.ClickException(str(error)).show()
            sys.exit(1)
        finally:
            _discard_unwritten(sys.__stdout__)
            _discard_unwritten(sys.__stderr__)

    def invoke(self, ctx):
        try:
            result = super().invoke(ctx)
            click.echo(nl=False)  # flushes
            return result
        except (KeyboardInterrupt, click.Abort):
            click.echo("Interrupted.", err=True)
            ctx.exit(EXIT_INTERRUPTED)
        except OSError as error:
            if isinstance(error, BrokenPipeError):
                raise
            raise click.ClickException(str(error)) from error


def _discard_unwritten(stream):
    """Discard unwritten output of a stream: the interpreter would retry at exit and return status 120."""
    try:
        if stream is not None and not stream.closed:  # None: closed before Python started
            stream.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Exit status: 0 success, 1 error in data or files, 2 error in the command line, 130 Ctrl-C.",
)
@click.version_option(__version__)
def main():
    """Train and run multilayer perceptrons, fast.

    Results go to stdout, with --json as one JSON object. Progress, warnings and errors go to stderr.
    """


for command in (train, predict, evaluate, export, bench, info, measure):
    main.add_command(command)
