"""L-BFGS: SciPy's optimizer on the loss and gradient of a backend.

w <- w - s H g, with the inverse Hessian H built from the last ten changes of w and g, and s by line search (Liu &
Nocedal 1989; SciPy's L-BFGS-B: Byrd, Lu, Nocedal & Zhu 1995).
"""

import numpy as np
from scipy.optimize import OptimizeResult, minimize
from scipy.sparse import issparse

from fastmlp.prediction.predict import reported_loss, take_rows
from fastmlp.prediction.sparse import sparse_rows

from .outcomes import COMPLETED, DIVERGED, INTERRUPTED, STOPPED, Interrupted

BLOCK_BYTES = 2**24  # of activations: the full batch is processed in blocks of samples


def loss_and_gradient_in_blocks(problem, parameters, samples, interruption=None):
    """(reported loss, gradient) of the weighted mean over all samples, with bounded working memory.

    Samples are cast block by block to the dtype of the parameters. Weight penalties are added to one block only.
    Raises Interrupted between two blocks after Ctrl-C.
    """
    kernels, network, penalty, _ = problem
    X, y, sample_weight = samples
    n_rows, dtype = X.shape[0], parameters.dtype
    sparse = sparse_rows(kernels, network, X, dtype) if issparse(X) else None
    n_inputs = network.sizes[0] if sparse is None else sparse.n_nonzeros // n_rows
    block = max(256, BLOCK_BYTES // (dtype.itemsize * (n_inputs + sum(network.sizes[1:]))))
    total = float(n_rows) if sample_weight is None else float(sample_weight.sum())
    loss, gradient = 0.0, np.zeros_like(parameters)
    for start in range(0, n_rows, block):
        if interruption is not None and interruption.requested:
            raise Interrupted
        rows = slice(start, start + block)
        X_block = take_rows(X, rows, dtype) if sparse is None else sparse[rows]
        weight = None if sample_weight is None else sample_weight[rows].astype(dtype, copy=False)
        share = float(len(y[rows])) if weight is None else float(weight.sum())
        if share == 0:
            continue
        data_loss, more, slope = kernels.loss_and_gradient(
            network, parameters, X_block, y[rows].astype(dtype, copy=False), weight, penalty
        )
        penalty = penalty.of_activity()
        loss += reported_loss(network, data_loss, more) * share / total
        gradient += slope * dtype.type(share / total)
    return loss, gradient


def fit_lbfgs(
    problem, parameters, samples, limits, interruption=None, on_iteration=None,
    value_and_gradient=loss_and_gradient_in_blocks,
):  # fmt: skip
    """Minimise the loss by L-BFGS, changing ``parameters`` in place.

    Computations are in float64 for every dtype of the parameters, because line searches need the precision.

    Parameters
    ----------
    problem : Problem
    parameters : ndarray of shape (n_parameters,)
    samples : Samples
    limits : Limits
    interruption : Interruption or None
    on_iteration : callable or None
        ``on_iteration(loss)`` is called after each iteration; it returns True to stop.
    value_and_gradient : callable
        Returns the loss and its gradient, as ``loss_and_gradient_in_blocks``.

    Returns
    -------
    str, OptimizeResult
        A status (training/outcomes.py) and SciPy's result, after Ctrl-C or divergence that of the last finite
        iteration.
    """
    status, user_error = COMPLETED, None
    last = OptimizeResult(x=parameters.astype(np.float64), fun=np.inf, nit=0, status=0, message="")

    def objective(x):
        return value_and_gradient(problem, x, samples, interruption)

    def is_finite(loss, x):
        return np.isfinite(loss) and np.isfinite(x.astype(parameters.dtype)).all()

    def callback(intermediate_result):
        nonlocal status, user_error
        x, loss = intermediate_result.x, float(intermediate_result.fun)
        if is_finite(loss, x):
            last.update(x=x.copy(), fun=loss, nit=last.nit + 1)
            parameters[...] = x
        try:
            ends = on_iteration is not None and on_iteration(loss)
        except StopIteration as error:  # SciPy would interpret it as a request to stop
            user_error, ends = error, True
        if ends:
            status = STOPPED
            raise StopIteration

    options = {"maxfun": limits.max_fun, "maxiter": limits.max_iter, "gtol": limits.tol}
    try:
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # divergence is reported once, as such
            result = minimize(objective, last.x, method="L-BFGS-B", jac=True, options=options, callback=callback)
            finite = is_finite(result.fun, result.x)
        if user_error is not None:
            raise user_error
        if not finite:
            status, result = DIVERGED, last
        if interruption is not None and interruption.requested:
            status = INTERRUPTED
    except Interrupted:
        status, result = INTERRUPTED, last
    parameters[...] = result.x
    return status, result
