"""Predictions that Ctrl-C interrupts again and again, in a process of their own."""

import subprocess
import sys

import pytest

LOOP = """
def interrupt():
    while True:
        time.sleep(0.003)
        os.kill(os.getpid(), signal.SIGINT)

model.predict(X)
threading.Thread(target=interrupt, daemon=True).start()
caught, end = 0, time.monotonic() + 2
while time.monotonic() < end:
    try:
        while time.monotonic() < end:
            model.predict(X)
    except KeyboardInterrupt:
        caught += 1
signal.signal(signal.SIGINT, signal.SIG_IGN)
"""

needs_signals = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")


def interrupted_predictions(before, after):
    """The words that ``after`` prints; ``before`` makes ``model`` and ``X``, and LOOP counts in ``caught``."""
    script = f"import os, signal, threading, time\nimport numpy as np\n{before}\n{LOOP}\n{after}"
    for _ in range(3):  # outside the loops of the script a signal may end it: that is no defect
        result = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True, timeout=60)
        if result.returncode == 0:
            break
    assert result.returncode == 0, result.stderr
    return result.stdout.split()
