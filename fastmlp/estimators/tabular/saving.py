"""State of the table estimators in model files."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Self

import numpy as np

from fastmlp.estimators.sharing import SharesCommunicator
from fastmlp.io.model_files import Savable
from fastmlp.model.exclusive import UsedByThreads
from fastmlp.model.mlp import MLP
from fastmlp.tables import TableEncoder

OF_FOLDS = "oof_prediction_", "score_", "_oof_errors"  # attributes after a fit with folds


class SavableTabular(UsedByThreads, Savable, SharesCommunicator):
    """Base class of estimators with a TableEncoder, targets and members, with ``save`` and ``load``."""

    encoder_: TableEncoder
    members_: list[MLP]
    _targets: Any  # LabelTargets or NumberTargets

    @abstractmethod
    def _check_parameters(self):
        """Raise ValueError for invalid parameters."""

    @abstractmethod
    def _restore_targets(self, saved):
        """Set the targets of ``saved_state``."""

    @abstractmethod
    def _n_outputs(self):
        """Number of outputs of the trained members."""

    def _set_encoder(self, encoder):
        self.encoder_, self.n_features_in_ = encoder, encoder.n_features_in_
        vars(self).pop("feature_names_in_", None)
        if hasattr(encoder, "feature_names_in_"):
            self.feature_names_in_ = encoder.feature_names_in_

    def saved_state(self) -> dict[str, Any]:
        """The state of this estimator as stored in a model file, a dict; ValueError for invalid parameters."""
        self._check_parameters()  # a file with wrong ones is refused
        saved: dict[str, Any] = {"params": self.get_params(deep=False) | {"communicator": None}}
        if hasattr(self, "members_"):
            saved["fitted"] = {
                "encoder": self.encoder_.saved_state(),
                "targets": self._targets._asdict(),
                "members": [member.saved_state() for member in self.members_],
                "folds": {name: getattr(self, name) for name in OF_FOLDS if hasattr(self, name)},
            }
        return saved

    @classmethod
    def from_saved_state(cls, saved: dict[str, Any]) -> Self:
        """Create an estimator from the result of ``saved_state``."""
        model = cls(**saved["params"])
        model._check_parameters()
        if "fitted" in saved:
            fitted = saved["fitted"]
            model._set_encoder(TableEncoder.from_saved_state(fitted["encoder"]))
            model._restore_targets(fitted["targets"])
            model.members_ = [MLP.from_saved_state(member) for member in fitted["members"]]
            model._check_members()
            model.__dict__.update(_checked_folds(fitted["folds"]))
        return model

    def _check_members(self):
        """Raise ValueError unless the members fit the columns and the targets."""
        if not self.members_:
            raise ValueError("there are no members")
        sizes = len(self.encoder_.encoded), self._n_outputs()
        for member in self.members_:
            found = member.network.n_columns, member.layers[-1].units
            if found != sizes:
                raise ValueError(f"a member has {found} inputs and outputs, but the table makes {sizes}")


def _checked_folds(saved):
    """The attributes of a fit with folds from a file; ValueError unless they are finite numbers."""
    for name, value in saved.items():
        kind = float if name == "score_" else np.ndarray
        if name not in OF_FOLDS or type(value) is not kind or not np.isfinite(value).all():
            raise ValueError(f"{name} is {value!r}")
    return saved
