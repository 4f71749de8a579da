"""Fits as bytes: packed here, fitted in another process, and taken over into the models that were given.

What several fits have in common, such as X, is packed once, into a block. The rest is pickled by cloudpickle. Functions
and callbacks that come back with a model are replaced by those that were sent.
"""

import pickle
import warnings
from collections import Counter
from collections.abc import Mapping
from io import BytesIO
from types import FunctionType
from typing import Any, NamedTuple

import cloudpickle
import numpy as np
from sklearn.base import BaseEstimator

from .blocks import from_block, is_data, to_block
from .callbacks import Callback


class Result(NamedTuple):
    """What comes back of a Fit: the fitted model, the value that its function returned, or its error.

    ``warnings`` are pairs (category, text), ``callbacks`` the attributes of the callbacks in the Fit.
    """

    model: Any
    value: Any = None
    error: BaseException | None = None
    warnings: Any = ()
    callbacks: Any = ()


class Post:
    """Fits on their way to other processes.

    Parameters
    ----------
    fits : list of Fit
    backend : str
        Name of joblib's backend, for errors.

    Attributes
    ----------
    parcels : list of bytes
        The fits, which ``opened`` unpacks.
    positions : list of lists of int
        The indices of the blocks that each of them needs.
    blocks : list of ndarrays of bytes

    Raises
    ------
    TypeError
        If something cannot be pickled.
    """

    def __init__(self, fits, backend):
        self._fits, self._backend = fits, backend
        self._numbers, self._data, self._users = {}, [], []
        packed = [self._pack(index, fit) for index, fit in enumerate(fits)]
        streams, self._named = [stream for stream, _ in packed], [named for _, named in packed]
        n_users = Counter(id(one) for named in self._named for one in named)
        self._alone = {one for one, count in n_users.items() if count == 1}
        self.blocks, self.positions = [], [[] for _ in fits]
        own, shared = [{} for _ in fits], [[] for _ in fits]
        for number, (given, users) in enumerate(zip(self._data, self._users)):
            first, *others = sorted(users)
            if not others:
                own[first][number] = self._dump(cloudpickle.dumps, given, first)
                continue
            for index in users:
                shared[index].append(number)
                self.positions[index].append(len(self.blocks))
            self.blocks.append(self._dump(to_block, given, first))
        self.parcels = [pickle.dumps(parts) for parts in zip(streams, own, shared)]

    def _pack(self, index, fit):
        """The pickle of a Fit, and the functions and callbacks in it, which a second pickle in it lists."""
        file = BytesIO()
        packer = _Packer(file, lambda given: self._number(given, index))
        self._dump(packer.dump, fit, index)
        named = list(packer.named.values())
        packer.dump(named)
        return file.getvalue(), named

    def _number(self, given, index):
        number = self._numbers.setdefault(id(given), len(self._data))
        if number == len(self._data):
            self._data.append(given)
            self._users.append(set())
        self._users[number].add(index)
        return number

    def _dump(self, dump, given, index):
        try:
            return dump(given)
        except Exception as error:
            fit = self._fits[index]
            raise TypeError(
                f"joblib's backend {self._backend!r} sends models and arguments to other processes, but "
                f"{_culprit(fit)} of fit {index} cannot be pickled: {error}. Take out what belongs to this process, "
                "such as locks, open files and connections, or fit without this backend."
            ) from error

    def take_over(self, index, result):
        """Give the model of a Fit what came back, the bytes of a Result. Returns (value, error)."""
        fit, named = self._fits[index], self._named[index]
        found = Result(*_Unpacker(result, named.__getitem__).load())
        if found.model is not None:
            _take_over(fit.model, found.model)
        for callback, attributes in zip(_callbacks(named), found.callbacks):
            if id(callback) in self._alone:
                vars(callback).clear()
                vars(callback).update(attributes)
        for category, text in found.warnings:
            warnings.warn(text, category)
        return found.value, found.error


def opened(parcel, blocks):
    """Unpack a parcel. Returns (Fit, functions and callbacks in it); ``blocks`` are those that it needs."""
    stream, own, shared = pickle.loads(parcel)
    blocks, loaded = dict(zip(shared, blocks)), {}

    def load(number):
        if number not in loaded:
            loaded[number] = pickle.loads(own[number]) if number in own else from_block(blocks[number])
        return loaded[number]

    unpacker = _Unpacker(stream, load)
    return unpacker.load(), unpacker.load()


def packed_result(result, named):
    """The bytes of a Result; ``named`` is the second result of ``opened``."""
    callbacks = [vars(one) for one in _callbacks(named)]
    file, numbers = BytesIO(), {id(one): number for number, one in enumerate(named)}
    packer = cloudpickle.Pickler(file, protocol=5)
    packer.persistent_id = lambda given: numbers.get(id(given))
    packer.dump(tuple(result._replace(callbacks=callbacks)))
    return file.getvalue()


def _callbacks(named):
    return [one for one in named if isinstance(one, Callback)]


class _Packer(cloudpickle.Pickler):
    """Pickler that leaves out data and lists functions and callbacks."""

    def __init__(self, file, number_of):
        super().__init__(file, protocol=5)
        self._number_of, self.named = number_of, {}

    def persistent_id(self, given):
        if isinstance(given, (Callback, FunctionType)):
            self.named[id(given)] = given
        return self._number_of(given) if is_data(given) else None


class _Unpacker(pickle.Unpickler):
    """Unpickler that calls ``load`` with what ``persistent_id`` returned."""

    def __init__(self, stream, load):
        super().__init__(BytesIO(stream))
        self._load = load

    def persistent_load(self, number):
        return self._load(number)


def _culprit(fit):
    """Which part of a Fit cannot be pickled, in words."""
    given = dict(fit.arguments)
    for name, value in fit.arguments.items():
        if isinstance(value, Mapping):
            given |= {f"{name}[{key!r}]": one for key, one in value.items()}
    bad = [name for name, value in given.items() if not _can_be_pickled(value)]
    return f"the argument {bad[-1]}" if bad else "the model"


def _can_be_pickled(given):
    try:
        cloudpickle.dumps(given)
    except Exception:
        return False
    return True


def _take_over(model, fitted):
    """Give a model the attributes of a fitted copy, except for its parameters. A RandomState only gets the state."""
    kept = model.get_params(deep=False) if isinstance(model, BaseEstimator) else {}
    attributes = vars(fitted) | {name: value for name, value in vars(model).items() if name in kept}
    for name, value in vars(fitted).items():
        own = vars(model).get(name)
        if isinstance(value, np.random.RandomState) and isinstance(own, np.random.RandomState):
            own.set_state(value.get_state())
            attributes[name] = own
    vars(model).clear()
    vars(model).update(attributes)
