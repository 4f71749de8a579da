"""The machines that fastmlp runs on: 64-bit and little-endian."""

import struct
import sys


def why_not_this_machine():
    """Why fastmlp cannot run on this machine, or None.

    Its records hold addresses as 64-bit integers, and its random numbers depend on the byte order.
    """
    bits = 8 * struct.calcsize("P")
    if bits == 64 and sys.byteorder == "little":
        return None
    return (
        "fastmlp needs a 64-bit little-endian Python, such as those for x86-64, aarch64 and Apple silicon; this one "
        f"({sys.executable}) is a {bits}-bit {sys.byteorder}-endian one."
    )
