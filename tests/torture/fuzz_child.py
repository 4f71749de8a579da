"""Make and judge generated calls in a process of its own: python fuzz_child.py SEED FOLDER CASE ..."""

import faulthandler
import json
import os
import resource
import sys
from pathlib import Path

import numpy as np
from fuzz_calls import steps
from fuzz_judge import Answer, shown

MEMORY = 12 * 2**30


def main(seed, folder, *cases):
    """Run cases. Prints a line before each call, and one after each case."""
    report = os.fdopen(os.dup(1), "w", buffering=1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    faulthandler.enable()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    for number in map(int, cases):
        run(
            number,
            np.random.default_rng([int(seed), number]),
            Path(folder),
            lambda **found: print(json.dumps(found), file=report),
        )
    os._exit(0)  # no thread of a call may keep this process


def run(number, rng, folder, tell):
    """Run one case, and tell what each call gives."""
    history = []
    for step in steps(rng, folder):
        history.append(f"{step.text}({', '.join(f'{name}={shown(value)}' for name, value in step.arguments.items())})")
        text = f"case {number}: {'; '.join(history)}"
        tell(begun=text)
        answer = Answer(step)
        wrong = answer.fault(step)
        tell(refused=answer.error is not None, fault=wrong and f"{text} {wrong}")
        if wrong:
            return


if __name__ == "__main__":
    main(*sys.argv[1:])
