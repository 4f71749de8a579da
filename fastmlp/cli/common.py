"""What all commands share: where they may write, how mistakes are told, and output for machines."""

import json
import math
import os
import warnings
from contextlib import contextmanager

import click

from fastmlp.io.atomic import check_destination
from fastmlp.kernels.device_errors import DeviceError

INTERRUPTED = 130  # the exit status of a command that Ctrl-C ended

as_json = click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout, for machines.")


class Widths(click.ParamType):
    """Comma-separated widths of layers; '' for none."""

    name = "widths"

    def convert(self, value, param, ctx):
        try:
            widths = [int(part) for part in value.split(",") if part.strip()] if isinstance(value, str) else value
        except ValueError:
            self.fail(f"{value!r} is not a list of widths like 100 or 64,32")
        if any(width < 1 for width in widths):
            self.fail("widths must be at least 1")
        return widths


def echo_json(found):
    """One line of JSON, which has no word for infinity and NaN: they become null."""
    click.echo(json.dumps(_finite(found)))


def _finite(value):
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def check_output(path, *inputs):
    """Refuse, before any work is done, to write where one cannot or over what is read."""
    check_destination(path)
    for source in inputs:
        if os.path.exists(source) and os.path.exists(path) and os.path.samefile(source, path):
            raise click.UsageError(f"{path} is read by this command, and would be overwritten.")


@contextmanager
def plain_messages():
    """Errors that a user can mend become one line on stderr and exit status 1; so does each warning, without exit."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        try:
            yield
        except (ValueError, TypeError, ImportError, MemoryError, OSError, DeviceError) as error:
            if isinstance(error, BrokenPipeError):
                raise
            raise click.ClickException(str(error) or type(error).__name__) from error
        finally:
            for warning in caught:
                click.echo(f"warning: {warning.message}", err=True)
