"""Conversions between float32 and bfloat16, which is stored in uint16: the upper 16 bits of a float32."""

import numpy as np

from .composition import device

NAN = np.uint16(0x7FC0)


@device
def to_bfloat16(x):
    """Round to nearest, ties to even."""
    bits = np.float32(x).view(np.uint32)
    rounded = bits + np.uint32(0x7FFF) + (bits >> np.uint32(16) & np.uint32(1))
    return np.uint16(np.uint32(rounded) >> np.uint32(16)) if x == x else NAN


@device
def from_bfloat16(half):
    return np.uint32(np.uint32(half) << np.uint32(16)).view(np.float32)
