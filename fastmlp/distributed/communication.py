"""Ranks: what the processes of a fit tell each other."""

import pickle
import sys
import time
import traceback
import warnings
from contextlib import contextmanager, nullcontext

import numpy as np

from fastmlp.backends.threads import each_limited_to
from fastmlp.training.outcomes import INTERRUPTED

from .calls import Calls, calls_of, of_leader_alone, refuse_of_leader_alone
from .data_parallel import NOT_USABLE
from .errors import NotSendable, is_on_all_ranks, sendable
from .machine import Machine
from .updates import Updates

SECONDS_FOR_CTRL_C = 0.1  # mpiexec passes it on to one rank after another
SECONDS_FOR_OUTPUT = 0.2  # for mpiexec to pass on what a rank has written, which it may lose once the job ends


class Ranks:
    """The ranks of a DataParallel during a fit. All of them make the same calls in the same order.

    Attributes
    ----------
    rank, n_ranks : int
    leads : bool
        Whether this is rank 0, which calls callbacks and metrics.
    parallel : DataParallel
    updates : Updates
        Within ``training``.
    """

    def __init__(self, parallel):
        from mpi4py import MPI
        from mpi4py.util import pkl5

        if parallel.communicator == MPI.COMM_NULL:  # it has been freed
            raise ValueError(NOT_USABLE)
        self._mpi, self._comm, self.parallel = MPI, parallel.communicator, parallel
        self._objects = pkl5.Intracomm(parallel.communicator)  # for objects of any size
        self.rank, self.n_ranks = self._comm.Get_rank(), self._comm.Get_size()
        self.leads = self.rank == 0
        self._machine = self.updates = None
        self._call = calls_of(self._comm) if self.n_ranks > 1 else Calls()

    def sum(self, numbers):
        """The sum over the ranks of an array of float64."""
        total = np.array(numbers, np.float64)
        self._comm.Allreduce(self._mpi.IN_PLACE, total)
        return total

    def allreduce(self, array):
        """Replace an array by its sum over the ranks."""
        self._comm.Allreduce(self._mpi.IN_PLACE, array)

    def alltoall(self, parts, received):
        """Part r of an array goes to rank r; rank r's part for this rank becomes part r of ``received``."""
        self._comm.Alltoall(parts, received)

    def allgather_into(self, part, parts):
        """Part r of ``parts`` becomes the ``part`` of rank r."""
        self._comm.Allgather(part, parts)

    def any(self, flag):
        """Whether a flag is set on any rank."""
        return bool(self.sum([flag])[0])

    def gather(self, given):
        """The objects of all ranks, a list, on rank 0; None on the others."""
        return self._objects.gather(given, 0)

    def scatter(self, given, parts_of):
        """This rank's part of what rank 0 was given: ``parts_of(given, n_ranks)`` makes a list of parts."""
        if self.n_ranks == 1:
            return given
        parts = None
        with self.agreement():
            if self.leads:
                parts = list(map(_packed, parts_of(given, self.n_ranks)))
            elif any(one is not None for one in given):
                raise ValueError("with rows='scattered' only rank 0 passes samples: pass None on the other ranks.")
        packed, arrays = self._objects.scatter(parts, 0)
        return pickle.loads(packed, buffers=arrays)

    def allgather(self, given):
        """The objects of all ranks, a list, on every rank."""
        return self._objects.allgather(given)

    def broadcast(self, given):
        """The object of rank 0. All ranks raise a TypeError if it cannot be pickled."""
        try:
            found = self._objects.bcast(given, 0)
        except Exception as error:  # of pickle: rank 0 has sent nothing yet
            if not self.leads:
                raise
            found = self._objects.bcast(NotSendable(f"{type(error).__name__}: {error}"), 0)
        if isinstance(found, NotSendable):
            self._raise(found.error())
        return found

    def broadcast_into(self, array):
        """Replace an array by that of rank 0."""
        self._comm.Bcast(array, 0)

    def decide(self, function):
        """What a function returns on rank 0, where alone it is called; an error there is raised on all ranks."""
        found = error = None
        if self.leads:
            try:
                with of_leader_alone() if self.n_ranks > 1 else nullcontext():
                    found = function()
            except BaseException as raised:
                error = raised
        message = self.broadcast(None if error is None else sendable(error, ""))
        if message is not None:
            self._raise(message if error is None else error)
        return self.broadcast(found)

    @contextmanager
    def agreement(self):
        """Context manager: an error that any rank meets in the block is raised on all of them."""
        error = None
        try:
            yield
        except BaseException as raised:
            error = raised
        texts = self.allgather(None if error is None else f"{type(error).__name__}: {error}")
        failed = [rank for rank, text in enumerate(texts) if text is not None]
        if not failed:
            return
        if len(set(texts)) == 1:  # the same on every rank
            self._raise(error)
        first = failed[0]
        self._raise(self._objects.bcast(sendable(error, f"rank {first}: ") if self.rank == first else None, first))

    @contextmanager
    def training(self, what, method="fit"):
        """Context manager of a fit: an error of this rank alone ends the job, because the others would wait for ever.

        ``what`` names the model or the command. Warnings are those of rank 0; a rank that makes errors of them raises
        them. Threads are limited to this rank's share of the cores.
        """
        if self.n_ranks > 1:
            refuse_of_leader_alone()
        try:
            with self._call.of_one_thread(), warnings.catch_warnings(record=not self.leads):
                self.check_same({"the call": f"{method} of {what}", "rows": self.parallel.rows})
                self._machine = Machine(self._comm)
                self.updates = Updates(self, self._machine)
                with each_limited_to(self._machine.n_threads):
                    yield
            self._free()
        except BaseException as error:
            if not is_on_all_ranks(error):
                self.end_job(error)
            self._free()
            raise

    def finish(self, recorder, result):
        """What ``after_fit`` of a recorder returns. A KeyboardInterrupt of this rank alone ends the job."""
        if result.interrupt is not None and not is_on_all_ranks(result.interrupt):
            self.end_job(result.interrupt)
        if result.status == INTERRUPTED and self.n_ranks > 1:
            # A Ctrl-C that arrives late still finds the handler of this fit, and is not raised after it.
            time.sleep(SECONDS_FOR_CTRL_C)
        with self.agreement():
            error = recorder.after_fit(result)
        if error is not None:
            error.is_on_all_ranks = True
        return error

    def end_job(self, error):
        """End all ranks because of an error that this one alone has met."""
        if self.n_ranks > 1:
            traceback.print_exception(error, file=sys.__stderr__)
            print(f"fastmlp: an error on rank {self.rank} alone ends the job", file=sys.__stderr__, flush=True)
            time.sleep(SECONDS_FOR_OUTPUT)
            self._comm.Abort(1)

    def _free(self):
        """Release what the ranks share."""
        machine, self._machine, self.updates = self._machine, None, None
        if machine is not None:
            machine.free()

    def broadcast_samples(self, *given):
        """Arguments that all ranks have passed, or those of rank 0 if the others have passed None for all of them."""
        missing = self.allgather(all(one is None for one in given))
        if missing[0] or not any(missing):
            return given
        if not all(missing[1:]):
            first, other = missing.index(True), missing.index(False, 1)
            self.fail(
                f"rank {first} passed no samples, but rank {other} did: pass the same ones on all ranks, or None on "
                "all but rank 0."
            )
        return self.broadcast(given)

    def check_samples(self, digest):
        """Raise ValueError unless all ranks have samples with the same digest."""
        leader, *others = self.allgather(digest)
        for rank, one in enumerate(others, 1):
            if one != leader:
                self.fail(
                    f"rank {rank} passed other samples than rank 0: pass the same ones on all ranks, or use "
                    "DataParallel(communicator, rows='own') if each rank has samples of its own."
                )

    def check_same(self, settings):
        """Raise ValueError unless a dict of settings is the same on all ranks."""
        leader, *others = self.allgather(settings)
        for rank, one in enumerate(others, 1):
            for name in (*leader, *one):
                mine, of_leader = one.get(name), leader.get(name)
                if mine != of_leader:
                    self.fail(
                        f"rank {rank} has {name} {mine!r}, but rank 0 has {of_leader!r}: all ranks must train the same "
                        "network in the same way."
                    )

    def fail(self, message):
        """Raise a ValueError that all ranks raise."""
        self._raise(ValueError(message))

    def _raise(self, error):
        error.is_on_all_ranks = True
        raise error


def _packed(part):
    """(pickle of a part of the samples, its arrays, which are not copied). TypeError if it cannot be pickled."""
    arrays = []
    try:
        return pickle.dumps(part, pickle.HIGHEST_PROTOCOL, buffer_callback=arrays.append), arrays
    except Exception as error:
        raise NotSendable(f"{type(error).__name__}: {error}").error() from error
