"""Entry point of the command ``fastmlp`` and of ``python -m fastmlp``."""

import sys

from fastmlp.extras import from_extra


def main():
    """Run the command line; exit with an error if click, which the extra ``cli`` installs, is missing."""
    try:
        with from_extra("cli", "the command 'fastmlp' needs click, pandas and tqdm"):
            import click  # noqa: F401
    except ImportError as error:
        sys.exit(f"Error: {error}")
    from fastmlp.cli.main import main as commands

    commands(prog_name="fastmlp")


if __name__ == "__main__":
    main()
