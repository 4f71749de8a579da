"""Estimators from scikit-learn's, and back: the same parameters, weights and predictions."""

import inspect

from sklearn import neural_network
from sklearn.utils import check_random_state

from fastmlp.kernels.network import aligned_zeros, layer_views

from . import backends
from .architecture import network_of, noise_of
from .classifier import MLPClassifier
from .regressor import MLPRegressor

PAIRS = {neural_network.MLPClassifier: MLPClassifier, neural_network.MLPRegressor: MLPRegressor}
FITTED = (
    "classes_", "loss_", "best_loss_", "loss_curve_", "validation_scores_", "best_validation_score_", "n_iter_", "t_",
    "n_features_in_", "feature_names_in_", "n_layers_", "n_outputs_", "out_activation_",
)  # fmt: skip


def from_sklearn(estimator, **params):
    """fastmlp's estimator with the parameters of scikit-learn's and, where it was fitted, its weights.

    Training goes on from these weights (``warm_start``, ``partial_fit``) with a new optimizer state: scikit-learn keeps
    none that could be read.

    Parameters
    ----------
    estimator : sklearn.neural_network.MLPClassifier or MLPRegressor
    **params
        Parameters of fastmlp's estimator to set besides, such as backend.

    Returns
    -------
    MLPClassifier or MLPRegressor

    Raises
    ------
    TypeError
        For any other estimator.
    """
    if type(estimator) not in PAIRS:
        raise TypeError(
            "from_sklearn takes sklearn.neural_network's MLPClassifier and MLPRegressor, "
            f"not {type(estimator).__module__}.{type(estimator).__name__}."
        )
    made = PAIRS[type(estimator)](**_shared(estimator, PAIRS[type(estimator)]) | params)
    if hasattr(estimator, "coefs_"):
        _take_weights(made, estimator)
    return made


def _take_weights(made, fitted):
    for name in FITTED:
        if hasattr(fitted, name):
            setattr(made, name, getattr(fitted, name))
    if hasattr(fitted, "classes_"):
        binarizer = fitted._label_binarizer
        made._label_type, made._sparse_labels, made._targets = binarizer.y_type_, binarizer.sparse_input_, None
    sizes = [fitted.coefs_[0].shape[0], *(len(b) for b in fitted.intercepts_)]
    made._network, dropout = network_of(made, sizes[0], sizes[1:-1], sizes[-1])
    made._training, made._best_parameters, made._no_improvement_count = None, None, 0
    parameters = aligned_zeros((made._network.n_parameters,), fitted.coefs_[0].dtype)
    for views, arrays in zip(layer_views(made._network, parameters), (fitted.coefs_, fitted.intercepts_)):
        for view, array in zip(views, arrays):
            view[:] = array
    made._noise = noise_of(made, made._network, dropout, 0)
    made._bind(parameters)
    made.backend_, _, made.backend_reason_ = backends.choose(made.backend)


def to_sklearn(estimator):
    """scikit-learn's estimator with the parameters of fastmlp's and, where it was fitted, its weights.

    Raises
    ------
    TypeError
        If it is none of fastmlp's estimators.
    ValueError
        If it has what scikit-learn's lacks: other activations, losses or solvers, learned slopes, skips, dropout ...
    """
    kind = next((theirs for theirs, ours in PAIRS.items() if type(estimator) is ours), None)
    if kind is None:
        raise TypeError(f"to_sklearn takes fastmlp's MLPClassifier and MLPRegressor, not {type(estimator).__name__}.")
    params, shared = estimator.get_params(deep=False), _shared(estimator, kind)
    usual = type(estimator)().get_params(deep=False)
    lost = sorted(name for name in params if name not in shared and not _same(params[name], usual[name]))
    lost = [name for name in lost if name not in ("backend", "n_jobs")]
    if lost:
        raise ValueError(f"scikit-learn's {kind.__name__} has no {', '.join(lost)}.")
    made = kind(**shared)
    made._validate_params()
    if hasattr(estimator, "coefs_"):
        for name in FITTED:
            if hasattr(estimator, name):
                setattr(made, name, getattr(estimator, name))
        made.coefs_ = [W.copy() for W in estimator.coefs_]
        made.intercepts_ = [b.copy() for b in estimator.intercepts_]
        made._no_improvement_count = 0
        made._random_state = check_random_state(made.random_state)
        if hasattr(estimator, "classes_"):
            made._label_binarizer = estimator._label_binarizer()
    return made


def _shared(estimator, kind):
    names = inspect.signature(kind).parameters
    return {name: value for name, value in estimator.get_params(deep=False).items() if name in names}


def _same(given, usual):
    return given is usual or (type(given) is type(usual) and given == usual)
