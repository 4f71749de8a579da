"""Teams of processes, which wait for their turn without using a core: a rank that waits in MPI would spin.

Each process builds a function and calls it whenever its team is asked; requests and answers are lines of JSON, sent
through a socket of this machine.
"""

import importlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import traceback
from pathlib import Path

START_SECONDS = 180  # within which all processes of a team must be ready
PAUSE = 0.05  # seconds after an answer, for whatever still spins
ONE_THREAD = dict.fromkeys(["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"], "1")


def mpiexec():
    """The path of mpiexec: that of this Python's environment, or the first in PATH."""
    found = shutil.which("mpiexec", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    if found is None:
        raise SystemExit("mpiexec was not found: install MPI, for example with 'pip install mpich mpi4py'.")
    return found


class Team:
    """Context manager of ``n`` processes, of one thread each.

    ``place`` is (module, name of a function in it) that is called with ``arguments`` and returns what answers requests.
    The processes are ranks of MPI, or with ``mpi=False`` independent ones, whose environment has what
    ``torch.distributed`` needs to join them.
    """

    def __init__(self, place, arguments, n=1, mpi=True):
        self._server = socket.create_server(("127.0.0.1", 0))
        self._server.settimeout(1)
        command = [sys.executable, __file__, str(self._server.getsockname()[1]), *place, json.dumps(arguments)]
        environment = os.environ | ONE_THREAD
        if mpi:
            commands = [([mpiexec(), "-n", str(n), *command], environment)]
        else:
            join = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port()), "WORLD_SIZE": str(n)}
            commands = [(command, environment | join | {"RANK": str(rank)}) for rank in range(n)]
        self._n, self._streams = n, []
        self._processes = [
            subprocess.Popen(command, env=environment, start_new_session=True) for command, environment in commands
        ]

    def __enter__(self):
        try:
            self._accept()
        except BaseException:
            self._kill()
            raise
        return self

    def _accept(self):
        end = time.monotonic() + START_SECONDS
        while len(self._streams) < self._n:
            try:
                connection, _ = self._server.accept()
            except TimeoutError:
                if any(process.poll() for process in self._processes) or time.monotonic() > end:
                    raise RuntimeError("the processes of a team did not start; see what they printed") from None
                continue
            connection.settimeout(None)
            self._streams.append(connection.makefile("rw"))
        self._answers()  # they are ready

    def ask(self, request):
        """The answers of the processes that have one, not None."""
        for stream in self._streams:
            stream.write(json.dumps(request) + "\n")
            stream.flush()
        answers = self._answers()
        time.sleep(PAUSE)
        return answers

    def _answers(self):
        answers = []
        for stream in self._streams:
            line = stream.readline()
            if not line or "error" in (answer := json.loads(line)):
                raise RuntimeError(answer["error"] if line else "a process of a team has ended")
            answers.append(answer["answer"])
        return [answer for answer in answers if answer is not None]

    def __exit__(self, kind, error, where):
        if error is not None:
            self._kill()
            return
        for stream in self._streams:
            stream.write("null\n")
            stream.flush()
        for process in self._processes:
            process.wait()
        self._server.close()

    def _kill(self):
        for process in self._processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
            process.wait()
        self._server.close()


def _free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def _work(port, module, function, arguments):
    """What a process of a team does."""
    stream = socket.create_connection(("127.0.0.1", int(port))).makefile("rw")

    def send(**answer):
        stream.write(json.dumps(answer) + "\n")
        stream.flush()

    try:
        answer = getattr(importlib.import_module(module), function)(**json.loads(arguments))
        send(answer=None)
        while (request := json.loads(stream.readline() or "null")) is not None:
            send(answer=answer(request))
    except Exception:
        send(error=traceback.format_exc())
        raise


if __name__ == "__main__":
    sys.path.append(str(Path(__file__).parents[1]))
    _work(*sys.argv[1:])
