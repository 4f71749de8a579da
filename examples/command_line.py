"""The command line that all examples share."""

from pathlib import Path

import click


def run(main, data=None):
    """Call an example's ``main`` with what was asked for and print its numbers.

    ``data`` says which data the example needs, if any: then the option --data names their folder.
    """

    def command(out, **options):
        Path(out).mkdir(parents=True, exist_ok=True)
        for name, value in main(Path(out), **options).items():
            click.echo(f"{name}: {value}")

    params = [
        click.Option(["--out"], type=click.Path(file_okay=False), default="figures", show_default=True,
                     help="Folder of the figure."),
        click.Option(["--quick"], is_flag=True, help="A small version of the same, for tests."),
    ]  # fmt: skip
    if data:
        folder = click.Path(exists=True, file_okay=False, path_type=Path)
        params.append(click.Option(["--data"], type=folder, required=True, help=f"Folder of {data}."))
    click.Command(None, callback=command, params=params, help=main.__doc__)()
