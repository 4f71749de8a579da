"""The machines that fastmlp runs on: those with 64 bits whose numbers begin with the lowest byte."""

import struct
import sys


def why_not_this_machine():
    """None, or why fastmlp cannot run here: its records hold addresses in 64 bits, and its random numbers use them."""
    bits = 8 * struct.calcsize("P")
    if bits == 64 and sys.byteorder == "little":
        return None
    return (
        f"fastmlp needs a 64-bit little-endian Python, such as those for x86-64, aarch64 and Apple silicon; this one "
        f"({sys.executable}) is a {bits}-bit {sys.byteorder}-endian one"
    )
