"""Fits of 10,000 steps, and steps with large numbers: the error grows no faster than its law.

Every optimizer is run in float32 and float64 on a smooth network whose loss has one minimum to go to, and compared with
the reference in float64 at the steps 10, 100, ... The law: the error after n steps is at most sqrt(n) (a random walk)
times an error of one step, ROUNDINGS units in the last place of the largest number. An error that is systematic grows
like n, and passes this bound before 10,000 steps.

Single steps with numbers up to 2^53 are compared with the reference in extended precision: counters that overflow, and
bias corrections that lose digits, would show there. fastmlp has no averages of weights over steps, which could drift.
"""

import numpy as np

from fastmlp.backends import registry
from fastmlp.kernels.reference import contract as reference
from fastmlp.kernels.rules import OPTIMIZERS
from fastmlp.kernels.spec import Batches, Network, Penalty, aligned_zeros, new_slots, optimizer

# Steps, and backends; Numba has to compile every optimizer.
SIZES = (1_000, ("cython",)), (10_000, ("cython", "numba"))
FIGURE = (
    "{runs} runs of {steps} steps of {optimizers} optimizers, largest share of the law {share:.2f}; "
    "{late} steps with numbers from 1 to 2^53"
)
ROUNDINGS = 8
ROWS, BATCH = 200, 20
LATE = [1, 10, 10**4, 10**6, 2**24 + 1, 2**31 - 1, 2**31, 2**32 + 1, 2**40, 2**53]
# Of the others: a learning rate of 0.001. With its own epsilon, RMSprop makes steps near the minimum that turn round by
# a rounding: the reference itself then goes another way after one.
SETTINGS = {
    "adadelta": {}, "sgd": {"learning_rate": 0.05}, "momentum": {}, "nesterov": {}, "adagrad": {},
    "rmsprop": {"learning_rate": 0.001, "epsilon": 0.1},
}  # fmt: skip


def run(size, seed, folder):
    """Run every optimizer, and make late steps."""
    n_steps, backends = size
    counts = {"runs": 0, "steps": n_steps, "optimizers": len(OPTIMIZERS), "share": 0.0, "late": 0, "faults": []}
    for name in OPTIMIZERS:
        expected = path(reference, name, "float64", n_steps, seed)
        for backend in backends:
            for dtype in ("float32", "float64"):
                found = path(registry.choose(backend).kernels, name, dtype, n_steps, seed)
                counts["runs"] += 1
                for step, parameters in found.items():
                    share = error(parameters, expected[step], dtype) / (ROUNDINGS * step**0.5)
                    counts["share"] = max(counts["share"], float(share))
                    if not share <= 1:
                        counts["faults"].append(f"{name}, {backend}, {dtype}: {share:.3g} of the law at step {step}")
        for backend in ("numpy", *backends):
            for dtype in ("float32", "float64"):
                for number in LATE:
                    counts["late"] += 1
                    off = late_step(registry.choose(backend).kernels, name, dtype, number, seed)
                    if not off <= ROUNDINGS:
                        counts["faults"].append(f"{name}, {backend}, {dtype}: {off:.3g} units off in step {number}")
    return counts


def error(found, expected, dtype):
    """Largest difference in units in the last place of the largest expected number."""
    return np.abs(found - expected).max() / (np.abs(expected).max() * np.finfo(dtype).eps)


def path(kernels, name, dtype, n_steps, seed):
    """{step: parameters} at powers of ten, of a fit of noisy data by mini-batches."""
    rng = np.random.RandomState(seed)
    network = Network((6, 5, 2), ("tanh", "identity"), "squared_error")
    parameters = aligned_zeros(network.n_parameters, dtype)
    parameters[:] = rng.uniform(-0.5, 0.5, parameters.size).astype("f4")
    X, y = (rng.standard_normal((ROWS, n)).astype("f4").astype(dtype) for n in (6, 2))
    rule = optimizer(name, **SETTINGS.get(name, {"learning_rate": 0.001}))
    slots, found, step = new_slots(name, parameters.size, dtype), {}, 0
    while step < n_steps:
        batches = Batches(X, y, rng.permutation(ROWS), BATCH)
        *_, made = kernels.train_epoch(network, rule, parameters, slots, step, batches, Penalty(alpha=1.0))
        step += made
        if np.log10(step) % 1 == 0:
            found[step] = parameters.astype(float)
    return found


def late_step(kernels, name, dtype, number, seed):
    """Error of the change of the parameters in a step with this number, in units in the last place."""
    rng = np.random.RandomState(seed)
    rule, size = optimizer(name, 0.01), 64
    gradient = rng.standard_normal(size).astype(dtype)
    slots = new_slots(name, size, dtype)
    slots[:] = rng.uniform(0.5, 2, slots.shape)
    exact, expected = slots.astype(np.longdouble), np.zeros(size, np.longdouble)
    parameters = aligned_zeros(size, dtype)
    kernels.update(rule, parameters, gradient, slots, number)
    reference.update(rule, expected, gradient.astype(np.longdouble), exact, number)
    return max(error(found, wanted, dtype) for found, wanted in zip([parameters, *slots], [expected, *exact]))
