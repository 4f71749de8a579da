"""Where the layers of a batch lie in a flat workspace, and the weights of backpropagation beside the parameters.

Offsets and sizes are compile-time constants of the kernels. Layers are counted like those of a Network: ``outputs[0]``
are the inputs, ``outputs[level + 1]`` what layer ``level`` of weights gives.
"""

from typing import NamedTuple

from fastmlp.kernels.engine.demands import NO_OPTIMIZER
from fastmlp.kernels.spec import Network, activation_row, loss_row


class Features(NamedTuple):
    """What kernels are compiled for beside the network: ``noisy`` passes, with ``inputs`` disturbed and the outputs of
    some layers ``dropped``; penalties of ``activity``; weights of rows; and what a step does with its gradient."""

    learning: bool = True
    noisy: bool = False
    inputs: bool = False
    dropped: tuple[bool, ...] = ()
    activity: bool = False
    weighted: bool = False
    clipped: bool = False
    limited: bool = False

    @classmethod
    def of(cls, demands, noise, optimizer=NO_OPTIMIZER, weighted=False, learning=True):
        """From what ``extras_of`` found, and how steps are made."""
        return cls(
            learning, noise is not None, demands.inputs, demands.dropped, demands.activity, weighted,
            optimizer.clip_norm > 0, optimizer.max_norm > 0,
        )  # fmt: skip


class Layout:
    """Offsets into a workspace for ``rows`` rows; -1 for what this network does not need.

    A thread makes outputs of ``tile_rows`` rows, or gradients of ``tile_inputs`` weights of a unit, at a time: what it
    loads serves them all, but there must be work for every thread.
    """

    def __init__(self, network: Network, features: Features, rows: int, tile_rows=1, tile_inputs=1):
        self.network, self.features, self.rows = network, features, rows
        self.tile_rows, self.tile_inputs = tile_rows, tile_inputs
        self._key = network, features, rows, tile_rows, tile_inputs
        self.blocks = network.blocks
        self.size = 0
        self.inputs = self._take(network.sizes[0], features.inputs)
        self.outputs = [self.inputs] + [self._take(block.fan_out) for block in self.blocks]
        self.slopes = [self._take(b.fan_out, self.keeps_slopes(level)) for level, b in enumerate(self.blocks)]
        self.bends = [self._take(b.fan_out, features.learning and b.n_slopes > 0) for b in self.blocks]
        self.deltas = [self._take(block.fan_out, features.learning) for block in self.blocks]
        self.flipped, self.n_flipped = [-1], 0  # no error goes back to the inputs
        for block in self.blocks[1:]:
            self.flipped.append(self.n_flipped)
            self.n_flipped += block.fan_in * block.fan_out
        self.linked = loss_row(network.loss).link is not None
        self.rowwise = activation_row(network.activations[-1]).rowwise

    def __eq__(self, other):
        return type(self) is type(other) and self._key == other._key

    def __hash__(self):
        return hash(self._key)

    def _take(self, width, wanted=True):
        start = self.size
        self.size += self.rows * width if wanted else 0
        return start if wanted else -1

    def keeps_slopes(self, level):
        """Whether da/dz of a layer is noted in the forward pass: it is not to be had from the outputs."""
        row, features = activation_row(self.network.activations[level]), self.features
        if not features.learning or row.rowwise:
            return False
        if level == len(self.network.activations) - 1 and loss_row(self.network.loss).link is not None:
            return False
        return row.of_input or self.drops(level)

    def drops(self, level):
        """Whether outputs of a layer are dropped."""
        return self.features.noisy and level < len(self.features.dropped) and self.features.dropped[level]

    def deviates(self, level):
        """Whether noise is added to z of a layer."""
        return self.features.noisy and activation_row(self.network.activations[level]).deviation is not None

    def shares_slope(self, level):
        """Whether a layer learns one slope for all its units."""
        row = activation_row(self.network.activations[level])
        return row.learned is not None and row.shared

    def skip(self, level):
        return self.network.skips[level] if self.network.skips else None
