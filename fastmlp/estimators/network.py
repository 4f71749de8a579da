"""FittedNetwork, the network of an estimator: parameters, views of them, scaling and training state."""

from copy import copy
from dataclasses import astuple

import numpy as np

from fastmlp.kernels.spec import Network, Noise, Skip, aligned_copy, layer_views
from fastmlp.model.losses import Loss
from fastmlp.model.precision import HIGHEST, check_precision, check_precision_of_dtype
from fastmlp.training.scaling import check_saved_scaling, folded, scaled
from fastmlp.training.state import TrainingState, check_finite
from fastmlp.training.stopping import ToleranceState
from fastmlp.validation.checks import check_integer, check_network, check_real
from fastmlp.validation.entries import check_entries, checked_record

from .architecture import check_skips

SCALING = tuple[np.ndarray, np.ndarray] | None
OPTIONAL = {"noise": tuple | None, "training": dict | None, "scaling": SCALING, "target_scaling": SCALING}
NOT_PICKLED = "coefs", "intercepts", "_views", "continuation"


class FittedNetwork:
    """A network with its parameters, as held by a fitted estimator.

    Attributes
    ----------
    network : Network
    parameters : ndarray of shape (n_parameters,)
    coefs, intercepts : lists of arrays
        Views of ``parameters``. Users may assign other arrays, which ``current_parameters`` copies into the vector.
    noise : Noise or None
    training : TrainingState or None
        None before a fit and after a fit by 'lbfgs' or 'lm'.
    progress : ToleranceState
        State of the stopping rule.
    scaling, target_scaling : (mean, standard deviation) or None
        Set if the estimator has ``scale``.
    continuation : Continuation or None
        What the last ``partial_fit`` worked out for those after it.
    """

    continuation = None

    def __init__(self, network, parameters, noise):
        self.network, self.noise, self.training, self.progress = network, noise, None, ToleranceState()
        self.scaling = self.target_scaling = None
        self.bind(parameters)

    def bind(self, parameters):
        """Use this vector as the parameters."""
        self.parameters = parameters
        self.coefs, self.intercepts = layer_views(self.network, parameters)
        self._views = (*self.coefs, *self.intercepts)
        if self.training is not None:
            self.training.parameters = parameters

    def current_parameters(self):
        """The flat parameter vector, including arrays that the user has assigned to coefs_ or intercepts_."""
        current = (*self.coefs, *self.intercepts)
        if len(current) != len(self._views):
            raise ValueError(f"coefs_ and intercepts_ must keep their lengths: {len(self._views) // 2} arrays each.")
        if any(given is not view for given, view in zip(current, self._views)):
            for given, view in zip(current, self._views):
                if np.shape(given) != view.shape:
                    raise ValueError(
                        f"coefs_ and intercepts_ must keep their shapes: expected {view.shape}, got {np.shape(given)}."
                    )
            for given, view in zip([np.array(given) for given in current], self._views):  # they may be other views
                view[...] = given
            self.bind(self.parameters)
        return self.parameters

    def make_writable(self):
        """Copy arrays that lie in a read-only memory map (joblib.load with mmap_mode)."""
        if not self.current_parameters().flags.writeable:
            self.bind(aligned_copy(self.parameters))
        if self.training is not None:
            self.training.make_writable()

    def scale_inputs(self, X):
        return X if self.scaling is None else scaled(X, self.scaling)

    def scale_targets(self, y):
        return y if self.target_scaling is None else scaled(y, self.target_scaling)

    def unscale_targets(self, output):
        """Outputs in the units of y. Scaled outputs become float64, as float32 is too coarse for a large mean."""
        if self.target_scaling is None:
            return output
        mean, std = self.target_scaling
        return output.astype(np.float64) * std + mean

    def with_scaling_in_weights(self):
        """(network, parameters) for unscaled inputs and outputs."""
        parameters = self.current_parameters()
        if self.scaling is not None or self.target_scaling is not None:
            return self.network, folded(self.network, parameters, self.scaling, self.target_scaling)
        return self.network, parameters.copy()

    def __getstate__(self):
        """State for pickle, without the views, which would store every parameter twice, and the continuation."""
        self.current_parameters()
        return {name: value for name, value in vars(self).items() if name not in NOT_PICKLED}

    def __setstate__(self, state):
        vars(self).update(state)
        self.bind(self.parameters)

    def shallow_copy(self):
        """A copy that shares the parameters; its attributes can be replaced without changing this network."""
        other = object.__new__(type(self))
        vars(other).update(vars(self))
        return other

    def independent_copy(self):
        """A copy with separate parameters, unless they lie in a read-only memory map shared by joblib."""
        other = self.shallow_copy()
        other.training, other.progress, other.continuation = copy(self.training), copy(self.progress), None
        mapped = not self.parameters.flags.writeable
        other.bind(self.parameters if mapped else aligned_copy(self.parameters))
        return other

    def with_parameters(self, parameters):
        """A copy with other parameters, for predictions."""
        other = self.shallow_copy()
        if self.training is not None:
            other.training = self.training.with_parameters(parameters)
        other.bind(parameters)
        return other

    def to_dict(self):
        """State for a model file. Raises ValueError if parameters are not finite."""
        return {
            "network": tuple(self.network),
            "parameters": check_finite(self.current_parameters()),
            "noise": self.noise,
            "training": None if self.training is None else self.training.to_dict(),
            "progress": astuple(self.progress),
            "scaling": self.scaling,
            "target_scaling": self.target_scaling,
        }

    @classmethod
    def from_dict(cls, saved):
        """Create a network from the result of ``to_dict``. Raises ValueError if it is inconsistent."""
        check_entries(saved, OPTIONAL)
        network = check_saved_network(Network(*saved["network"]), saved["parameters"])
        sizes, parameters = network.sizes, aligned_copy(saved["parameters"])
        made = cls(network, parameters, saved["noise"] and check_saved_noise(Noise(*saved["noise"]), sizes))
        training = saved["training"]
        made.training = training and TrainingState.from_dict(training, network, parameters.dtype)
        if made.training is not None:
            made.training.drop_epoch_in_progress()  # of a checkpoint within an epoch, which estimators do not continue
        made.progress = check_progress(ToleranceState(*saved["progress"]), parameters)
        made.scaling = saved["scaling"] and check_saved_scaling(saved["scaling"], sizes[0])
        made.target_scaling = saved["target_scaling"] and check_saved_scaling(saved["target_scaling"], sizes[-1])
        made.bind(parameters)
        return made


def check_saved_network(network, parameters):
    """Return a network read from a file. Raises ValueError if it is invalid or does not match the parameters."""
    for size in network.sizes:
        check_integer("a layer's size", size, 1)
    if not 1 <= len(network.activations) == len(network.sizes) - 1:
        raise ValueError(f"{len(network.activations)} activations for {len(network.sizes)} layers")
    network = network._replace(skips=tuple(skip and Skip(*skip) for skip in network.skips))
    check_skips(network)
    network = network._replace(loss_options=Loss(network.loss, network.loss_options).options)
    check_network(network.activations, network.loss, network.sizes[-1], network.loss_options)
    if network.matmul_precision is False:  # in files of earlier versions
        network = network._replace(matmul_precision=HIGHEST)
    check_precision(network.matmul_precision)
    check_precision_of_dtype(network.matmul_precision, parameters.dtype)
    if parameters.shape != (network.n_parameters,) or parameters.dtype not in (np.float32, np.float64):
        raise ValueError(
            f"parameters are {parameters.dtype} of shape {parameters.shape}, which does not fit the network"
        )
    check_finite(parameters)
    return network


def check_saved_noise(noise, sizes):
    """Return a Noise read from a file. Raises ValueError if it does not fit a network of these sizes."""
    for rate in (noise.input_dropout, *noise.dropout):
        check_real("dropout", rate, 0, 1, open_high=True)
    check_real("input_std", noise.input_std, 0)
    check_integer("seed", noise.seed, 0)
    if len(noise.dropout) not in (0, len(sizes) - 1):
        raise ValueError(f"{len(noise.dropout)} dropout rates for {len(sizes)} layers")
    return noise


def check_progress(progress, parameters):
    """Return a ToleranceState read from a file. Raises ValueError if its weights do not match the parameters."""
    best = checked_record(progress).best_parameters
    if best is not None and (best.shape != parameters.shape or best.dtype != parameters.dtype):
        raise ValueError(f"the best parameters are {best.dtype} of shape {best.shape}")
    check_integer("epochs without improvement", progress.stalled, 0)
    return progress
