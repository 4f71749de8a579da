"""Common command line of the examples."""

from pathlib import Path

import click


def run(main, data=None):
    """Run the ``main`` of an example with the options of the command line and print the numbers that it returns.

    ``data`` describes the data set that the example needs, if any; the option --data then gives its folder.
    """

    def command(out, **options):
        Path(out).mkdir(parents=True, exist_ok=True)
        for name, value in main(Path(out), **options).items():
            click.echo(f"{name}: {value}")

    params = [
        click.Option(["--out"], type=click.Path(file_okay=False), default="figures", show_default=True,
                     help="Output folder of the figure."),
        click.Option(["--quick"], is_flag=True, help="Run a small version, for tests."),
    ]  # fmt: skip
    if data:
        folder = click.Path(exists=True, file_okay=False, path_type=Path)
        params.append(click.Option(["--data"], type=folder, required=True, help=f"Folder with {data}."))
    click.Command(None, callback=command, params=params, help=main.__doc__)()
