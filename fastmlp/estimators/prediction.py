"""Predictions of a fitted estimator: validation and scaling of X, and network outputs."""

from sklearn.utils.validation import check_is_fitted, validate_data

from fastmlp.backends import registry
from fastmlp.prediction.predictor import Predictor
from fastmlp.validation.arrays import as_numbers, floats_of

from .samples import cast


def predictor_of(estimator):
    """The Predictor of a fitted estimator; it takes scaled inputs."""
    net = estimator._net
    kernels = registry.choose(estimator.backend).kernels
    return Predictor(kernels, net.network, net.current_parameters(), estimator.n_jobs)


def outputs(estimator, X):
    """Network outputs of shape (n_samples, n_outputs)."""
    net = getattr(estimator, "_net", None)
    if net is not None and net.scaling is None and not hasattr(estimator, "feature_names_in_"):
        output = predictor_of(estimator).outputs_if_valid(X)
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
