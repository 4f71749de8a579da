"""Ctrl-C at a chosen place of a fit, and repeatedly in predictions of a separate process."""

import subprocess
import sys

import pytest

from patience import PATIENCE

LOOP = """
def interrupt():
    while True:
        time.sleep(0.003)
        os.kill(os.getpid(), signal.SIGINT)

model.predict(X)
threading.Thread(target=interrupt, daemon=True).start()
caught = 0
while caught < 300:
    try:
        while True:
            model.predict(X)
    except KeyboardInterrupt:
        caught += 1
signal.signal(signal.SIGINT, signal.SIG_IGN)
"""

needs_signals = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")


class AfterReads:
    """Replacement for Interruption: Ctrl-C arrives when the fit has checked for it ``reads`` times."""

    def __init__(self, reads):
        self.reads = reads

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        pass

    @property
    def requested(self):
        self.reads -= 1
        return self.reads < 0


def interrupted_predictions(before, after):
    """Return the words that the code ``after`` prints; the code ``before`` makes ``model`` and ``X``."""
    script = f"import os, signal, threading, time\nimport numpy as np\n{before}\n{LOOP}\n{after}"
    for _ in range(3):  # a signal outside the loops of the script may end it, which is not a defect
        result = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True, timeout=PATIENCE)
        if result.returncode == 0:
            break
    assert result.returncode == 0, result.stderr
    return result.stdout.split()
