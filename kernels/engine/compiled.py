"""What the engine's users need of a compiled backend: its tile sizes, the codes of its rules, and its entry points."""

from typing import NamedTuple


class Engine(NamedTuple):
    """A compiled backend: tile sizes, codes of its rules, and entry points.

    ``network_codes(network, dtype)`` gives NetworkCodes, and ``optimizer_codes(name, dtype)`` (code of the update, code
    of the rate). ``read_only`` makes of an array what the entry points take where they only read.
    ``matrix_unit(engine)`` is the unit for large products in bfloat16 (engine/bfloat16_tiles.py).
    """

    vector_bytes: int
    tile_rows: int
    network_codes: object
    optimizer_codes: object
    entries: object
    read_only: object
    matrix_unit: object


class NetworkCodes(NamedTuple):
    """Codes of a network's rules, layer by layer but for the loss; ``stds`` are those of the noise, or NO_RULE."""

    activations: list[int]
    derivatives: list[int]
    stds: list[int]
    loss: int
