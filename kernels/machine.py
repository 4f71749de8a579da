"""What fastmlp requires of a machine, and the size of its second-level cache."""

import struct
import sys
from pathlib import Path

SECOND_LEVEL_CACHE = Path("/sys/devices/system/cpu/cpu0/cache/index2")


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


def second_level_cache():
    """Bytes of the second-level cache of a core, or 0 if the system does not say."""
    try:
        level, size = ((SECOND_LEVEL_CACHE / name).read_text().strip() for name in ("level", "size"))
    except OSError:
        return 0
    return 1024 * int(size[:-1]) if level == "2" and size[:-1].isdigit() and size.endswith("K") else 0
