"""The work of the command train: read the data, train a model, save it and show the results."""

import os

import click

from . import plain_run, stream_run, tabular_run
from .common import check_output, echo_json
from .tables import check_present, read_table, warn_of_names, warn_of_unnamed
from .training_parts import PURPOSES, without_missing


def run(options, fit):
    """Train by the options of the command. Returns whether Ctrl-C ended the training.

    ``fit`` says whether other processes take part; rank 0 alone reads, saves and prints.
    """
    say = (lambda *given: None) if options.as_json else click.echo
    kind = stream_run if options.stream else plain_run if options.plain else tabular_run
    table, parts = fit.decide(lambda: prepared(kind, options, say))
    options.quiet = options.quiet or not fit.leads
    seconds = kind.fit(table, parts, options, fit)
    return fit.decide(lambda: finish(kind.trained(table, parts, seconds, options, say), options, say))


def prepared(kind, options, say):
    """(model, what to train it on), untrained."""
    check_outputs(options.out, options.plot, options.report, [options.source, options.eval_source])
    if options.shuffle_blocks > 1 and not options.stream:
        raise click.UsageError("--shuffle-blocks needs --stream.")
    return kind.prepared(None if options.stream else table_of(options), options, say)


def finish(trained, options, say):
    """Print the results, plot and report. Returns whether Ctrl-C ended the training."""
    if options.as_json:
        echo_json(trained.found)
    else:
        print_results(trained)
    histories = [member.history for member in trained.members]
    if options.plot and any(history["loss"] for history in histories):
        from fastmlp.inspection.plots import plot_history

        plot_history(histories, options.plot)
        say(f"loss plot in {options.plot}")
    if options.report:
        write_report(trained, options)
        say(f"report in {options.report}")
    return trained.found["interrupted"]


def check_outputs(out, plot, report, inputs):
    """Check before training that all outputs can be written."""
    outputs = [path for path in (out, plot, report) if path]
    for path in outputs:
        check_output(path, *filter(None, inputs))
    if len({os.path.realpath(path) for path in outputs}) < len(outputs):
        raise click.UsageError("--out, --plot and --report must be different files.")
    if plot or report:
        from fastmlp.inspection.plots import new_figure

        kinds = new_figure((1, 1)).canvas.get_supported_filetypes()
        if plot and os.path.splitext(plot)[1].lower()[1:] not in kinds:
            raise click.UsageError(f"--plot must end in one of {', '.join(f'.{kind}' for kind in kinds)}.")
    if report:
        from fastmlp.inspection.report import template

        template()


def table_of(options):
    """The Table of the source, without ignored columns and, with --drop-missing, incomplete rows."""
    table = read_table(
        options.source, options.target, encoding=options.encoding, missing=options.missing, texts=options.text,
        ignore=options.ignore, dates=not options.plain,
    )  # fmt: skip
    frame = table.frame
    if table.target is None:
        raise click.UsageError(f"--target is required: one of {', '.join(map(str, frame.columns))}.")
    check_present(frame, options.text)
    warn_of_unnamed(frame)
    # A table estimator warns of columns itself.
    warn_of_names(frame if options.plain else frame[frame.columns.intersection([table.target])], table.target,
                  options.task == "classification")  # fmt: skip
    if not options.drop_missing:
        return table
    return table._replace(frame=without_missing(frame, options.source, list(frame.columns)))


def write_report(trained, options):
    """Write the report of --report, with predictions for rows that were not trained on, if there are some."""
    from fastmlp.inspection.report import training_report

    rows, target = trained.rows, trained.found["target"]
    training_report(
        options.report, trained.model, rows[target].to_numpy(), trained.predict(),
        title=f"{target} of {options.source}: {len(rows):,} rows for {PURPOSES[trained.part]}",
        seconds=trained.found["seconds"], speeds=trained.found["samples_per_second"],
    )  # fmt: skip


def print_results(trained):
    """Print the results in readable form."""
    found = trained.found
    members = f"{len(trained.members)} members, " if len(trained.members) > 1 else ""
    click.echo(f"{members}{found['epochs']} epochs in {found['seconds']:.2f} s")
    best = sorted({member.best_epoch for member in trained.members} - {None})
    if best:
        click.echo(f"the weights are those of epoch {', '.join(map(str, best))}")
    for part, scores in found["scores"].items():
        for name, value in scores.items():
            click.echo(f"{part} {name} {value:.4f}")
    click.echo(f"model saved in {found['model']}")
    rates = found["samples_per_second"]
    if rates is not None:
        own, reference = rates[found["backend"]], rates["numpy"]
        click.echo(
            f"training speed: {own:,.0f} samples/s with {found['backend']}, {reference:,.0f} with the NumPy reference: "
            f"{own / reference:.1f} x"
        )
