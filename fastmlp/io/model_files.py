"""Model files: safetensors with a small versioned JSON header. Reading one runs no code of the file's.

Values are None, booleans, numbers, strings, lists, tuples, dicts, NumPy arrays, numpy.random.RandomState and the
classes of SETTINGS; anything else is refused when writing. Arrays of numbers become tensors.
"""

from __future__ import annotations

import json
import os
import zlib
from dataclasses import fields
from importlib import import_module
from typing import Any, Self

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as to_bytes

from fastmlp.typing import StrPath

from .atomic import write_whole

VERSION = 1
KINDS = {
    "MLP": "fastmlp.model.mlp",
    "MLPClassifier": "fastmlp.estimators.classifier",
    "MLPRegressor": "fastmlp.estimators.regressor",
    "MLPEnsembleClassifier": "fastmlp.estimators.ensemble",
    "MLPEnsembleRegressor": "fastmlp.estimators.ensemble",
    "TableModel": "fastmlp.cli.table_model",
}
# Immutable settings of models: written as the tuple of their fields, and checked when they are made again.
SETTINGS = {
    "Layer": "fastmlp.model.layer",
    "Loss": "fastmlp.model.losses",
    "Optimizer": "fastmlp.model.optimizers",
    "Schedule": "fastmlp.training.schedules",
}


class ModelFileError(ValueError):
    """The file is not a model of fastmlp, is damaged, or was written by a newer version."""


def save(model, path):
    """Write ``model`` (one of KINDS) to ``path``; the old file stays until the new one is complete.

    Raises
    ------
    TypeError
        For a subclass, or a parameter that a file cannot hold; pickle can.
    ValueError
        If weights are NaN or infinite: ``load`` refuses such a file.
    OSError
        If the file cannot be written, or ``path`` is a folder, a device or a pipe.
    """
    tensors = {}
    header = {"version": VERSION, "kind": kind_of(model), "state": encode(model.saved_state(), tensors)}
    text = json.dumps(header)
    write_whole(path, to_bytes(tensors, metadata={"fastmlp": text, "crc32": checksum(text, tensors)}))


def checksum(header, tensors):
    """CRC-32 of the header and of the tensors, their names, dtypes and shapes.

    It is to find damage, not forgery. SHA-256 would nearly double the time that loading takes, BLAKE2 more than that.
    """
    crc = zlib.crc32(header.encode())
    for name, tensor in sorted(tensors.items()):
        little_endian = np.ascontiguousarray(tensor, tensor.dtype.newbyteorder("<"))  # as in the file
        crc = zlib.crc32(f"{name} {tensor.dtype.name} {tensor.shape}".encode(), crc)
        crc = zlib.crc32(little_endian.reshape(-1).view(np.uint8), crc)
    return f"{crc:08x}"


def kind_of(model):
    """One of KINDS; TypeError for anything else, subclasses of these too."""
    kind = type(model).__name__
    if type(model).__module__ != KINDS.get(kind):
        raise TypeError(f"model files hold {', '.join(KINDS)}, not a subclass like {kind}. pickle or joblib can.")
    return kind


def load(path: StrPath, kind: str | None = None) -> Any:
    """The model in a file that ``save`` wrote.

    Parameters
    ----------
    path : str or Path
    kind : str or None
        The class to expect; None takes any.

    Raises
    ------
    ModelFileError
        If the file is foreign, cut off, damaged, of another kind, or written by a newer version, or if its weights are
        NaN or infinite.
    OSError
        If it cannot be read at all.
    """
    path = os.fsdecode(path)  # TypeError for a number, which open takes for a file that is open already
    with open(path, "rb"):
        pass  # a missing file or one without permission is the system's error, not a damaged model
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except (SafetensorError, OSError, ValueError, TypeError, AttributeError) as error:
        raise ModelFileError(f"{path} is no model file of fastmlp, or it is cut off: {error}") from error
    if "fastmlp" not in metadata:
        raise ModelFileError(f"{path} is a safetensors file, but not one that fastmlp wrote.")
    expected = metadata.get("crc32")  # files of early versions have none
    if expected is not None and expected != checksum(metadata["fastmlp"], tensors):
        raise ModelFileError(f"{path} is damaged: its content does not match its checksum. Use another copy.")
    try:
        header = json.loads(metadata["fastmlp"])
        version, found = header["version"], header["kind"]
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ModelFileError(f"{path}: the header is damaged: {error!r}") from error
    if version != VERSION:
        raise ModelFileError(f"{path} has format version {version!r}; this fastmlp reads {VERSION}. Upgrade fastmlp.")
    if not isinstance(found, str) or found not in KINDS or kind not in (None, found):
        raise ModelFileError(f"{path} holds a {found}, not {'a known model' if kind is None else f'a {kind}'}.")
    try:
        return getattr(import_module(KINDS[found]), found).from_saved_state(decode(header["state"], tensors))
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError, RecursionError) as error:
        raise ModelFileError(f"{path} is damaged: {error!r}") from error


def encode(value, tensors):
    """A value as JSON; its arrays of numbers go to ``tensors``, which is filled."""
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
        if value.dtype.kind in "biuf":
            name = str(len(tensors))
            tensors[name] = np.ascontiguousarray(value)
            return {"tensor": name}
        return {"array": encode(value.tolist(), tensors), "dtype": "object" if value.dtype.kind == "O" else "str"}
    if isinstance(value, np.random.RandomState):
        state = value.get_state(legacy=False)
        if state["bit_generator"] == "MT19937":
            return {"random_state": encode(state, tensors)}
    raise TypeError(f"a model file cannot hold a {type(value).__name__}: {value!r}. pickle or joblib can.")


def decode(value, tensors):
    """The value that ``encode`` was given."""
    if isinstance(value, list):
        return [decode(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    (tag, content), *rest = value.items()
    if tag == "tuple":
        return tuple(decode(item, tensors) for item in content)
    if tag == "dict":
        return {key: decode(item, tensors) for key, item in content.items()}
    if tag == "pairs":
        return {decode(key, tensors): decode(item, tensors) for key, item in content}
    if tag == "tensor":
        return tensors[content]
    if tag == "array":
        items = decode(content, tensors)
        return np.array(items, dtype=object if dict(rest)["dtype"] == "object" else str)
    if tag == "settings":
        made_of = dict(rest)["class"]
        return getattr(import_module(SETTINGS[made_of]), made_of)(*decode(content, tensors))
    if tag == "random_state":
        random_state = np.random.RandomState()
        state = decode(content, tensors)
        key, position = state["state"]["key"], state["state"]["pos"]
        # NumPy copies 624 words and later reads at the position, without looking.
        if key.shape != (624,) or key.dtype != np.uint32 or type(position) is not int or not 0 <= position <= 624:
            raise ValueError(f"position {position} in a random state of {key.dtype} {key.shape}")
        random_state.set_state(state)
        return random_state
    raise ValueError(f"unknown kind of value {tag!r}")


class Savable:
    """Mixin of the models: ``saved_state`` and ``from_saved_state`` say what a file holds of them."""

    def save(self, path: StrPath) -> None:
        """Write the whole model to a file that ``load`` and ``fastmlp.load`` read, optimizer and random state included.

        Raises
        ------
        TypeError, OSError
            See ``fastmlp.io.model_files.save``. An old file of that name stays until the new one is complete.
        """
        save(self, path)

    @classmethod
    def load(cls, path: StrPath) -> Self:
        """The model of this class in a file that ``save`` wrote; ModelFileError if it is anything else."""
        return load(path, cls.__name__)
