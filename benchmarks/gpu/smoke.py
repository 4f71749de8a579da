"""Report the GPU, or why there is none; then compile one kernel, run it and compare it with NumPy."""

import sys
from pathlib import Path

from limited import report_values, trace

SUPPORT = Path(__file__).parents[2] / "tests" / "support"
TOLERANCE = 3e-5


def reason_not_to_run():
    try:
        from fastmlp.backends import registry
    except ImportError as error:
        return str(error)
    return registry.why_not("cuda")


def difference():
    """The relative difference between parameters after an epoch in float32 and those of NumPy in float64."""
    sys.path.append(str(SUPPORT))
    from fastmlp.kernels.cuda import contract
    from fastmlp.kernels.reference import contract as numpy_reference
    from fastmlp.kernels.spec import Batches, new_slots, optimizer
    from problems import Problem, relative_error

    problem, trained = Problem(dtype="float32"), []
    for kernels, dtype in ((contract, "float32"), (numpy_reference, "float64")):
        parameters, X, y = (array.astype(dtype) for array in (problem.parameters, problem.X, problem.y))
        slots = new_slots("adam", parameters.size, dtype)
        batches = Batches(X, y, problem.order, 8)
        kernels.train_epoch(problem.network, optimizer("adam", 0.01), parameters, slots, 0, batches)
        trained.append(parameters)
    return relative_error(*trained)


def main():
    why_not = reason_not_to_run()
    if why_not is not None:
        report_values(why_not=why_not)
        sys.exit(f"not run on a GPU: {why_not}")
    from fastmlp.kernels.cuda import devices

    gpu = devices.current()
    report_values(gpu=gpu.name, capability=".".join(map(str, gpu.capability)))
    found = difference()
    report_values(relative_difference=float(found))
    if not found < TOLERANCE:
        sys.exit(f"a small training differs from the reference by {found:.1g}, more than {TOLERANCE:g}")


if __name__ == "__main__":
    with trace():
        main()
