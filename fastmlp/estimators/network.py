"""The network that an estimator holds: one flat vector of parameters, its views, scaling and state of training."""

from copy import copy
from dataclasses import astuple

import numpy as np

from fastmlp.kernels.spec import Network, Noise, Skip, aligned_copy, layer_views
from fastmlp.model.losses import Loss
from fastmlp.training.scaling import check_saved_scaling, folded, scaled
from fastmlp.training.state import TrainingState, check_finite
from fastmlp.training.stopping import Progress
from fastmlp.validation.checks import check_integer, check_network, check_real

from .architecture import check_skips


class FittedNetwork:
    """A network with its parameters.

    Attributes
    ----------
    network : Network
    parameters : ndarray of shape (n_parameters,)
    coefs, intercepts : lists of arrays
        Views of ``parameters``, which users may replace by other arrays: ``current_parameters`` copies them in.
    noise : Noise or None
    training : TrainingState or None
        None before a fit, and after one by L-BFGS.
    progress : Progress
        State of the stopping rule.
    scaling, target_scaling : (mean, standard deviation) or None
        With the parameter ``scale``.
    """

    def __init__(self, network, parameters, noise):
        self.network, self.noise, self.training, self.progress = network, noise, None, Progress()
        self.scaling = self.target_scaling = None
        self.bind(parameters)

    def bind(self, parameters):
        """Use another vector of parameters."""
        self.parameters = parameters
        self.coefs, self.intercepts = layer_views(self.network, parameters)
        self._views = (*self.coefs, *self.intercepts)
        if self.training is not None:
            self.training.parameters = parameters

    def current_parameters(self):
        """The flat vector, after copying in any array that the user has put into coefs_ or intercepts_."""
        current = (*self.coefs, *self.intercepts)
        if any(given is not view for given, view in zip(current, self._views, strict=True)):
            for given, view in zip(current, self._views):
                if np.shape(given) != view.shape:
                    raise ValueError(f"coefs_ and intercepts_ must keep their shapes: {view.shape}, {np.shape(given)}.")
                view[...] = given
            self.bind(self.parameters)
        return self.parameters

    def make_writable(self):
        """Copy what came out of a read-only memory map (joblib.load with mmap_mode)."""
        if not self.current_parameters().flags.writeable:
            self.bind(aligned_copy(self.parameters))
        if self.training is not None and not self.training.slots.flags.writeable:
            self.training.slots = aligned_copy(self.training.slots)

    def scale_inputs(self, X):
        return X if self.scaling is None else scaled(X, self.scaling)

    def scale_targets(self, y):
        return y if self.target_scaling is None else scaled(y, self.target_scaling)

    def unscale_targets(self, output):
        """Outputs in the units of y, in float64 if they were scaled: float32 has no digits for a large mean."""
        if self.target_scaling is None:
            return output
        mean, std = self.target_scaling
        return output.astype(np.float64) * std + mean

    def with_scaling_in_weights(self):
        """(network, parameters) for inputs and outputs in the units of the user."""
        parameters = self.current_parameters()
        if self.scaling is not None or self.target_scaling is not None:
            parameters = folded(self.network, parameters, self.scaling, self.target_scaling)
        return self.network, parameters

    def __getstate__(self):
        """Without the views, which would pickle every parameter again."""
        self.current_parameters()
        return {name: value for name, value in vars(self).items() if name not in ("coefs", "intercepts", "_views")}

    def __setstate__(self, state):
        vars(self).update(state)
        self.bind(self.parameters)

    def shallow_copy(self):
        """The same parameters; other attributes may be set without changing this network."""
        other = object.__new__(type(self))
        vars(other).update(vars(self))
        return other

    def independent_copy(self):
        """Parameters of its own, unless they lie in a read-only memory map that joblib shares between processes."""
        other = self.shallow_copy()
        other.training, other.progress = copy(self.training), copy(self.progress)
        mapped = not self.parameters.flags.writeable
        other.bind(self.parameters if mapped else aligned_copy(self.parameters))
        return other

    def to_dict(self):
        """For a model file; ValueError if parameters are not finite."""
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
        """The network of ``to_dict``; ValueError if its parts do not fit together."""
        network = check_saved_network(Network(*saved["network"]), saved["parameters"])
        sizes, parameters = network.sizes, aligned_copy(saved["parameters"])
        made = cls(network, parameters, saved["noise"] and check_saved_noise(Noise(*saved["noise"]), sizes))
        training = saved["training"]
        made.training = training and TrainingState.from_dict(training, network, parameters.dtype)
        made.progress = check_progress(Progress(*saved["progress"]), parameters)
        made.scaling = saved["scaling"] and check_saved_scaling(saved["scaling"], sizes[0])
        made.target_scaling = saved["target_scaling"] and check_saved_scaling(saved["target_scaling"], sizes[-1])
        made.bind(parameters)
        return made


def check_saved_network(network, parameters):
    """The network of a file, if it is one and these are its parameters; else a ValueError."""
    for size in network.sizes:
        check_integer("a layer's size", size, 1)
    if not 1 <= len(network.activations) == len(network.sizes) - 1:
        raise ValueError(f"{len(network.activations)} activations for {len(network.sizes)} layers")
    network = network._replace(skips=tuple(skip and Skip(*skip) for skip in network.skips))
    check_skips(network)
    check_network(network.activations, network.loss, network.sizes[-1])
    Loss(network.loss, network.loss_options)
    if parameters.shape != (network.n_parameters,) or parameters.dtype not in (np.float32, np.float64):
        raise ValueError(f"parameters are {parameters.dtype} of shape {parameters.shape}")
    check_finite(parameters)
    return network


def check_saved_noise(noise, sizes):
    """The noise of a file, if it is one for a network of these sizes."""
    for rate in (noise.input_dropout, *noise.dropout):
        check_real("dropout", rate, 0, 1, open_high=True)
    check_real("input_std", noise.input_std, 0)
    if len(noise.dropout) not in (0, len(sizes) - 1):
        raise ValueError(f"{len(noise.dropout)} rates of dropout for {len(sizes)} layers")
    return noise


def check_progress(progress, parameters):
    """The Progress of a file, if its weights are those of a network with these parameters."""
    best = progress.best_parameters
    if best is not None and (best.shape != parameters.shape or best.dtype != parameters.dtype):
        raise ValueError(f"the best parameters are {best.dtype} of shape {best.shape}")
    check_integer("epochs without improvement", progress.stalled, 0)
    return progress
