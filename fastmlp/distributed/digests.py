"""Digests: short texts by which ranks find out whether they have the same objects."""

import zlib

import joblib
import numpy as np


def digest_of(objects):
    """A digest of some objects. Arrays enter it by their CRC-32: MD5, joblib's choice, takes 6 times as long."""
    return joblib.hash([_shape_and_checksum(one) if isinstance(one, np.ndarray) else one for one in objects])


def _shape_and_checksum(array):
    return array.shape, zlib.crc32(np.ascontiguousarray(array))
