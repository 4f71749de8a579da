"""``python -m fastmlp`` is the command ``fastmlp``."""

from .cli import main

main(prog_name="fastmlp")
