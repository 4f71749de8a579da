"""Memory layout of a batch in a flat workspace, and of the transposed weights used by backpropagation.

Offsets and sizes are compile-time constants of the kernels. ``outputs[0]`` are the inputs of the network,
``outputs[level + 1]`` the outputs of layer ``level``.
"""

from typing import NamedTuple

from fastmlp.kernels.engine.requirements import NO_OPTIMIZER
from fastmlp.kernels.spec import Network, activation_row, loss_row


class Features(NamedTuple):
    """The features that kernels are compiled with.

    ``noisy``: the forward pass is random, with noise or dropout on ``inputs`` and dropout on the layers ``dropped``;
    ``activity``: activity penalties; ``weighted``: sample weights; ``clipped``: the norm of the gradient is clipped;
    ``limited``: the norm of the weights into each unit is limited.
    """

    training: bool = True
    noisy: bool = False
    inputs: bool = False
    dropped: tuple[bool, ...] = ()
    activity: bool = False
    weighted: bool = False
    clipped: bool = False
    limited: bool = False

    @classmethod
    def of(cls, requirements, noise, optimizer=NO_OPTIMIZER, weighted=False, training=True):
        """From the Requirements returned by ``extras_of``, and the settings of training."""
        return cls(
            training, noise is not None, requirements.inputs, requirements.dropped, requirements.activity, weighted,
            optimizer.clip_norm > 0, optimizer.max_norm > 0,
        )  # fmt: skip


class Layout:
    """Offsets into a workspace for ``rows`` rows; -1 for arrays that this network does not need.

    ``derivatives``: da/dz where the forward pass saves it; ``slope_gradients``: of trainable slopes, for each row. A
    thread computes the outputs of ``tile_rows`` rows, or the gradients of ``tile_inputs`` weights of a unit, at a time:
    larger tiles reuse what is loaded, smaller ones give work to more threads.
    """

    def __init__(self, network: Network, features: Features, rows: int, tile_rows=1, tile_inputs=1):
        self.network, self.features, self.rows = network, features, rows
        self.tile_rows, self.tile_inputs = tile_rows, tile_inputs
        self._key = network, features, rows, tile_rows, tile_inputs
        self.blocks = network.blocks
        self.size = 0
        self.inputs = self._take(network.sizes[0], features.inputs)
        self.outputs = [self.inputs] + [self._take(block.fan_out) for block in self.blocks]
        saved = [self.saves_derivatives(level) for level in range(len(self.blocks))]
        self.derivatives = [self._take(block.fan_out, needed) for block, needed in zip(self.blocks, saved)]
        self.slope_gradients = [self._take(b.fan_out, features.training and b.n_slopes > 0) for b in self.blocks]
        self.deltas = [self._take(block.fan_out, features.training) for block in self.blocks]
        self.transposed_at, self.n_transposed = [-1], 0  # the first layer's are not needed
        for block in self.blocks[1:]:
            self.transposed_at.append(self.n_transposed)
            self.n_transposed += block.fan_in * block.fan_out
        self.linked = loss_row(network.loss).link is not None
        self.rowwise = activation_row(network.activations[-1]).rowwise

    def __eq__(self, other):
        return type(self) is type(other) and self._key == other._key

    def __hash__(self):
        return hash(self._key)

    def _take(self, width, needed=True):
        start = self.size
        self.size += self.rows * width if needed else 0
        return start if needed else -1

    def saves_derivatives(self, level):
        """Whether the forward pass saves da/dz of a layer, because it cannot be computed from the outputs."""
        row, features = activation_row(self.network.activations[level]), self.features
        if not features.training or row.rowwise:
            return False
        if level == len(self.network.activations) - 1 and loss_row(self.network.loss).link is not None:
            return False
        return row.of_input or self.has_dropout(level)

    def has_dropout(self, level):
        """Whether a layer has dropout."""
        return self.features.noisy and level < len(self.features.dropped) and self.features.dropped[level]

    def adds_noise(self, level):
        """Whether noise is added to z of a layer."""
        return self.features.noisy and activation_row(self.network.activations[level]).std is not None

    def has_shared_slope(self, level):
        """Whether the units of a layer share one trainable slope."""
        row = activation_row(self.network.activations[level])
        return row.trainable is not None and row.shared

    def skip(self, level):
        return self.network.skips[level] if self.network.skips else None
