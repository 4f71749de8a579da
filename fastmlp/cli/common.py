"""Shared parts of the commands: output checks, error reporting and JSON output."""

import json
import math
import os
import warnings
from contextlib import contextmanager

import click

from fastmlp.io.atomic import check_destination
from fastmlp.kernels.device_errors import DeviceError
from fastmlp.sources.files import is_many, parquet_files

EXIT_INTERRUPTED = 130  # exit status after Ctrl-C
TEST_SHARE = 0.2  # of the rows, without --test-size

encoding = click.option("--encoding", metavar="NAME", help="Encoding of CSV files, such as cp1252.  [default: utf-8]")
as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object to stdout.")


class Widths(click.ParamType):
    """Comma-separated layer widths; '' means none."""

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
    """Print one line of JSON; infinity and NaN, which JSON does not have, become null."""
    click.echo(json.dumps(_finite(found)))


def _finite(value):
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def check_output(path, *inputs):
    """Raise early if the output path is not writable or is also an input."""
    check_destination(path)
    for source in (file for each in inputs for file in _files_of(each)):
        if os.path.exists(source) and os.path.exists(path) and os.path.samefile(source, path):
            raise click.UsageError(
                f"{path} is an input of this command and would be overwritten: choose another output."
            )


def _files_of(source):
    try:
        return parquet_files(source).paths if is_many(source) else [source]
    except FileNotFoundError:  # or a bundled data set
        return []


@contextmanager
def plain_messages():
    """Print user errors as one line on stderr with exit status 1, and each warning as one line."""
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
