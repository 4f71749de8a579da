"""Scores and callbacks of rank 0, whose results all ranks get, and the state that callbacks may change."""

from fastmlp.kernels.spec import aligned_copy
from fastmlp.training.callbacks import CombinedCallbacks
from fastmlp.training.trainer import Scorer

from .digests import digest_of
from .errors import is_on_all_ranks


class LeadersScorer(Scorer):
    """A Scorer that computes the scores of another one on rank 0 only."""

    def __init__(self, ranks, scorer):
        self._ranks, self._scorer = ranks, scorer

    def score(self):
        results, monitored = self._ranks.decide(self._scorer.score)
        if not self._ranks.leads:
            self._scorer.record(results)
        return results, monitored


class LeadersStopping:
    """A stopping rule (training/stopping.py) of which rank 0 decides when to stop, and what the learning rate becomes.

    Callbacks may have changed its limits there.
    """

    def __init__(self, ranks, stopping, state):
        self._ranks, self._stopping, self._state = ranks, stopping, state

    def __getattr__(self, name):
        return getattr(self._stopping, name)

    def was_over(self):
        return self._decide(self._stopping.was_over)

    def is_over(self):
        return self._decide(self._stopping.is_over)

    def _decide(self, rule):
        over, self._state.optimizer = self._ranks.decide(lambda: (rule(), self._state.optimizer))
        return over


class LeadersCallbacks(CombinedCallbacks):
    """CombinedCallbacks of which only those of rank 0 are called; other ranks stop when these ask for it.

    What they change in the TrainingState reaches the other ranks before the next epoch, and what they change in
    attributes of the model at once. ``changeable`` are those attributes: {name to read: name to set}.
    """

    def __init__(self, ranks, callbacks, state, changeable):
        self._ranks, self._callbacks, self._state = ranks, callbacks, state
        self._given, self._within = ranks.broadcast((bool(callbacks), callbacks.listens_within()))
        self._changeable, self.stop = changeable, False

    def __bool__(self):
        return self._given

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        if self._given and (error is None or is_on_all_ranks(error)):
            self._decide(lambda: self._callbacks.__exit__(kind, error, traceback))
        elif self._ranks.leads:
            self._callbacks.__exit__(kind, error, traceback)

    def before_epoch(self):
        if self._given:
            self._decide(self._callbacks.before_epoch)
            synchronise(self._ranks, self._state)

    def within_epoch(self, state):
        if self._within and not isinstance(state.order, range):  # an epoch that cannot be continued from a file
            self._ranks.decide(lambda: self._callbacks.within_epoch(state))

    def after_epoch(self, results):
        self.stop = self._decide(lambda: self._callbacks.after_epoch(results))
        return self.stop

    def _decide(self, call):
        """What a call of the callbacks returns on rank 0; the other ranks get what it has changed in the model."""
        model = self._callbacks.model

        def changing():
            before = {name: getattr(model, name) for name in self._changeable}
            returned, after = call(), {name: getattr(model, name) for name in self._changeable}
            return returned, {name: after[name] for name in after if after[name] is not before[name]}

        returned, changes = self._ranks.decide(changing)
        if not self._ranks.leads:
            for name, value in changes.items():
                setattr(model, self._changeable[name], value)
        return returned


def synchronise(ranks, state):
    """Give all ranks the TrainingState of rank 0, in place."""
    own = state.__getstate__()
    digest = digest_of(own.values())
    if not ranks.any(digest != ranks.broadcast(digest)):
        return
    given = ranks.broadcast(own)
    if not ranks.leads:
        with state.rewriting():
            state.parameters[...] = given.pop("parameters")
        given["slots"] = aligned_copy(given["slots"])
        vars(state).update(given)
