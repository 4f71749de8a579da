"""The sum of squared errors of a network as Levenberg-Marquardt needs it: value, gradient and approximate Hessian.

J^T J is summed over blocks of samples, so that the Jacobian J of all samples is never held.
"""

from typing import NamedTuple

import numpy as np
from scipy.linalg.blas import dgemv, dsyrk
from scipy.linalg.lapack import dpotrf, dpotri, dpotrs

from fastmlp.kernels.spec import layer_views, row_weights
from fastmlp.prediction.predict import reported_loss, take_rows

from .outcomes import Interrupted

SCALES = {"squared_error": lambda n_outputs: 1.0, "mean_squared_error": lambda n_outputs: 2 / n_outputs}
MAX_PARAMETERS = 10_000
FIRST_ALPHA = 1e-3  # relative to the estimate at the initial weights
SMALLEST_EIGENVALUE = 1e-12  # of a Hessian that is inverted, relative to its largest element
BLOCK_BYTES = 2**21  # of the Jacobian of a block of samples: it stays in the cache until its product is made


def check_lm_loss(solver, loss, penalty):
    """Raise ValueError unless loss and Penalty can be minimised by 'lm'. ``solver`` begins the message."""
    if loss not in SCALES:
        raise ValueError(
            f"{solver} minimises squared errors and requires the loss 'squared_error' or 'mean_squared_error', got "
            f"{loss if isinstance(loss, str) else 'a custom loss'!r}: use one of these, or 'lbfgs' for other losses."
        )
    others = [f"{name}={value:g}" for name, value in penalty._replace(alpha=0.0)._asdict().items() if value]
    if others:
        raise ValueError(
            f"{solver} supports no penalty other than alpha, got {', '.join(others)}: set it to 0, or use 'lbfgs'."
        )


def check_lm_network(solver, kernels, network):
    """Raise ValueError if a network is too large for 'lm', or its backend runs on a GPU."""
    n = network.n_parameters
    if n > MAX_PARAMETERS:
        raise ValueError(
            f"{solver} is limited to {MAX_PARAMETERS:,} parameters, because it factorises matrices of n_parameters^2 "
            f"numbers: {n:,} parameters would need {16 * n**2 / 2**30:,.1f} GiB. Use fewer units, or 'lbfgs' or 'adam'."
        )
    if kernels.DEVICE is not None:
        raise ValueError(f"{solver} runs on the CPU only: use backend='auto', 'cython', 'numba' or 'numpy'.")


class Evidence(NamedTuple):
    """The alpha that a fit has chosen, and the effective number of parameters (gamma of Foresee & Hagan 1997)."""

    alpha: float = 0.0
    effective_parameters: float | None = None


class Parts(NamedTuple):
    """Squared errors and penalty at some parameters; their sum is minimised."""

    errors: float
    penalty: float

    @property
    def sum(self):
        return self.errors + self.penalty


class SquaredErrors:
    """scale / 2 sum v (p - t)^2 + alpha / 2 sum W^2, over samples of weight v, outputs p, targets t and weights W.

    This is the loss of the other solvers, times the sum of the weights of the samples. Everything is in float64.

    Attributes
    ----------
    total : float
        Sum of the weights of the samples.
    gradient : ndarray of shape (n_parameters,)
        At the parameters of the last ``expand``.
    hessian : ndarray of shape (n_parameters, n_parameters)
        Gauss-Newton approximation there, in the lower triangle.
    evidence : Evidence
        Of the last ``expand``, with ``chooses_alpha``.
    """

    def __init__(self, problem, samples, interruption, chooses_alpha):
        self._kernels, self._network, penalty, _ = problem
        self._samples, self._interruption = samples, interruption
        X, _, weight = samples
        self.total = float(X.shape[0]) if weight is None else float(row_weights(weight).sum())
        n_outputs, n = self._network.sizes[-1], self._network.n_parameters
        self._scale = SCALES[self._network.loss](n_outputs)
        self._alpha, self._chooses_alpha = penalty.alpha, chooses_alpha
        self._decays = np.zeros(n)  # D: 1 for weights, 0 for biases and slopes
        for W in layer_views(self._network, self._decays)[0]:
            W[...] = 1
        self._height = min(X.shape[0], max(64, BLOCK_BYTES // (8 * n_outputs * n)))
        self._jacobian = np.empty((self._height, n_outputs, n))
        self.hessian, self._workspace = np.zeros((n, n), order="F"), np.zeros((n, n), order="F")
        self.gradient, self.evidence = np.zeros(n), Evidence()

    def _blocks(self):
        """Blocks of (X, y, square roots of the weights or None). Raises Interrupted between them after Ctrl-C."""
        X, y, weight = self._samples
        for start in range(0, X.shape[0], self._height):
            if self._interruption is not None and self._interruption.requested:
                raise Interrupted
            rows = slice(start, start + self._height)
            root = None if weight is None else np.sqrt(weight[rows], dtype=np.float64).reshape(len(y[rows]), -1)
            yield take_rows(X, rows, np.float64), y[rows], root

    def _parts(self, squares, x):
        return Parts(self._scale / 2 * float(squares), self._alpha / 2 * float((self._decays * x) @ x))

    def reported(self, parts):
        """The loss that models report."""
        return reported_loss(self._network, parts.errors / self.total, parts.penalty / self.total)

    def at(self, x):
        """The Parts at the parameters x."""
        squares = 0.0
        for X, y, root in self._blocks():
            errors = self._kernels.forward(self._network, x, X) - y
            errors = (errors if root is None else errors * root).ravel()
            squares += errors @ errors
        return self._parts(squares, x)

    def expand(self, x):
        """Set ``gradient`` and ``hessian`` for the parameters x, and alpha if it is chosen. Returns the Parts."""
        squares, gradient, hessian = 0.0, np.zeros_like(x), self.hessian
        hessian[...] = 0
        for X, y, root in self._blocks():
            jacobian = self._jacobian[: len(X)]
            errors = self._kernels.output_jacobian(self._network, x, X, jacobian) - y
            if root is not None:
                errors *= root
                jacobian *= root[:, :, None]
            errors, transposed = errors.ravel(), jacobian.reshape(-1, x.size).T
            dsyrk(self._scale, transposed, 1.0, hessian, lower=1, overwrite_c=1)
            gradient += dgemv(self._scale, transposed, errors)
            squares += errors @ errors
        diagonal = np.einsum("ii->i", hessian)
        if self._chooses_alpha:
            self._choose_alpha(squares, x)
        diagonal += self._alpha * self._decays
        self.gradient = gradient + self._alpha * self._decays * x
        return self._parts(squares, x)

    def step(self, damping):
        """The step to the minimum of the damped quadratic model, or None if its matrix is not positive definite."""
        factor = self._cholesky(damping)
        return None if factor is None else dpotrs(factor, -self.gradient, lower=1)[0]

    def _cholesky(self, shift):
        """Lower Cholesky factor of the Hessian with ``shift`` added to its diagonal, or None."""
        factor = self._workspace
        factor[...] = self.hessian
        np.einsum("ii->i", factor)[...] += shift
        factor, failed = dpotrf(factor, lower=1, clean=0, overwrite_a=1)
        return None if failed else factor

    def _choose_alpha(self, squares, x):
        """Re-estimate alpha by the evidence, from the Hessian of the errors alone (MacKay 1992).

        alpha is the variance of the errors over that of the weights, sum W^2 / gamma, where the data determine gamma =
        n_weights - alpha trace(H^-1 D) of the weights.
        """
        n_weights, norm = self._decays.sum(), (self._decays * x) @ x
        n_errors, squares = self.total * self._network.sizes[-1], self._scale * squares
        if norm == 0:
            return
        if self._alpha == 0:
            self._alpha = FIRST_ALPHA * squares / n_errors * n_weights / norm
        # Units without any effect make the Hessian singular: what is added is too small to matter otherwise.
        factor = self._cholesky(self._alpha * self._decays + SMALLEST_EIGENVALUE * self.hessian.diagonal().max())
        if factor is None:
            return
        inverse, _ = dpotri(factor, lower=1, overwrite_c=1)
        gamma = max(0.0, n_weights - self._alpha * (inverse.diagonal() @ self._decays))
        effective = gamma + x.size - n_weights
        # While the errors are large the estimate is too, and would take all weights to 0.
        estimate = squares / max(1.0, n_errors - effective) * gamma / norm
        self._alpha = float(min(estimate, 2 * self._alpha))
        self.evidence = Evidence(self._alpha, float(effective))
