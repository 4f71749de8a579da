"""Allreduce of float32 vectors with mpi4py: alone, and beside 1 ms of computing that does not need the sum."""

import statistics
import time

import numpy as np

SIZES = 8, 128, 2048, 16_384, 131_072, 524_288, 2_097_152, 8_388_608, 40_000_000  # bytes
SECONDS, MOST_CALLS = 0.05, 500  # of a turn
COMPUTING = 1e-3  # seconds
SLICES = 10  # of the computing, between which the last variant asks MPI whether the sum is there


def allreduce_times():
    """A function (n_rounds) that returns on rank 0, for each size, median seconds of a call of each variant.

    blocking: Allreduce; computing: 1 ms of computing alone; in sequence: both; non-blocking: Iallreduce, computing,
    Wait; non-blocking, tested: the same with calls of Test within the computing; adding: np.add of two vectors.
    """
    from mpi4py import MPI

    ranks, clock = MPI.COMM_WORLD, time.perf_counter
    A, B, C = (np.ones((64, 64), "f4") for _ in range(3))

    def products(n):
        for _ in range(n):
            np.dot(A, B, C)

    products(1000)
    start = clock()
    products(5000)
    n_products = ranks.bcast(int(COMPUTING * 5000 / (clock() - start)) // SLICES) * SLICES

    def variants(vector):
        other = vector.copy()

        def in_sequence():
            ranks.Allreduce(MPI.IN_PLACE, vector)
            products(n_products)

        def non_blocking():
            request = ranks.Iallreduce(MPI.IN_PLACE, vector)
            products(n_products)
            request.Wait()

        def tested():
            request = ranks.Iallreduce(MPI.IN_PLACE, vector)
            for _ in range(SLICES):
                products(n_products // SLICES)
                request.Test()
            request.Wait()

        return {
            "blocking": lambda: ranks.Allreduce(MPI.IN_PLACE, vector), "computing": lambda: products(n_products),
            "in sequence": in_sequence, "non-blocking": non_blocking, "non-blocking, tested": tested,
            "adding": lambda: np.add(vector, other, out=vector),
        }  # fmt: skip

    def seconds(function, n_calls):
        ranks.Barrier()
        start = clock()
        for _ in range(n_calls):
            function()
        return (clock() - start) / n_calls

    def answer(n_rounds):
        rows = []
        for n_bytes in SIZES:
            functions, times = variants(np.zeros(n_bytes // 4, "f4")), {}
            calls = {}
            for name, function in functions.items():
                seconds(function, 2)
                longest = ranks.allreduce(seconds(function, 2), MPI.MAX)
                calls[name] = min(MOST_CALLS, max(1, int(SECONDS / longest)))
            for _ in range(n_rounds):
                for name, function in functions.items():
                    times.setdefault(name, []).append(seconds(function, calls[name]))
            rows.append({"bytes": n_bytes} | {name: statistics.median(found) for name, found in times.items()})
        library = MPI.Get_library_version().replace("\x00", "").splitlines()[0].replace("Version:", "").split()
        return {"library": " ".join(library), "rows": rows} if ranks.rank == 0 else None

    return answer


def measure(n_ranks, start, n_rounds):
    """{"library": name of the MPI library, "rows": [{"bytes", variant: seconds}]}"""
    (found,) = start(("allreduce", "allreduce_times"), {}, n_ranks).ask(n_rounds)
    return found
