"""Digests: short texts by which ranks find out whether they have the same objects."""

import zlib

import joblib
import numpy as np


def digest_of(objects):
    """A digest of some objects, of which arrays enter with their CRC-32: MD5, joblib's choice, takes 7 times as long."""
    return joblib.hash([(one.shape, _checksum(one)) if isinstance(one, np.ndarray) else one for one in objects])


def _checksum(array):
    return zlib.crc32(np.ascontiguousarray(array))
