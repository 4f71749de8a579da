"""The commands predict, evaluate and export, for models saved by ``fastmlp train``."""

import os
import sys

import click

from .common import as_json, check_output, echo_json, encoding, plain_messages


def load_table(path):
    """The TableEstimator or TableModel in a file; ModelFileError for any other."""
    from fastmlp.io.model_files import ModelFileError, load

    from .table_estimator import TableEstimator
    from .table_model import TableModel

    model = load(path)
    if not isinstance(model, (TableEstimator, TableModel)):
        raise ModelFileError(f"{path} holds a {type(model).__name__}, not a model of 'fastmlp train'.")
    return model


@click.command(epilog="Example: fastmlp predict model.fastmlp new.csv --out predictions.csv")
@click.argument("model", type=click.Path(exists=True, dir_okay=False))
@click.argument("source")
@click.option("--proba", is_flag=True, help="Write class probabilities instead of labels.")
@click.option(
    "--out", type=click.Path(dir_okay=False), help="Output file, Parquet (.parquet) or CSV.  [default: CSV to stdout]"
)
@encoding
@as_json
def predict(model, source, proba, out, encoding, as_json):
    """Predict the target for each row of SOURCE (CSV, Parquet, NPZ or a bundled data set) with a saved MODEL."""
    with plain_messages():
        import pandas as pd

        from .tables import write_table

        if out and as_json:
            raise click.UsageError("use either --json, which prints to stdout, or --out.")
        if out:
            check_output(out, source, model)
        table = load_table(model)
        frame = table.read(source, encoding, with_target=False)
        result = table.predict_proba(frame) if proba else pd.DataFrame({table.target: table.predict(frame)})
        if as_json:
            echo_json({str(name): column.tolist() for name, column in result.items()})
        else:
            write_table(result, out or sys.stdout)


@click.command(epilog="Example: fastmlp evaluate model.fastmlp held_out.csv --json")
@click.argument("model", type=click.Path(exists=True, dir_okay=False))
@click.argument("source")
@encoding
@as_json
def evaluate(model, source, encoding, as_json):
    """Evaluate a saved MODEL on SOURCE, which must contain the target column."""
    with plain_messages():
        table = load_table(model)
        scores = table.evaluate(table.read(source, encoding, with_target=True))
        if as_json:
            echo_json(scores)
        else:
            for name, value in scores.items():
                click.echo(f"{name} {value:,}" if name == "rows" else f"{name} {value:.4f}")


EXPORTS = ".onnx", ".c", ".py"


@click.command(epilog="Examples: fastmlp export model.fastmlp model.onnx; fastmlp export model.fastmlp model.c --int8")
@click.argument("model", type=click.Path(exists=True, dir_okay=False))
@click.argument("out", type=click.Path(dir_okay=False))
@click.option("--name", help="Prefix of names in the C file.  [default: model]")
@click.option("--int8", is_flag=True, help="Quantize the weights in the C file to 8 bits.")
@as_json
def export(model, out, name, int8, as_json):
    """Export a saved MODEL to ONNX (OUT ends in .onnx), C99 (.c) or a Python module that needs only NumPy (.py).

    The inputs are the columns of the table. For a plain network the standardisation is folded into the weights, and a
    categorical column becomes one input of 0 and 1 for each of its values.
    """
    from fastmlp.export.c import to_c
    from fastmlp.export.numpy import to_numpy_source
    from fastmlp.export.onnx import to_onnx
    from fastmlp.io.model_files import load

    from .table_estimator import TableEstimator

    with plain_messages():
        check_output(out, model)
        if not out.endswith(EXPORTS):
            raise click.UsageError(f"OUT must end in one of {', '.join(EXPORTS)}, got {out!r}.")
        if (int8 or name) and not out.endswith(".c"):
            raise click.UsageError("--int8 and --name are only for C files (.c).")
        given = load(model)
        given = given.estimator if isinstance(given, TableEstimator) else given
        if out.endswith(".c"):
            to_c(given, out, name=name or "model", int8=int8)
        elif out.endswith(".py"):
            to_numpy_source(given, out)
        else:
            to_onnx(given, out)
    if as_json:
        echo_json({"file": out, "bytes": os.path.getsize(out)})
    else:
        click.echo(f"{out} written")
