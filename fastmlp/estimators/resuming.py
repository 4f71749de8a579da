"""Resume a fit of an estimator from a checkpoint, with the results of a fit that was never interrupted.

The beginning of the fit is repeated from the same random numbers: it checks the data, holds out validation samples and
scales. Then weights, optimizer, random numbers and curves are those of the checkpoint.
"""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import joblib
import numpy as np
from scipy.sparse import issparse

from fastmlp.backends import registry
from fastmlp.backends.device_arrays import to_host
from fastmlp.io.atomic import path_text
from fastmlp.io.model_files import IncompatibleState, fingerprint, load_with
from fastmlp.kernels.spec import aligned_copy
from fastmlp.training.full_batch import is_full_batch
from fastmlp.training.state import TrainingState
from fastmlp.validation.checks import check_flags

from .architecture import schedule_of

# Parameters that may differ from those of the checkpoint.
_FREE = {"max_iter", "n_jobs", "verbose"}
_RESULTS = (
    "n_iter_", "t_", "loss_", "loss_curve_", "best_loss_", "validation_scores_", "best_validation_score_",
    "_initial_rate",
)  # fmt: skip
_REMEDY = "Resume with what the fit was begun with, or begin a new one without resume_from."


class OngoingFit:
    """What the checkpoints of a fit hold beside the estimator. Made before the first random numbers are drawn.

    Attributes
    ----------
    data : (Samples, Samples or None)
        Training samples, and those held out by early stopping.
    shuffle : Shuffle or None
    """

    data, shuffle = None, None

    def __init__(self, estimator, call):
        self._estimator, self._call = estimator, call
        self._begun, self._params = _copy_of(estimator._random_state), _comparable(estimator)
        if call.checkpoint is not None:  # callbacks may have changed parameters before it was written
            self._params = call.checkpoint.params | {name: self._params[name] for name in _FREE}
        self._has_ended, self._is_lost, self._interrupted = False, False, None

    @cached_property
    def digest(self):
        """Hash of what the fit is made with: samples, validation and evaluation sets."""
        stream, evaluation = self._call.stream, self._call.evaluation
        given = [
            _plain(self.data), _plain(getattr(self._estimator, "classes_", None)),
            stream and (stream.n_blocks, stream.n_samples, stream.shuffle_blocks),
            evaluation and (_plain(tuple(evaluation.sets.values())), evaluation.names()),
        ]  # fmt: skip
        return joblib.hash(given)

    def end(self):
        """From now on the estimator is the result of the fit."""
        self._has_ended = True

    def interrupt(self, second):
        """Keep the place of a fit that Ctrl-C ends, before best weights are restored; a second one may have lost it."""
        self._is_lost, training = second, self._estimator._net.training
        if training is not None:
            self._interrupted = training.__getstate__() | {"parameters": training.parameters.copy()}

    def to_dict(self):
        """Entry of a model file; None if the fit cannot be resumed."""
        if self._is_lost:
            return None
        place = {
            "training": self._interrupted,
            "order": None if self.shuffle is None else self.shuffle.last,
            "stopped": self._call.callbacks.stop,
        }
        return {
            "params": self._params, "begun": self._begun, "random_state": self._estimator._random_state,
            "first_pass": self._call.first_pass, "data": self.digest, "place": None if self._has_ended else place,
        }  # fmt: skip


class Place(NamedTuple):
    """Where a fit was: ``order`` is that of the last epoch, ``stopped`` says whether a callback has ended the fit."""

    training: TrainingState | None  # None for a full-batch solver
    order: np.ndarray | None
    stopped: bool


class SavedFit:
    """A fit from a checkpoint.

    Attributes
    ----------
    model : MLPClassifier or MLPRegressor
        The estimator in the file.
    params : dict
        The parameters that the fit was begun with.
    begun, random_state : RandomState
        Random state at the beginning of the fit, and at the checkpoint.
    place : Place or None
        None if the fit has ended.
    """

    def __init__(self, model, saved):
        ongoing, net = saved.get("ongoing"), model._net
        if ongoing is None or net is None:
            raise _NotACheckpoint
        self.model, self.params = model, ongoing["params"]
        if self.params.keys() != _comparable(model).keys():
            raise IncompatibleState("it has other parameters")
        self.begun, self.random_state = map(_copy_of, (ongoing["begun"], ongoing["random_state"]))
        (self._first_pass,) = check_flags(first_pass=ongoing["first_pass"])
        self._digest, self.place, place = ongoing["data"], None, ongoing["place"]
        if place is not None:
            training, order = place["training"] or saved["net"]["training"], place["order"]
            if is_full_batch(model.solver):
                training = None
            else:
                training = TrainingState.from_dict(training, net.network, net.parameters.dtype)
            if order is not None and (order.dtype != np.int64 or np.any(np.sort(order) != np.arange(len(order)))):
                raise ValueError("the order of the last epoch is not a permutation of the samples")
            self.place = Place(training, order, *check_flags(stopped=place["stopped"]))

    def begin(self, estimator, call):
        """Give an estimator what it had when the fit was begun, so that its beginning can be repeated.

        Returns the FitCall. Raises ValueError if the parameters differ.
        """
        own = _comparable(estimator)
        for name in sorted(own.keys() - _FREE):
            saved = self.params[name]
            if not _is_same(own[name], saved):
                raise ValueError(f"the checkpoint has {name}={saved!r}, but the estimator {own[name]!r}. {_REMEDY}")
        rate = estimator.learning_rate
        if schedule_of(rate, estimator.max_iter) != schedule_of(rate, self.params["max_iter"]):
            raise ValueError(
                f"learning_rate={rate!r} depends on max_iter, which is {self.params['max_iter']} in "
                f"the checkpoint, not {estimator.max_iter}. {_REMEDY}"
            )
        if self.place is not None and is_full_batch(estimator.solver):
            raise ValueError(
                f"a fit by solver={estimator.solver!r} cannot be resumed, because the solver keeps its state to "
                "itself: load the checkpoint, and set warm_start=True for a new fit from its weights."
            )
        if self.model.n_iter_ > estimator.max_iter:
            raise ValueError(
                f"max_iter={estimator.max_iter}, but the checkpoint is that of {self.model.n_iter_} iterations. "
                f"{_REMEDY}"
            )
        if self.place is None and self.params["max_iter"] == self.model.n_iter_ < estimator.max_iter:
            raise ValueError(
                f"the fit of the checkpoint has ended after max_iter={self.params['max_iter']} iterations: load the "
                "estimator, and fit it with warm_start=True for more."
            )
        self._take_attributes(estimator)
        return call._replace(first_pass=self._first_pass, random_state=_copy_of(self.begun))

    def check(self, ongoing, network):
        """Raise ValueError unless data and network are those of the fit."""
        if self.model._net.network != network:
            raise ValueError(
                f"the checkpoint has a network of layer sizes {self.model._net.network.sizes}, but the data and "
                f"parameters of this fit make another one, of {network.sizes}. {_REMEDY}"
            )
        if self._digest != ongoing.digest:
            raise ValueError(
                "the checkpoint is that of a fit to other data: X, y, sample_weight or evaluation sets differ (in "
                f"value, order or dtype). {_REMEDY}"
            )

    def _take_attributes(self, estimator):
        vars(estimator).update({name: value for name, value in vars(self.model).items() if name not in self.params})

    def _take_generator(self, estimator):
        """Continue with the random numbers of the checkpoint, in the RandomState of the user if there is one."""
        given = estimator.random_state
        estimator._random_state = given if isinstance(given, np.random.RandomState) else _copy_of(self.random_state)
        estimator._random_state.set_state(self.random_state.get_state())

    def take_result(self, estimator):
        """Give the estimator the result of a fit that has ended."""
        self._take_attributes(estimator)
        self._take_generator(estimator)

    def take_state(self, estimator):
        """Continue with the weights, optimizer and random numbers of the checkpoint."""
        net = estimator._net
        self._take_generator(estimator)
        net.training = self.place.training
        net.bind(aligned_copy(net.training.parameters))

    def backend(self):
        """The Backend that 'auto' has chosen before, or None if it does not work here."""
        name, chosen = self.model.backend_, registry.choose()
        if chosen.name == name:
            return chosen
        return registry.choose(name)._replace(reason="that of the checkpoint") if registry.works(name) else None

    def take_results(self, estimator, call):
        """Continue the stopping rule, curves and counts, and apply parameters that callbacks had changed."""
        estimator._net.progress = self.model._net.progress
        for name in _RESULTS:
            if hasattr(self.model, name):
                setattr(estimator, name, getattr(self.model, name))
        if call.evaluation is not None:
            for name, of_set in self.model.evals_result_.items():
                for metric, scores in of_set.items():
                    call.evaluation.results[name][metric] += scores
        now = _comparable(self.model)
        for name in now.keys() - _FREE:
            if not _is_same(now[name], self.params[name]):
                setattr(estimator, name, getattr(self.model, name))
        call.callbacks.continue_from(estimator.n_iter_)


class _NotACheckpoint(Exception):
    """Raised for a model file that no Checkpoint has written in a fit."""


def read_checkpoint(kind, path):
    """The SavedFit in a file of a Checkpoint of an estimator of class ``kind``."""

    def make(cls, saved):
        return SavedFit(cls.from_saved_state(saved), saved)

    path = path_text(path, "resume_from")
    try:
        return load_with(make, path, kind)
    except _NotACheckpoint:
        raise ValueError(
            f"{path} is no checkpoint that a fit can be resumed from: it was saved after a fit or by an earlier "
            "version, or the fit was cut off by a second Ctrl-C. Pass the path of a fastmlp.Checkpoint of the fit."
        ) from None


def _comparable(estimator):
    """The parameters, with None for what a model file cannot hold and what changes by being used."""
    params = estimator.get_params(deep=False) | {"communicator": None}
    if isinstance(params["random_state"], np.random.RandomState):
        params["random_state"] = "a RandomState"
    return params


def _is_same(one, other):
    """Whether two values of a parameter would be written to a model file in the same way."""
    try:
        return fingerprint(one) == fingerprint(other)
    except TypeError:  # a file cannot hold one of them
        return False


def _copy_of(random_state):
    """A RandomState that draws the same numbers."""
    copy = np.random.RandomState()
    copy.set_state(random_state.get_state())
    return copy


def _plain(given):
    """Arrays and nested tuples of what may be data frames or sparse matrices, for a hash of their values."""
    if isinstance(given, (tuple, list)):
        return tuple(map(_plain, given))
    if issparse(given):
        rows = given.tocsr()
        return rows.data, rows.indices, rows.indptr, rows.shape
    return None if given is None else np.ascontiguousarray(to_host(given))
