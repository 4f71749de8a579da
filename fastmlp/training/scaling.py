"""Standardise inputs and targets before training, or fold the scaling into the weights of the first and last layer."""

import warnings

import numpy as np
from scipy.sparse import issparse
from sklearn.preprocessing import StandardScaler

from fastmlp.kernels.spec import layer_views, row_weights

FOLDED_ERROR = 1e-3  # warn of larger rounding errors, in units of the standard deviation
ROUNDING = 1e-13  # a column with a smaller standard deviation, as a part of its mean, is constant
FAR_TARGETS = 1000.0  # warn of targets with a larger root mean square


def scalings_of(parts, inputs, targets):
    """Compute the mean and standard deviation of the columns of X and y, in float64.

    Parameters
    ----------
    parts : iterable of (X, y, sample_weight)
        With weights of samples, or of single targets; a row of X then has the mean of its weights.
    inputs, targets : bool
        Whether X and y are scaled.

    Returns
    -------
    list of (mean, standard deviation) or None
        Scalings of X and of y. Constant columns have the standard deviation 1.

    Raises
    ------
    ValueError
        If X is sparse, all weights are 0, or a mean or standard deviation is not finite.
    """
    scalers, _ = _fitted_scalers(parts, inputs, targets)
    if any(scaler is not None and not hasattr(scaler, "mean_") for scaler in scalers):
        raise ValueError(
            "scale requires samples with a nonzero weight, and targets with one in each column of y, but the samples "
            "from which it is computed have none."
        )
    for name, scaler in zip("Xy", scalers):
        # The scale of an infinite variance is 1, as that of a constant.
        if scaler is not None and not np.isfinite([scaler.mean_, scaler.var_]).all():
            raise ValueError(
                f"{name} or sample_weight is too large for scale: the mean or standard deviation of a column is not "
                "finite. Divide by a constant first."
            )
    return [scaler and (scaler.mean_.astype(np.float64), _deviations(scaler)) for scaler in scalers]


def _deviations(scaler):
    """Standard deviations. Scikit-learn's are those of rounding errors where a column is constant and weights small."""
    is_constant = scaler.var_ <= np.square(ROUNDING * scaler.mean_)
    return np.where(is_constant, 1.0, scaler.scale_.astype(np.float64))


def summary_of(parts, inputs, targets):
    """Two rows (X, y, sample_weight) with the means, variances and weights of samples, for ``scalings_of``.

    Parameters are those of ``scalings_of``. X or y is None if it is not scaled, and the result is None without weights.
    """
    scalers, weight = _fitted_scalers(parts, inputs, targets)
    if not np.any(weight):
        return None
    rows = [None if scaler is None else _two_rows(scaler) for scaler in scalers]
    return *rows, np.array([weight, weight]) / 2


def _two_rows(scaler):
    """Two rows with the mean and variance of each column, which are 0 for a column without weights."""
    of_columns = getattr(scaler, "_of_columns", None) or [scaler]
    mean, var = (np.concatenate([getattr(one, name, [0.0]) for one in of_columns]) for name in ("mean_", "var_"))
    return mean + np.sqrt(np.maximum(var, 0)) * [[-1], [1]]  # rounding may have made a variance negative


def _fitted_scalers(parts, inputs, targets):
    """([StandardScaler of X or None, that of y or None], sum of the weights, one number or one for each target)"""
    scalers, total = [StandardScaler() if inputs else None, _TargetScaler() if targets else None], 0.0
    for X, y, weight in parts:
        if inputs:
            reject_sparse(X)
        row_weight = None if weight is None else row_weights(weight)
        total = total + (len(y) if weight is None else weight.sum(axis=0, dtype=np.float64))
        with np.errstate(over="ignore", invalid="ignore"):  # ``scalings_of`` rejects the result
            for scaler, array, of_array in zip(scalers, (X, y), (row_weight, weight)):
                if scaler is not None and (weight is None or weight.any()):
                    scaler.partial_fit(array, sample_weight=of_array)
    return scalers, total


class _TargetScaler(StandardScaler):
    """A StandardScaler whose samples may have a weight for each column."""

    _of_columns = None

    def partial_fit(self, y, sample_weight=None):
        if sample_weight is None or sample_weight.ndim == 1:
            return super().partial_fit(y, sample_weight=sample_weight)
        self._of_columns = self._of_columns or [StandardScaler() for _ in y.T]
        for scaler, column, weight in zip(self._of_columns, y.T, sample_weight.T):
            if weight.any():
                scaler.partial_fit(column[:, None], sample_weight=weight)
        if all(hasattr(scaler, "mean_") for scaler in self._of_columns):
            for name in ("mean_", "var_", "scale_"):
                setattr(self, name, np.concatenate([getattr(scaler, name) for scaler in self._of_columns]))
        return self


def warn_of_far_targets(y, sample_weight, remedy):
    """Warn about targets far from 0, which gradient descent reaches slowly from small initial weights."""
    y = y if sample_weight is None else y[sample_weight > 0]
    with np.errstate(over="ignore"):
        size = float(np.sqrt(np.square(y, dtype=np.float64).sum() / max(1, y.size)))
    if size > FAR_TARGETS:
        warnings.warn(
            f"y is far from 0 (root mean square {size:.3g}), where gradient descent starts: training will be slow or "
            f"diverge. {remedy}"
        )


def scaled(X, scaling):
    """Standardise inputs or targets, keeping their dtype.

    Raises
    ------
    ValueError
        If X is sparse, because centring would make it dense.
    """
    reject_sparse(X)
    mean, std = scaling
    return np.ascontiguousarray((X - mean) / std, X.dtype)


def reject_sparse(X):
    if issparse(X):
        raise ValueError(
            "scale does not support sparse X, because centring would make it dense: use scikit-learn's MaxAbsScaler "
            "instead."
        )


def check_saved_scaling(scaling, n_columns):
    """Return a scaling read from a file. Raises ValueError if it is not valid for that many columns."""
    mean, std = scaling
    if not (mean.shape == std.shape == (n_columns,) and mean.dtype == std.dtype == np.float64):
        raise ValueError(f"a scaling has shapes {mean.shape} and {std.shape} for {n_columns} columns")
    if not (np.isfinite(mean).all() and np.isfinite(std).all() and (std > 0).all()):
        raise ValueError("a scaling is not finite, or a standard deviation is not positive")
    return mean, std


def folded(network, parameters, inputs=None, targets=None):
    """Fold scalings into the parameters, so that the network has unscaled inputs and outputs.

    Warns if precision is lost in the dtype of ``parameters``.

    Parameters
    ----------
    network : Network
    parameters : ndarray of shape (n_parameters,)
    inputs, targets : (mean, standard deviation) or None
        Scalings.

    Returns
    -------
    ndarray of shape (n_parameters,)

    Raises
    ------
    ValueError
        If a skip connection without weights adds the inputs to a layer, or adds to the last layer, or if the result is
        not finite in the dtype of ``parameters``.
    """
    exact = parameters.astype(np.float64)
    layers = list(zip(*layer_views(network, exact), network.skips or (None,) * len(network.activations)))
    if inputs is not None:
        _warn_of_lost_digits("an input", *inputs, parameters.dtype)
        mean, std = inputs
        for number, (W, b, skip) in enumerate(layers):
            from_inputs = [W[: network.sizes[0]]] if number == 0 else []
            if skip is not None and skip.source == 0:
                if not skip.weighted:
                    raise ValueError(
                        "scale cannot be folded into the weights of a network whose skip connections add the inputs to "
                        "a layer: use skip_weights=True."
                    )
                from_inputs.append(W[network.sizes[number] :])
            for part in from_inputs:
                part /= std[:, None]
                b -= mean @ part
    if targets is not None:
        _warn_of_lost_digits("a target", *targets, parameters.dtype)
        (mean, std), (W, b, skip) = targets, layers[-1]
        if skip is not None and not skip.weighted:
            raise ValueError(
                "scale cannot be folded into the weights of a network whose skip connections add to the last layer: "
                "use skip_weights=True."
            )
        W *= std
        b *= std
        b += mean
    with np.errstate(over="ignore"):
        in_units = exact.astype(parameters.dtype)
    if np.isfinite(parameters).all() and not np.isfinite(in_units).all():
        raise ValueError(
            f"weights with folded scaling are too large for {parameters.dtype}: pass X to fit in float64, or multiply "
            "inputs or targets by a constant."
        )
    return in_units


def _warn_of_lost_digits(what, mean, std, dtype):
    far = np.abs(mean / std).max(initial=0)
    if far * np.finfo(np.float32).eps > FOLDED_ERROR and dtype == np.float32:
        warnings.warn(
            f"{what} with a mean of {far:,.0f} standard deviations loses precision in float32: subtract a constant "
            "from that column before training."
        )
