"""Which kernels run a network, from its shape: a way to make steps, and the sizes of a launch."""

from typing import NamedTuple

from fastmlp.kernels.numba_cuda.device_sums import SUM_BYTES
from fastmlp.kernels.numba_cuda.layout import Layout
from fastmlp.kernels.numba_cuda.training_kernel import BLOCK, GRID, TILES

WARP = 32
NARROW = 128  # the widest layer of networks that go by tiles
ONE_BLOCK_FLOPS = 1e6  # of a step: a block makes them in the time of a few barriers of the grid
TILE_HEIGHT = 32  # rows that a block takes through all layers at a time
LEAST_TILES = 0.25  # tiles for each multiprocessor, below which the whole grid shares each layer
BLOCK_THREADS, GRID_THREADS, TILE_THREADS = 512, 256, 256  # at most


class Launch(NamedTuple):
    """A way of training or predicting: its Layout, blocks, threads, and bytes of dynamic shared memory."""

    way: str
    layout: Layout
    blocks: int
    threads: int
    on_chip: bool
    shared_bytes: int

    @property
    def reason(self):
        """What a user is told."""
        where = "on the chip" if self.on_chip else "in memory"
        return {
            BLOCK: f"one block of {self.threads} threads makes whole steps, with everything {where}",
            GRID: f"{self.blocks} blocks share each layer of a step",
            TILES: f"{self.blocks} blocks take {self.layout.rows} rows at a time through all layers, {where}",
        }[self.way]


def _whole_warps(n, most):
    return max(WARP, min(most, -(-n // WARP) * WARP))


def _tile(n_items, n_threads):
    """The largest tile that leaves work for every thread."""
    return next((tile for tile in (8, 4, 2) if n_items // tile >= n_threads), 1)


def step_flops(network, batch_size):
    """Floating-point operations of a step: forward, errors and gradients of every weight."""
    return 6 * network.n_parameters * batch_size


def training_launch(network, features, n_slots, dtype, batch_size, device):
    """The Launch for steps of ``batch_size`` rows on a Device."""
    n, widest = network.n_parameters, max(network.sizes)
    if step_flops(network, batch_size) <= ONE_BLOCK_FLOPS:
        items = max(batch_size * widest, max(block.fan_in * block.fan_out for block in network.blocks))
        threads = _whole_warps(items, BLOCK_THREADS)
        tiles = _tile(batch_size * min(network.sizes[1:]), threads), _tile(n // len(network.blocks), threads)
        layout = Layout(network, features, batch_size, *tiles)
        size = n * (1 + n_slots) + layout.n_flipped + layout.size
        return _placed(BLOCK, layout, 1, threads, size, dtype, device)
    if widest <= NARROW and batch_size >= LEAST_TILES * TILE_HEIGHT * device.processors:
        layout = Layout(network, features, TILE_HEIGHT, 8, 4)
        blocks = min(device.processors, -(-batch_size // TILE_HEIGHT))
        return _placed(TILES, layout, blocks, TILE_THREADS, layout.size + n, dtype, device)
    n_threads = device.processors * GRID_THREADS
    tiles = _tile(batch_size * max(network.sizes[1:]), n_threads), _tile(n, n_threads)
    layout = Layout(network, features, batch_size, *tiles)
    return Launch(GRID, layout, device.processors, GRID_THREADS, False, SUM_BYTES)


def _placed(way, layout, blocks, threads, size, dtype, device):
    """With the workspace on the chip where there is room."""
    n_bytes = SUM_BYTES + size * dtype.itemsize
    on_chip = n_bytes <= device.shared_bytes
    return Launch(way, layout, blocks, threads, on_chip, n_bytes if on_chip else SUM_BYTES)


def prediction_launch(network, features, dtype, n_rows, device):
    """The Launch for outputs of ``n_rows`` rows."""
    height = min(TILE_HEIGHT, max(n_rows, 1))
    layout = Layout(network, features, height, 8 if height == TILE_HEIGHT else 1)
    blocks = min(4 * device.processors, -(-max(n_rows, 1) // height))
    threads = _whole_warps(height * max(network.sizes) // layout.tile_rows, TILE_THREADS)
    return _placed(TILES, layout, blocks, threads, layout.size, dtype, device)
