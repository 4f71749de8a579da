"""Model files: safetensors with a small versioned JSON header. Loading never executes code from the file.

Values are None, booleans, numbers, strings, lists, tuples, dicts, NumPy arrays, numpy.random.RandomState and the
classes of SETTINGS; saving anything else raises TypeError. Numeric arrays become tensors.
"""

from __future__ import annotations

import json
import zlib
from contextlib import AbstractContextManager, nullcontext
from dataclasses import fields
from importlib import import_module
from typing import Any, Self

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as to_bytes

from fastmlp.typing import StrPath

from .atomic import path_text, write_whole

VERSION = 1
KINDS = {
    "MLP": "fastmlp.model.mlp",
    "MLPClassifier": "fastmlp.estimators.classifier",
    "MLPRegressor": "fastmlp.estimators.regressor",
    "MLPEnsembleClassifier": "fastmlp.estimators.ensemble",
    "MLPEnsembleRegressor": "fastmlp.estimators.ensemble",
    "TabularMLPClassifier": "fastmlp.estimators.tabular.classifier",
    "TabularMLPRegressor": "fastmlp.estimators.tabular.regressor",
    "TableEstimator": "fastmlp.cli.table_estimator",
    "TableModel": "fastmlp.cli.table_model",
}
# Immutable settings of models: written as the tuple of their fields, and checked when they are made again.
SETTINGS = {
    "Layer": "fastmlp.model.layer",
    "Plain": "fastmlp.model.inputs",
    "OneHot": "fastmlp.model.inputs",
    "Embedding": "fastmlp.model.inputs",
    "Periodic": "fastmlp.model.inputs",
    "PiecewiseLinear": "fastmlp.model.inputs",
    "Loss": "fastmlp.model.losses",
    "Optimizer": "fastmlp.model.optimizers",
    "Schedule": "fastmlp.training.schedules",
}


class ModelFileError(ValueError):
    """Raised for files that are not fastmlp models, are damaged, or were written by an incompatible version."""


class IncompatibleState(Exception):
    """Raised for a saved state of another version; ``load`` raises a ModelFileError in its place."""


def save(model, path):
    """Save a model (an instance of one of KINDS), replacing an existing file only when the new one is complete.

    Raises
    ------
    TypeError
        For a subclass, or for a parameter that a model file cannot hold. Use pickle for these.
    ValueError
        If weights are NaN or infinite.
    OSError
        If the file cannot be written, or if ``path`` is a folder, a device or a pipe.
    RuntimeError
        If another thread is fitting the model.
    """
    tensors, kind = {}, kind_of(model)
    with model._unchanging():
        header = {"version": VERSION, "kind": kind, "state": encode(model.saved_state(), tensors)}
        text = json.dumps(header)
        content = to_bytes(tensors, metadata={"fastmlp": text, "crc32": checksum(text, tensors)})
    write_whole(path, content)


def checksum(header, tensors):
    """CRC-32 of the header and the tensors, including names, dtypes and shapes.

    It detects damage, not forgery. SHA-256 would nearly double the time of loading, BLAKE2 more than double it.
    """
    crc = zlib.crc32(header.encode())
    for name, tensor in sorted(tensors.items()):
        little_endian = np.ascontiguousarray(tensor, tensor.dtype.newbyteorder("<"))  # as in the file
        crc = zlib.crc32(f"{name} {tensor.dtype.name} {tensor.shape}".encode(), crc)
        crc = zlib.crc32(little_endian.reshape(-1).view(np.uint8), crc)
    return f"{crc:08x}"


def fingerprint(value):
    """Text that is the same for values which a model file holds in the same way."""
    tensors: dict[str, np.ndarray] = {}
    text = json.dumps(encode(value, tensors))
    return f"{text} {checksum(text, tensors)}"


def kind_of(model):
    """The name of the model's class in KINDS; TypeError for any other class, including subclasses."""
    kind = type(model).__name__
    if type(model).__module__ != KINDS.get(kind):
        raise TypeError(
            f"a model file can hold {', '.join(KINDS)}, but no subclasses such as {kind}: use pickle or joblib."
        )
    return kind


def load(path: StrPath, kind: str | None = None) -> Any:
    """Load a model from a file written by ``save``.

    Parameters
    ----------
    path : str or Path
    kind : str or None
        Name of the expected class, such as 'MLPClassifier'; None allows any.

    Returns
    -------
    MLP, MLPClassifier, MLPRegressor or any other class in KINDS

    Raises
    ------
    ModelFileError
        If the file is not a fastmlp model, is truncated or damaged, holds another class, was written by an
        incompatible version, or has weights that are NaN or infinite.
    OSError
        If the file cannot be opened.
    ValueError
        If ``kind`` is not the name of a class.
    """
    if kind is not None and (not isinstance(kind, str) or kind not in KINDS):
        raise ValueError(f"kind must be None or one of {', '.join(KINDS)}, got {kind!r}.")
    return load_with(lambda made_of, state: made_of.from_saved_state(state), path, kind)


def load_with(make, path, kind):
    """What ``make(class, saved state)`` returns for a file; otherwise as ``load``."""
    path = path_text(path)
    with open(path, "rb"):
        pass  # a missing or unreadable file is an OSError, not a damaged model
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except (SafetensorError, OSError, ValueError, TypeError, AttributeError) as error:
        raise ModelFileError(f"{path} is not a model file of fastmlp, or it is truncated: {error}") from error
    if "fastmlp" not in metadata:
        raise ModelFileError(f"{path} is a safetensors file, but was not written by fastmlp.")
    expected = metadata.get("crc32")  # files of early versions have none
    if expected is not None and expected != checksum(metadata["fastmlp"], tensors):
        raise ModelFileError(
            f"{path} is damaged: its content does not match its checksum. Use another copy of the file."
        )
    try:
        header = json.loads(metadata["fastmlp"])
        version, found = header["version"], header["kind"]
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ModelFileError(f"{path}: the header is damaged: {error!r}") from error
    if type(version) is not int or version != VERSION:
        raise ModelFileError(f"{path} has format version {version!r}; this fastmlp reads {VERSION}. Upgrade fastmlp.")
    if not isinstance(found, str) or found not in KINDS or kind not in (None, found):
        raise ModelFileError(f"{path} holds a {found}, not {'a known model' if kind is None else f'a {kind}'}.")
    try:
        return make(getattr(import_module(KINDS[found]), found), decode(header["state"], tensors))
    except IncompatibleState as error:
        raise ModelFileError(
            f"{path} was written by an incompatible version of fastmlp ({error}): fit the model and save it again."
        ) from error
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError, RecursionError) as error:
        raise ModelFileError(f"{path} is damaged: {error!r}") from error


def encode(value, tensors):
    """Encode a value as JSON; numeric arrays are added to ``tensors``."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, list):
        return [encode(item, tensors) for item in value]
    if isinstance(value, tuple):
        return {"tuple": [encode(item, tensors) for item in value]}
    if type(value).__module__ == SETTINGS.get(type(value).__name__):
        values = tuple(getattr(value, field.name) for field in fields(value))
        return {"settings": encode(values, tensors), "class": type(value).__name__}
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {"dict": {key: encode(item, tensors) for key, item in value.items()}}
    if isinstance(value, dict):
        return {"pairs": [[encode(key, tensors), encode(item, tensors)] for key, item in value.items()]}
    if isinstance(value, np.ndarray):
        if value.dtype.kind in "biuf" and value.dtype.itemsize <= 8:
            name = str(len(tensors))
            tensors[name] = np.ascontiguousarray(value)
            return {"tensor": name}
        return {"array": encode(value.tolist(), tensors), "dtype": "object" if value.dtype.kind == "O" else "str"}
    if isinstance(value, np.random.RandomState):
        state = value.get_state(legacy=False)
        if state["bit_generator"] == "MT19937":
            return {"random_state": encode(state, tensors)}
    raise TypeError(f"a model file cannot hold a {type(value).__name__}: {value!r}. Use pickle or joblib.")


def decode(value, tensors):
    """Decode a value encoded by ``encode``."""
    if isinstance(value, list):
        return [decode(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    (tag, content), *rest = value.items()
    if tag in ("tuple", "pairs") and not isinstance(content, list):
        raise ValueError(f"a {tag} is not a list")
    if tag == "tuple":
        return tuple(decode(item, tensors) for item in content)
    if tag == "dict":
        return {key: decode(item, tensors) for key, item in content.items()}
    if tag == "pairs":
        return {decode(key, tensors): decode(item, tensors) for key, item in content}
    if tag == "tensor":
        return tensors[content]
    if tag == "array":
        array = np.array(decode(content, tensors), object)
        dtype = {"object": object, "str": str}[dict(rest)["dtype"]]
        if dtype is str and not all(type(item) is str for item in array.flat):
            raise ValueError("an array of strings holds something else")
        return array.astype(dtype)
    if tag == "settings":
        made_of = dict(rest)["class"]
        if made_of not in SETTINGS:
            raise IncompatibleState(f"it holds a {made_of!r}")
        return getattr(import_module(SETTINGS[made_of]), made_of)(*decode(content, tensors))
    if tag == "random_state":
        random_state = np.random.RandomState()
        state = decode(content, tensors)
        key, position = state["state"]["key"], state["state"]["pos"]
        # NumPy does not check these: it copies 624 words and later reads at the position.
        if key.shape != (624,) or key.dtype != np.uint32 or type(position) is not int or not 0 <= position <= 624:
            raise ValueError(f"position {position} in a random state of {key.dtype} {key.shape}")
        random_state.set_state(state)
        return random_state
    raise IncompatibleState(f"it has an unknown kind of value, {tag!r}")


class Savable:
    """Mixin of models whose methods ``saved_state`` and ``from_saved_state`` define the content of a file."""

    def _unchanging(self) -> AbstractContextManager[None]:
        """Context manager: no other thread changes the model. RuntimeError if one is fitting it."""
        return nullcontext()

    def save(self, path: StrPath) -> None:
        """Save the model with its optimizer and random state, for ``load`` and ``fastmlp.load``.

        An existing file is replaced only when the new one is complete.

        Parameters
        ----------
        path : str or Path

        Raises
        ------
        TypeError, ValueError, OSError
            See ``fastmlp.io.model_files.save``.
        """
        save(self, path)

    @classmethod
    def load(cls, path: StrPath) -> Self:
        """Load a model of this class from a file written by ``save``; ModelFileError for any other file."""
        return load(path, cls.__name__)
