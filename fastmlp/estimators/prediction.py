"""Predictions of a fitted estimator: validation and scaling of X, and network outputs."""

from sklearn.utils.validation import check_is_fitted, validate_data

from fastmlp.backends import registry
from fastmlp.prediction.predictor import Predictor
from fastmlp.validation.arrays import CSR, as_numbers, floats_of, is_clean_csr, is_float_matrix

from .samples import cast


def predictor_of(estimator):
    """The Predictor of a fitted estimator; it takes scaled inputs."""
    net = estimator._net
    kernels = registry.choose(estimator.backend).kernels
    return Predictor(kernels, net.network, net.current_parameters(), estimator.n_jobs)


def outputs(estimator, X):
    """Network outputs of shape (n_samples, n_outputs)."""
    if _needs_no_validation(estimator, X):
        predictor = predictor_of(estimator)
        if type(X) in CSR:
            return predictor.outputs(X)
        output = predictor.outputs_if_finite(X)
        if output is not None:
            return output
    X = checked_inputs(estimator, X)
    return predictor_of(estimator).outputs(X)


def checked_inputs(estimator, X):
    """Validate and scale X. Raises NotFittedError before a fit."""
    check_is_fitted(estimator)
    net, X = estimator._net, as_numbers(X, "X")
    sparse = ["csr", "csc"] if net.scaling is None else False
    X = validate_data(estimator, X, accept_sparse=sparse, dtype=floats_of(X), reset=False)
    return cast("X", net.scale_inputs(X), net.parameters.dtype)


def _needs_no_validation(estimator, X):
    """Whether scikit-learn's slow validation can be skipped.

    X is then a valid CSR matrix, or an array that can only be invalid by being NaN or infinite.
    """
    n_columns = getattr(estimator, "n_features_in_", None)  # None before a fit
    is_sparse = type(X) in CSR and X.shape[1:] == (n_columns,)
    return (
        (is_sparse or is_float_matrix(X, n_columns))
        and not hasattr(estimator, "feature_names_in_")
        and estimator._net.scaling is None
        and (not is_sparse or is_clean_csr(X, estimator._net.parameters.dtype))
    )


def layer_outputs(estimator, X):
    """Outputs of every layer, including hidden layers."""
    X = checked_inputs(estimator, X)
    return predictor_of(estimator).layer_outputs(X)


def mc_outputs(estimator, X, mc_samples, transform):
    """(mean, standard deviation) of the transformed outputs over stochastic passes with dropout and noise."""
    X, net = checked_inputs(estimator, X), estimator._net
    seed = 0 if net.training is None else net.training.seed
    noise = net.noise and net.noise._replace(seed=seed)
    return predictor_of(estimator).mc_outputs(X, noise, mc_samples, transform)
