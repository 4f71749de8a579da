"""An estimator's parameters: one flat vector seen through coefs_ and intercepts_, in memory, pickles and files."""

from copy import copy, deepcopy
from dataclasses import astuple

import numpy as np

from fastmlp.io.model_files import Savable
from fastmlp.kernels.spec import Network, Noise, Skip, aligned_copy, layer_views
from fastmlp.model.choices import check_loss
from fastmlp.training.scaling import check_saved_scaling
from fastmlp.training.state import TrainingState, check_finite
from fastmlp.training.stopping import Progress
from fastmlp.validation.checks import check_integer, check_network, check_real

from .architecture import check_skips

# What fit leaves behind, beside the network and its training state.
FITTED = (
    "feature_names_in_", "classes_", "n_iter_", "t_", "loss_", "loss_curve_", "best_loss_", "validation_scores_",
    "best_validation_score_", "backend_", "backend_reason_", "_label_type",
    "_sparse_labels", "_noise", "_targets", "evals_result_", "_scaling", "_target_scaling",
    "_initial_rate",
)  # fmt: skip


NOT_SHARED = {"loss_curve_", "validation_scores_", "evals_result_"}


def check_saved_network(network, parameters):
    """The network of a file, if it is one and these are its parameters; else a ValueError."""
    for size in network.sizes:
        check_integer("a layer's size", size, 1)
    if not 1 <= len(network.activations) == len(network.sizes) - 1:
        raise ValueError(f"{len(network.activations)} activations for {len(network.sizes)} layers")
    network = network._replace(skips=tuple(skip and Skip(*skip) for skip in network.skips))
    check_skips(network)
    check_network(network.activations, network.loss, network.sizes[-1])
    check_loss((network.loss, network.loss_options))
    if parameters.shape != (network.n_parameters,) or parameters.dtype not in (np.float32, np.float64):
        raise ValueError(f"parameters are {parameters.dtype} of shape {parameters.shape}")
    check_finite(parameters)
    return network


def check_progress(progress, parameters):
    """The Progress of a file, if its weights are those of a network with these parameters."""
    best = progress.best_parameters
    if best is not None and (best.shape != parameters.shape or best.dtype != parameters.dtype):
        raise ValueError(f"the best parameters are {best.dtype} of shape {best.shape}")
    check_integer("epochs without improvement", progress.stalled, 0)
    return progress


def check_saved_noise(noise, sizes):
    """The noise of a file, if it is one for a network of these sizes."""
    for rate in (noise.input_dropout, *noise.dropout):
        check_real("dropout", rate, 0, 1, open_high=True)
    check_real("input_deviation", noise.input_deviation, 0)
    if len(noise.dropout) not in (0, len(sizes) - 1):
        raise ValueError(f"{len(noise.dropout)} rates of dropout for {len(sizes)} layers")
    return noise


class FlatParameters(Savable):
    """Mixin of the estimators: ``_parameters``, its views, and everything that copies them."""

    def _bind(self, parameters):
        """Make ``parameters`` the model's, with coefs_ and intercepts_ as views of it."""
        self._parameters = parameters
        self.coefs_, self.intercepts_ = layer_views(self._network, parameters)
        self._views = (*self.coefs_, *self.intercepts_)
        if self._training is not None:
            self._training.parameters = parameters

    def _current_parameters(self):
        """The flat vector, after copying in any array that the user has put into coefs_ or intercepts_."""
        current = (*self.coefs_, *self.intercepts_)
        if any(given is not view for given, view in zip(current, self._views, strict=True)):
            for given, view in zip(current, self._views):
                if np.shape(given) != view.shape:
                    raise ValueError(f"coefs_ and intercepts_ must keep their shapes: {view.shape}, {np.shape(given)}.")
                view[...] = given
            self._bind(self._parameters)
        return self._parameters

    def _make_writable(self):
        """Copy what came out of a read-only memory map (joblib.load with mmap_mode)."""
        if not self._current_parameters().flags.writeable:
            self._bind(aligned_copy(self._parameters))
        if self._training is not None and not self._training.slots.flags.writeable:
            self._training.slots = aligned_copy(self._training.slots)

    def __getstate__(self):
        """Without the views, which would pickle every parameter again."""
        views = ("coefs_", "intercepts_", "_views")
        if hasattr(self, "_views"):
            self._current_parameters()
        return {key: value for key, value in super().__getstate__().items() if key not in views}

    def __setstate__(self, state):
        super().__setstate__(state)
        if "_parameters" in state:
            for name in NOT_SHARED & state.keys():  # by a shallow copy, which goes on by itself
                setattr(self, name, deepcopy(state[name]))
            self._training, self._progress = copy(self._training), copy(self._progress)
            mapped = not self._parameters.flags.writeable  # by joblib, and shared with other processes
            self._bind(self._parameters if mapped else aligned_copy(self._parameters))

    def saved_state(self):
        """What a model file holds of this estimator."""
        saved = {"params": self.get_params(deep=False)}
        if hasattr(self, "coefs_"):
            saved |= {
                "fitted": {name: getattr(self, name) for name in FITTED if hasattr(self, name)},
                "progress": astuple(self._progress),
                "network": tuple(self._network),
                "parameters": check_finite(self._current_parameters()),
                "training": None if self._training is None else self._training.to_dict(),
            }
        return saved

    @classmethod
    def from_saved_state(cls, saved):
        """The estimator of ``saved_state``."""
        model = cls(**saved["params"])
        if "network" in saved:
            for name in FITTED:
                if name in saved["fitted"]:
                    setattr(model, name, saved["fitted"][name])
            model._network = check_saved_network(Network(*saved["network"]), saved["parameters"])
            parameters = aligned_copy(saved["parameters"])
            training = saved["training"]
            model._progress = check_progress(Progress(*saved["progress"]), parameters)
            model._training = training and TrainingState.from_dict(training, model._network, parameters.dtype)
            model._bind(parameters)
            sizes = model._network.sizes
            model.n_features_in_, model.n_outputs_, model.n_layers_ = sizes[0], sizes[-1], len(sizes)
            model.out_activation_ = model._network.activations[-1]
            model._check_outputs()
            model._noise = model._noise and check_saved_noise(Noise(*model._noise), sizes)
            model._scaling = model._scaling and check_saved_scaling(model._scaling, sizes[0])
            targets = model._target_scaling
            model._target_scaling = targets and check_saved_scaling(targets, sizes[-1])
        return model
