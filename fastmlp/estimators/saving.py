"""State of an estimator in model files and in pickles."""

from __future__ import annotations

from abc import abstractmethod
from copy import deepcopy
from types import NoneType
from typing import Any, Self

import numpy as np

from fastmlp.io.model_files import IncompatibleState, Savable
from fastmlp.model.exclusive import UsedByThreads
from fastmlp.model.saving import check_saved_names
from fastmlp.validation.entries import check_entries

from .network import FittedNetwork
from .sharing import SharesCommunicator

# Attributes that fit sets, apart from the network, and their types.
FITTED: dict[str, Any] = {
    "feature_names_in_": np.ndarray,
    "classes_": np.ndarray,
    "n_iter_": int,
    "t_": int,
    "loss_": float,
    "loss_curve_": list[float],
    "best_loss_": float | None,
    "validation_scores_": list[float] | None,
    "best_validation_score_": float | None,
    "backend_": str,
    "backend_reason_": str,
    "_label_type": str,
    "_sparse_labels": bool,
    "_targets": tuple[float, float] | None,
    "evals_result_": dict[str, dict[str, list[float]]],
    "_initial_rate": float,
    "alpha_": float,
    "effective_parameters_": float,
}
PARAMETERS: dict[str, Any] = {  # more than their constraints say
    "communicator": NoneType,
    "hidden_layer_sizes": int | list[int] | tuple[int, ...] | np.ndarray,
    "target_values": list[float] | tuple[float, ...] | np.ndarray,
}
NOT_SHARED = {"loss_curve_", "validation_scores_", "evals_result_"}


class SavableEstimator(UsedByThreads, Savable, SharesCommunicator):
    """Base class of estimators that hold a FittedNetwork, with ``save``, ``load`` and pickling."""

    _net: Any = None  # a FittedNetwork
    _ongoing: Any = None  # an OngoingFit during a fit, for its checkpoints

    def __getstate__(self):
        state = super().__getstate__()
        state.pop("_ongoing", None)
        return state

    @abstractmethod
    def check_parameters(self) -> None:
        """Raise ValueError for invalid parameters."""

    def __setstate__(self, state):
        super().__setstate__(state)
        if self._net is not None:
            for name in NOT_SHARED & state.keys():  # shared with the original by copy.copy
                setattr(self, name, deepcopy(state[name]))
            self._net = self._net.independent_copy()

    def saved_state(self) -> dict[str, Any]:
        """The state of this estimator as stored in a model file, a dict; ValueError for invalid parameters."""
        self.check_parameters()  # a file with wrong ones is refused
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
        check_entries(saved["params"], PARAMETERS)
        model = cls(**saved["params"])
        model.check_parameters()
        if "net" in saved:
            check_entries(saved["fitted"], FITTED)
            for name in FITTED:
                if name in saved["fitted"]:
                    setattr(model, name, saved["fitted"][name])
            model._net = FittedNetwork.from_dict(saved["net"])
            network = model._net.network
            model.n_features_in_, model.n_outputs_ = network.sizes[0], network.sizes[-1]
            model.n_layers_, model.out_activation_ = len(network.sizes), network.activations[-1]
            if hasattr(model, "feature_names_in_"):
                check_saved_names(model.feature_names_in_, network.n_columns)
            model._check_outputs()
        return model
