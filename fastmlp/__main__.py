"""The command ``fastmlp``, which is ``python -m fastmlp`` too."""

import sys

from fastmlp.extras import from_extra


def main():
    """Run the command line; without click, which the extra ``cli`` installs, say so and exit with status 1."""
    try:
        with from_extra("cli", "the command 'fastmlp' needs click, pandas and tqdm"):
            import click  # noqa: F401
    except ImportError as error:
        sys.exit(f"Error: {error}")
    from fastmlp.cli.main import main as commands

    commands(prog_name="fastmlp")


if __name__ == "__main__":
    main()
