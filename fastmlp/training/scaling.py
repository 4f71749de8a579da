"""Standardise inputs and targets before training, or fold the scaling into the weights of the first and last layer."""

import warnings

import numpy as np
from scipy.sparse import issparse
from sklearn.preprocessing import StandardScaler

from fastmlp.kernels.spec import layer_views

FOLDED_ERROR = 1e-3  # of a standard deviation: a larger rounding error is warned of
FAR_TARGETS = 1000.0  # root mean square


def scalings_of(parts, inputs, targets):
    """Scalings of the columns of X and of y over parts (X, y, sample_weight), in float64.

    ``inputs`` and ``targets`` say which are wanted; the other is None. A scaling is (mean, standard deviation); a
    constant column has the standard deviation 1.

    Raises
    ------
    ValueError
        For sparse inputs, where all weights are zero, and where numbers are so large that a scaling is not finite: a
        model could then neither predict nor be loaded from its file.
    """
    scalers = [StandardScaler() if wanted else None for wanted in (inputs, targets)]
    for *arrays, sample_weight in parts:
        if inputs:
            refuse_sparse(arrays[0])
        for scaler, array in zip(scalers, arrays):
            if scaler is not None and (sample_weight is None or sample_weight.any()):
                with np.errstate(over="ignore", invalid="ignore"):  # refused below
                    scaler.partial_fit(array, sample_weight=sample_weight)
    if any(scaler is not None and not hasattr(scaler, "mean_") for scaler in scalers):
        raise ValueError("scale needs samples whose weight is not zero.")
    scalings = [scaler and (scaler.mean_.astype(np.float64), scaler.scale_.astype(np.float64)) for scaler in scalers]
    for name, scaling in zip("Xy", scalings):
        if scaling is not None and not np.isfinite(scaling).all():
            raise ValueError(
                f"{name} or sample_weight is too large for scale: the mean or standard deviation of a column is not "
                "finite. Divide them by a constant."
            )
    return scalings


def warn_of_far_targets(y, sample_weight, remedy):
    """Warn of targets that gradient descent from small weights takes long to reach."""
    y = y if sample_weight is None else y[sample_weight > 0]
    with np.errstate(over="ignore"):
        size = float(np.sqrt(np.square(y, dtype=np.float64).sum() / max(1, y.size)))
    if size > FAR_TARGETS:
        warnings.warn(
            f"y is far from 0 (its root mean square is {size:.3g}), and gradient descent starts there: training will "
            f"be slow or diverge. {remedy}"
        )


def scaled(X, scaling):
    """Inputs or targets as the network sees them, in their dtype.

    Raises
    ------
    ValueError
        For sparse input, which centring would make dense.
    """
    refuse_sparse(X)
    mean, deviation = scaling
    return np.ascontiguousarray((X - mean) / deviation, X.dtype)


def refuse_sparse(X):
    if issparse(X):
        raise ValueError(
            "scaling the inputs would make sparse X dense: scale it with scikit-learn's MaxAbsScaler instead."
        )


def check_saved_scaling(scaling, n_columns):
    """A scaling of a file, if it is one for that many columns; else a ValueError."""
    mean, deviation = scaling
    if not (mean.shape == deviation.shape == (n_columns,) and mean.dtype == deviation.dtype == np.float64):
        raise ValueError(f"a scale of shapes {mean.shape} and {deviation.shape} for {n_columns} columns")
    if not (np.isfinite(mean).all() and np.isfinite(deviation).all() and (deviation > 0).all()):
        raise ValueError("a scale that is not finite and positive")
    return mean, deviation


def folded(network, parameters, inputs=None, targets=None):
    """Parameters of a network that takes inputs, and gives outputs, in the units of the user.

    ``inputs`` and ``targets`` are scalings or None. Warns where numbers in the dtype of ``parameters`` lose digits.

    Raises
    ------
    ValueError
        Where a skip connection without weights adds the inputs to a layer, or anything to the last layer, and where the
        result is not finite in the dtype of ``parameters``.
    """
    exact = parameters.astype(np.float64)
    layers = list(zip(*layer_views(network, exact), network.skips or (None,) * len(network.activations)))
    if inputs is not None:
        _warn_of_lost_digits("an input", *inputs, parameters.dtype)
        mean, deviation = inputs
        for number, (W, b, skip) in enumerate(layers):
            from_inputs = [W[: network.sizes[0]]] if number == 0 else []
            if skip is not None and skip.source == 0:
                if not skip.weighted:
                    raise ValueError("inputs that are added to a layer without weights cannot be scaled by weights.")
                from_inputs.append(W[network.sizes[number] :])
            for part in from_inputs:
                part /= deviation[:, None]
                b -= mean @ part
    if targets is not None:
        _warn_of_lost_digits("a target", *targets, parameters.dtype)
        (mean, deviation), (W, b, skip) = targets, layers[-1]
        if skip is not None and not skip.weighted:
            raise ValueError("outputs of a layer that are added to the last one cannot be scaled by weights.")
        W *= deviation
        b *= deviation
        b += mean
    with np.errstate(over="ignore"):
        in_units = exact.astype(parameters.dtype)
    if np.isfinite(parameters).all() and not np.isfinite(in_units).all():
        raise ValueError(
            f"with scale in them, weights are too large for {parameters.dtype}: pass X to fit in float64, or multiply "
            "inputs or targets by a constant."
        )
    return in_units


def _warn_of_lost_digits(what, mean, deviation, dtype):
    far = np.abs(mean / deviation).max(initial=0)
    if far * np.finfo(np.float32).eps > FOLDED_ERROR and dtype == np.float32:
        warnings.warn(
            f"{what} whose mean is {far:,.0f} standard deviations loses digits in float32: subtract a constant from "
            "that column before training."
        )
