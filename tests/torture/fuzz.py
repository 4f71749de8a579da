"""Generated calls of every public entry point and the command line, sound and not: each is judged, in a child process.

A call must give a finite result, or an error that names what is wrong; it must end in time, leave the process alive,
leave its arguments as they are, and, if it is refused, its object as well.
"""

import json
import os
import queue
import subprocess
import sys
import threading
from pathlib import Path

SIZES = 200, 6000  # cases; each is an object or a function, and up to five calls
FIGURE = "{calls} calls, {refused} refused; {unclear} unclear or wrong, {hung} hung, {crashed} crashed"
CHILDREN = 2
SECONDS = 120  # for one call, the imports of the first one included
CHILD = Path(__file__).with_name("fuzz_child.py")


def run(size, seed, folder):
    counts = {"calls": 0, "refused": 0, "unclear": 0, "hung": 0, "crashed": 0, "faults": []}
    lock = threading.Lock()
    threads = []
    for index in range(CHILDREN):
        own = folder / str(index)
        own.mkdir()
        threads.append(threading.Thread(target=_share, args=(range(index, size, CHILDREN), seed, own, counts, lock)))
        threads[-1].start()
    for thread in threads:
        thread.join()
    return counts


def _share(cases, seed, folder, counts, lock):
    """Run cases in children: the next one goes on after the case that killed the last one."""
    left = list(cases)
    while left:
        with (folder / "errors").open("w+") as errors, _child(seed, folder, left, errors) as child:
            lines = _lines_of(child.stdout)
            doing, how = f"case {left[0]}: at its start", None
            while how is None:
                try:
                    line = lines.get(timeout=SECONDS)
                except queue.Empty:
                    child.kill()
                    how = "hung"
                    break
                if line is None:
                    break
                found = json.loads(line)
                doing = found.get("begun", doing)
                with lock:
                    _count(counts, found)
            child.wait()
            reached = int(doing.split(":")[0].split()[1])
            left = [number for number in left if number > reached]
            if how is None and child.returncode == 0:
                return
            how = how or "crashed"
            errors.seek(0)
            with lock:
                counts["calls"] += 1
                counts[how] += 1
                counts["faults"].append(f"{doing} {how} ({child.returncode}): {errors.read()[-600:]}")


def _child(seed, folder, cases, errors):
    command = [sys.executable, "-P", str(CHILD), str(seed), str(folder), *map(str, cases)]
    path = os.pathsep.join([str(CHILD.parent), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    environment = os.environ | {"PYTHONPATH": path, "FASTMLP_SPEEDS": str(folder / "speeds.json"), "MPLBACKEND": "agg"}
    return subprocess.Popen(command, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=errors)


def _lines_of(stream):
    """A queue of the lines of a stream, with None at its end."""
    lines = queue.Queue()

    def read():
        for line in stream:
            lines.put(line)
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    return lines


def _count(counts, found):
    if "begun" not in found:
        counts["calls"] += 1
        counts["refused"] += found["refused"]
    if found.get("fault"):
        counts["unclear"] += 1
        counts["faults"].append(found["fault"])
