"""Digests: short texts by which ranks find out whether they have the same objects."""

import zlib

import joblib
import numpy as np


def digest_of(objects):
    """A digest of some objects. Arrays, also those in tuples, enter it by their CRC-32: MD5 takes 6 times as long."""
    return joblib.hash([_without_arrays(one) for one in objects])


def _without_arrays(one):
    """An object, with the shape and the checksum of an array in its place."""
    if isinstance(one, np.ndarray):
        return one.shape, zlib.crc32(np.ascontiguousarray(one))
    return tuple(map(_without_arrays, one)) if isinstance(one, tuple) else one
