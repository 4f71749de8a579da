"""Random networks by 1, 2, 3 and 64 threads: python many_threads.py NETWORKS SEED. Prints counts as JSON.

A process of its own, because it lets the engine use threads for any work, and because it might hang.
"""

import json
import sys
from pathlib import Path

import numpy as np

from fastmlp.backends import registry
from fastmlp.kernels.cpu import thread_pool
from fastmlp.kernels.engine import plan
from fastmlp.kernels.spec import Penalty, new_slots, optimizer

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
from problems import COMPILED, DTYPES, Problem

THREADS = 1, 2, 3, 64


def results(kernels, problem, batch_size, n_threads):
    """Parameters after an epoch of training, a gradient and outputs."""
    parameters, penalty = problem.parameters.copy(), Penalty(alpha=0.1)
    slots = new_slots("adam", parameters.size, parameters.dtype)
    with thread_pool.limited_to(n_threads):
        kernels.train_epoch(
            problem.network, optimizer("adam"), parameters, slots, 0, problem.batches(batch_size), penalty
        )
        gradient = kernels.loss_and_gradient(problem.network, parameters, problem.X, problem.y)[2]
        return parameters, gradient, kernels.forward(problem.network, parameters, problem.X)


def compare_threads(n_networks, seed):
    """Random networks, trained by each number of threads. Returns counts."""
    plan.CALL_FLOPS, plan.THREAD_FLOPS, thread_pool.cores = 0, 1, lambda: max(THREADS)  # threads for any work
    rng, comparisons, faults = np.random.default_rng(seed), 0, []
    for _ in range(n_networks):
        sizes = tuple(int(n) for n in np.exp(rng.uniform(0, 5.5, rng.integers(3, 6))))
        rows, dtype = int(rng.integers(1, 400)), str(rng.choice(DTYPES))
        batch_size, precision = int(rng.integers(1, rows + 1)), "highest"
        if dtype == "float32":
            precision = str(rng.choice(["highest", "high", "medium"]))
        problem = Problem(hidden=("tanh",) * (len(sizes) - 2), sizes=sizes, rows=rows, dtype=dtype, seed=seed)
        problem.network = problem.network._replace(matmul_precision=precision)
        for name in COMPILED:
            kernels = registry.choose(name).kernels
            alone, *others = (results(kernels, problem, batch_size, n) for n in THREADS)
            for n_threads, found in zip(THREADS[1:], others):
                comparisons += 1
                if not all(np.array_equal(mine, yours) for mine, yours in zip(found, alone)):
                    faults.append(
                        f"{name}, {n_threads} threads, {sizes}, {rows} rows, {batch_size}, {dtype}, {precision}"
                    )
    return {"networks": n_networks, "comparisons": comparisons, "faults": faults}


if __name__ == "__main__":
    print(json.dumps(compare_threads(*map(int, sys.argv[1:]))))
