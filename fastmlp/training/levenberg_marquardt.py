"""Levenberg-Marquardt: damped Gauss-Newton steps for squared errors, on the Jacobian of a backend.

w <- w + h with (J^T J + alpha D + mu I) h = -g (Levenberg 1944; Marquardt 1963; for networks Hagan & Menhaj 1994). J
are the derivatives of the errors of all samples, D selects the weights, which alpha penalises, and g is the gradient.
The damping mu follows the gain ratio, the decrease of the loss relative to that of its quadratic model (Nielsen 1999).
"""

from contextlib import nullcontext

import numpy as np
from scipy.optimize import OptimizeResult

from fastmlp.backends.threads import limit_blas

from .outcomes import COMPLETED, DIVERGED, INTERRUPTED, STOPPED, Diverged, Interrupted
from .squared_errors import Evidence, SquaredErrors

FIRST_DAMPING, LEAST_DAMPING = 1e-3, 1e-15  # relative to the largest element of the diagonal of the Hessian
SMALLEST_STEP = 1e-10  # relative to the largest parameter
SMALL_WORK = 2e7  # multiplications in J^T J; with less, threads of BLAS cost more than they save
CONVERGED, LIMITED = 0, 1  # SciPy's numbers


def fit_levenberg_marquardt(
    problem, parameters, samples, limits, interruption=None, on_iteration=None, chooses_alpha=False
):  # fmt: skip
    """Minimise the loss by Levenberg-Marquardt, changing ``parameters`` in place.

    Arguments and result are those of ``fit_lbfgs``; an iteration is a step that lowers the loss. With several outputs
    the minimum is that of the loss summed over outputs, as for the other solvers. With ``chooses_alpha`` the penalty is
    the one with the largest evidence, which the result has as an Evidence.
    """
    result = OptimizeResult(x=parameters.astype(np.float64), fun=np.inf, nit=0, status=LIMITED, message="")
    result.evidence = Evidence()
    work = problem.network.sizes[-1] * samples.X.shape[0] * parameters.size**2
    one_thread = limit_blas(1) if work < SMALL_WORK else nullcontext()
    try:
        with one_thread, np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # divergence is reported once
            objective = SquaredErrors(problem, samples, interruption, chooses_alpha)
            for x, loss in _steps(objective, result, limits, parameters.dtype):
                result.update(x=x, fun=loss, nit=result.nit + 1)
                parameters[...] = x
                if on_iteration is not None and on_iteration(loss):
                    return STOPPED, result
    except Diverged:
        return DIVERGED, result
    except Interrupted:
        return INTERRUPTED, result
    return COMPLETED, result


def _steps(objective, result, limits, dtype):
    """Yield (parameters, reported loss) after each step that lowers the loss. Sets the status of the result at the end.

    ``dtype`` is that of the model, in which the parameters must be finite.
    """
    x, damping, growth, n_trials = result.x, 0.0, 2.0, 0
    for _ in range(limits.max_iter):
        here = objective.expand(x)
        gradient, scale = objective.gradient, objective.hessian.diagonal().max()
        result.evidence = objective.evidence
        if not result.nit:
            result.fun = objective.reported(here)
        if not (np.isfinite(scale) and np.isfinite(gradient).all() and np.isfinite(here.sum)):
            raise Diverged
        if np.abs(gradient).max() <= limits.tol * objective.total:
            result.update(status=CONVERGED, message="the gradient is at most tol")
            return
        damping = max(damping, (LEAST_DAMPING if damping else FIRST_DAMPING) * scale)
        while True:
            if n_trials >= limits.max_fun:
                result.message = "the limit of loss evaluations was reached"
                return
            step = objective.step(damping)
            if step is not None:
                if np.abs(step).max() <= SMALLEST_STEP * np.abs(x).max():
                    result.update(status=CONVERGED, message="the steps are too small to change the parameters")
                    return
                there, n_trials = objective.at(x + step), n_trials + 1
                gain = (here.sum - there.sum) / (step @ (damping * step - gradient) / 2)
                if gain > 0 and np.isfinite((x + step).astype(dtype)).all():
                    break
            damping, growth = damping * growth, growth * 2
        x, damping, growth = x + step, damping * max(1 / 3, 1 - (2 * gain - 1) ** 3), 2.0
        yield x, objective.reported(there)
    result.message = "the limit of iterations was reached"
