"""Times in turn, A B C A B C ..., each contestant in its own process, which sleeps until it is its turn.

So other load on the machine affects all of them alike, and none is slowed down by the threads of another.
"""

import importlib
import multiprocessing
import statistics
import time
import traceback
from contextlib import suppress

from joblib.externals.loky import get_reusable_executor

PAUSE = 0.15  # seconds after a turn: thread pools of some libraries spin for a while
LEAST = 0.25  # seconds of a turn: what is shorter is repeated


def _contestant(connection, place, argument):
    """Runs in its own process: builds, warms up, and then answers each "go" with a rate."""
    module, table, name = place
    try:
        build = getattr(importlib.import_module(module), table)[name]
        function, amount = build(argument)
        function()
        start = time.perf_counter()
        function()
        repeats = max(1, int(LEAST / max(time.perf_counter() - start, 1e-9)))
        connection.send(None)
        while connection.recv() == "go":
            start = time.perf_counter()
            for _ in range(repeats):
                function()
            connection.send(amount * repeats / (time.perf_counter() - start))
        get_reusable_executor().shutdown(kill_workers=True)  # idle workers of joblib would hold up the end for minutes
    except Exception:
        connection.send(traceback.format_exc(limit=1).strip().splitlines()[-1])


def in_turn(contestants, argument, rounds):
    """{name: median rate}; those that fail are left out, with a line that says why.

    ``contestants[name]`` says where a function is: (module, table in it, key in the table). With ``argument`` it
    returns (function to time, how much that does); functions themselves could not be sent to another process.
    """
    context = multiprocessing.get_context("spawn")
    workers, rates = {}, {}
    try:
        for name, place in contestants.items():
            here, there = context.Pipe()
            process = context.Process(target=_contestant, args=(there, place, argument))
            process.start()
            workers[name] = process, here
            trouble = here.recv()  # one after the other: compiling must not be in another's way
            if trouble is not None:
                print(f"\n{name} takes no part: {trouble}")
                del workers[name]
                process.join()
            time.sleep(PAUSE)
        for _ in range(rounds):
            for name, (_, connection) in workers.items():
                connection.send("go")
                rates.setdefault(name, []).append(connection.recv())
                time.sleep(PAUSE)
    finally:  # processes that wait for their turn would keep this one from ending
        for process, connection in workers.values():
            with suppress(OSError):  # it has ended
                connection.send("stop")
            process.join()
    return {name: statistics.median(values) for name, values in rates.items()}
