"""Processes and machines that run fits: the workers of the joblib backend that the user has selected.

dask and Ray run each fit as a task of their own, not through their joblib backends. These wait forever for a task that
no worker can run (dask), end all work if one worker dies, and report results only at the end (Ray).
"""

import sys
from abc import ABC, abstractmethod
from collections import Counter, deque
from concurrent.futures import CancelledError
from contextlib import suppress

import joblib
from joblib.parallel import get_active_backend

from fastmlp.backends.threads import dask_worker

TRIES = 3  # of a fit whose data or worker is lost


def active_pool(n_jobs):
    """The pool of the joblib backend that is selected, or None if fits run in threads of this process.

    Threads are for backends that share memory, for the default, and for fits inside a task.
    """
    backend, of_backend = get_active_backend(prefer="threads")  # threads, unless another backend is selected
    if getattr(backend, "supports_sharedmem", False) or dask_worker() is not None:
        return None
    n_jobs = of_backend if n_jobs is None else n_jobs
    if "distributed" in sys.modules and isinstance(getattr(backend, "client", None), sys.modules["distributed"].Client):
        return DaskPool(backend, n_jobs)
    if "ray.util.joblib.ray_backend" in sys.modules:
        from ray.util.joblib.ray_backend import RayBackend

        if isinstance(backend, RayBackend):
            return RayPool(backend, n_jobs)
    n_jobs = backend.effective_n_jobs(-1 if n_jobs is None else n_jobs)
    return JoblibPool(backend, n_jobs) if n_jobs > 1 else None


def at_most(n_threads, n_jobs):
    """The number of threads of ``n_threads`` that ``n_jobs`` allows: None and -1 all, -2 all but one."""
    if n_jobs is None:
        return n_threads
    return max(1, n_threads + 1 + n_jobs) if n_jobs < 0 else min(n_threads, n_jobs)


def by_value():
    """The function ``fit_parcel`` as one that is pickled by value, so that dask's scheduler needs no fastmlp."""

    def fit(*arguments):
        from fastmlp.training.worker import fit_parcel

        return fit_parcel(*arguments)

    return fit


class JoblibPool:
    """Processes of other backends of joblib, such as loky. If one dies, so does the work.

    Attributes
    ----------
    name : str
        Of the backend.
    n_threads : int
        Number of threads of all workers together.
    """

    def __init__(self, backend, n_jobs):
        self.name = type(backend).__name__.removesuffix("Backend").lower()
        self.n_threads, self._backend = n_jobs, backend

    def threads_of_each(self, n_fits):
        """The number of threads of each of so many fits."""
        given = getattr(self._backend, "inner_max_num_threads", None)
        return given or max(1, joblib.cpu_count() // min(self.n_threads, n_fits))

    def results(self, calls, blocks):
        """Run ``fit_parcel`` for each (arguments, indices of blocks).

        Yields
        ------
        (int, bytes or Exception)
            The index of the call and its result, as they come. Exceptions are those of the worker, not of the fit.
        """
        from .worker import fit_parcel

        way = "generator_unordered" if self._backend.supports_return_generator else "list"
        yield from joblib.Parallel(self.n_threads, return_as=way, pre_dispatch="all", batch_size=1)(
            joblib.delayed(_numbered)(index, fit_parcel, *given, *(blocks[position] for position in positions))
            for index, (given, positions) in enumerate(calls)
        )


def _numbered(index, function, *arguments):
    return index, function(*arguments)


class TaskPool(ABC):
    """Workers that run tasks and find others for those of a dead worker. Attributes are those of JoblibPool."""

    name: str
    n_threads: int

    def __init__(self, n_threads, n_jobs):
        self.n_threads = at_most(n_threads, n_jobs)
        self._at_once = sys.maxsize if n_jobs in (None, -1) else self.n_threads

    @abstractmethod
    def threads_of_each(self, n_fits):
        """The number of threads of each of so many fits."""

    @abstractmethod
    def _send(self, blocks, users):
        """Send blocks to the workers, given the number of fits that need each. Returns references to them."""

    @abstractmethod
    def _submit(self, arguments):
        """Start a task. Returns it; references among the arguments are replaced by what they refer to."""

    @abstractmethod
    def _next(self, tasks):
        """Wait for a task to end. Returns it."""

    @abstractmethod
    def _outcome(self, task):
        """The result of a task that has ended, its exception, or None if it or its data are lost."""

    @abstractmethod
    def _cancel(self, tasks):
        """End tasks whose results are not needed."""

    def results(self, calls, blocks):
        """As those of JoblibPool."""
        counts = Counter(position for _, positions in calls for position in positions)
        users = [counts[position] for position in range(len(blocks))]
        sent = self._send(blocks, users)
        running, left, tries = {}, deque(range(len(calls))), Counter()
        try:
            while left or running:
                while left and len(running) < self._at_once:
                    index = left.popleft()
                    given, positions = calls[index]
                    running[self._submit((*given, *(sent[position] for position in positions)))] = index, sent
                task = self._next(running)
                index, used = running.pop(task)
                outcome = self._outcome(task)
                if outcome is None:
                    tries[index] += 1
                    if tries[index] < TRIES:
                        left.append(index)
                        sent = self._send(blocks, users) if used is sent else sent
                        continue
                    outcome = RuntimeError(f"a fit has been lost {TRIES} times, with the workers that ran it.")
                yield index, outcome
        finally:
            self._cancel(list(running))


class DaskPool(TaskPool):
    """Workers of dask.distributed."""

    name = "dask"

    def __init__(self, backend, n_jobs):
        super().__init__(backend.effective_n_jobs(-1), n_jobs)  # waits for workers: TimeoutError
        import distributed

        self._client, self._options, self._fit = backend.client, backend.submit_kwargs, by_value()
        self._ended = distributed.as_completed([], loop=self._client.loop)

    def threads_of_each(self, n_fits):
        return max(1, min(*self._client.nthreads().values(), self.n_threads // n_fits))

    def _send(self, blocks, users):
        n_workers = len(self._client.nthreads())
        return [self._scatter(block, n_fits >= n_workers) for block, n_fits in zip(blocks, users)]

    def _scatter(self, block, to_all):
        for _ in range(TRIES):
            with suppress(OSError):  # a TimeoutError too: workers have died, and others may be started
                return self._client.scatter([block], broadcast=to_all, hash=False)[0]
        raise RuntimeError(f"dask has had no worker that stayed alive to receive data, in {TRIES} attempts.")

    def _submit(self, arguments):
        task = self._client.submit(self._fit, *arguments, pure=False, **self._options)
        self._ended.add(task)
        return task

    def _next(self, tasks):
        return next(self._ended)

    def _outcome(self, task):
        if task.status == "finished":
            try:
                return task.result()
            except CancelledError:  # its worker has died meanwhile
                return None
        return task.exception() if task.status == "error" else None

    def _cancel(self, tasks):
        self._client.cancel(tasks)


class RayPool(TaskPool):
    """Workers of Ray."""

    name = "ray"

    def __init__(self, backend, n_jobs):
        import ray

        self._ray = ray
        if not ray.is_initialized():
            ray.init()
        super().__init__(int(ray.cluster_resources().get("CPU", 0)), n_jobs)
        options = {"num_cpus": 1, "max_retries": TRIES - 1} | (backend.ray_remote_args or {})
        self._n_threads_of_each, self._fit = max(1, int(options["num_cpus"])), ray.remote(**options)(by_value())

    def threads_of_each(self, n_fits):
        return self._n_threads_of_each

    def _send(self, blocks, users):
        return [self._ray.put(block) for block in blocks]

    def _submit(self, arguments):
        return self._fit.remote(*arguments)

    def _next(self, tasks):
        ended = []
        while not ended:
            ended, _ = self._ray.wait(list(tasks), num_returns=1, timeout=0.5)
        return ended[0]

    def _outcome(self, task):
        try:
            return self._ray.get(task)
        except self._ray.exceptions.RayTaskError as error:
            return error.cause
        except self._ray.exceptions.RayError as error:
            return error

    def _cancel(self, tasks):
        for task in tasks:
            self._ray.cancel(task, force=True)
