"""State of an estimator in model files and in pickles."""

from __future__ import annotations

from copy import deepcopy
from typing import Any, Self

from fastmlp.io.model_files import IncompatibleState, Savable
from fastmlp.model.exclusive import UsedByThreads

from .network import FittedNetwork
from .sharing import SharesCommunicator

# Attributes that fit sets, apart from the network.
FITTED = (
    "feature_names_in_", "classes_", "n_iter_", "t_", "loss_", "loss_curve_", "best_loss_", "validation_scores_",
    "best_validation_score_", "backend_", "backend_reason_", "_label_type", "_sparse_labels", "_targets",
    "evals_result_", "_initial_rate", "alpha_", "effective_parameters_",
)  # fmt: skip
NOT_SHARED = {"loss_curve_", "validation_scores_", "evals_result_"}


class SavableEstimator(UsedByThreads, Savable, SharesCommunicator):
    """Base class of estimators that hold a FittedNetwork, with ``save``, ``load`` and pickling."""

    _net: Any = None  # a FittedNetwork
    _ongoing: Any = None  # an OngoingFit during a fit, for its checkpoints

    def __getstate__(self):
        state = super().__getstate__()
        state.pop("_ongoing", None)
        return state

    def __setstate__(self, state):
        super().__setstate__(state)
        if self._net is not None:
            for name in NOT_SHARED & state.keys():  # shared with the original by copy.copy
                setattr(self, name, deepcopy(state[name]))
            self._net = self._net.independent_copy()

    def saved_state(self) -> dict[str, Any]:
        """The state of this estimator as stored in a model file, a dict."""
        saved = {"params": self.get_params(deep=False) | {"communicator": None}}
        if self._net is not None:
            saved["fitted"] = {name: getattr(self, name) for name in FITTED if hasattr(self, name)}
            saved["net"] = self._net.to_dict()
            if self._ongoing is not None:
                saved["ongoing"] = self._ongoing.to_dict()
        return saved

    @classmethod
    def from_saved_state(cls, saved: dict[str, Any]) -> Self:
        """Create an estimator from the result of ``saved_state``."""
        if "fitted" in saved and "net" not in saved:
            raise IncompatibleState(f"a fitted {cls.__name__} without a network")
        model = cls(**saved["params"])
        if "net" in saved:
            for name in FITTED:
                if name in saved["fitted"]:
                    setattr(model, name, saved["fitted"][name])
            model._net = FittedNetwork.from_dict(saved["net"])
            network = model._net.network
            model.n_features_in_, model.n_outputs_ = network.sizes[0], network.sizes[-1]
            model.n_layers_, model.out_activation_ = len(network.sizes), network.activations[-1]
            model._check_outputs()
        return model
