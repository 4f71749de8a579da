"""Which kernels run a network, from its shape: a way to make steps, and the sizes of a launch."""

from typing import NamedTuple

from fastmlp.kernels.engine.demands import extras_of
from fastmlp.kernels.rules.optimizers import OPTIMIZERS

from .gemm import cublaslt
from .gemm import training as wide_training
from .gemm.layout import WideLayout
from .simt.block_sums import SUM_BYTES
from .simt.layout import Features, Layout
from .simt.training_kernel import BLOCK, GRID, TILES
from .tensor_core import plan as fused_plan

FUSED, WIDE = (
    "fused",
    "wide",
)  # beside the ways of simt/training_kernel.py: on tensor cores, and by products of matrices

WARP = 32
NARROW = 128  # the widest layer of networks that go by tiles
LEAST_FOR_FUSED = (9, 0)  # intrinsics.mask2 needs it
ONE_BLOCK_FLOPS = 1e6  # of a step: a block makes them in the time of a few barriers of the grid
TILE_HEIGHT = 32  # rows that a block takes through all layers at a time
WIDE_FLOPS = 5e8  # of a step, above which the layers of a network that is not narrow are products of a library
WIDE_PREDICTION_ROWS = 16384  # at a time
LEAST_TILES = 0.25  # tiles for each multiprocessor, below which the whole grid shares each layer
BLOCK_THREADS, GRID_THREADS, TILE_THREADS = 512, 256, 256  # at most


class Launch(NamedTuple):
    """A way of training or predicting: blocks, threads, bytes of dynamic shared memory, and its Layout, which is the
    fused kernels' Segments or Plan or a WideLayout where those are taken."""

    way: str
    layout: Layout | WideLayout | fused_plan.Segments | fused_plan.Plan
    blocks: int
    threads: int
    on_chip: bool
    shared_bytes: int

    @property
    def _cut(self):
        n = len(self.layout.learning) if isinstance(self.layout, fused_plan.Segments) else 1
        return f", in {n} segments" if n > 1 else ""

    @property
    def reason(self):
        """What a user is told."""
        where = "on the chip" if self.on_chip else "in memory"
        return {
            BLOCK: f"one block of {self.threads} threads makes whole steps, with everything {where}",
            GRID: f"{self.blocks} blocks share each layer of a step",
            TILES: f"{self.blocks} blocks take tiles of rows through all layers, with activations {where}",
            FUSED: f"{self.blocks} blocks take tiles of rows through all layers, on tensor cores{self._cut}",
            WIDE: "layers are products by cuBLASLt, in a CUDA graph",
        }[self.way]


def rounded_up(n):
    """The next power of two: kernels are compiled for a few numbers of rows, not for each."""
    return 1 << max(n - 1, 0).bit_length()


def _whole_warps(n, most):
    return max(WARP, min(most, -(-n // WARP) * WARP))


def _tile(n_items, n_threads):
    """The largest tile that leaves work for every thread."""
    return next((tile for tile in (8, 4, 2) if n_items // tile >= n_threads), 1)


def step_flops(network, batch_size):
    """Floating-point operations of a step: forward, errors and gradients of every weight."""
    return 6 * network.n_parameters * batch_size


def training_launch(network, features, optimizer, dtype, batch_size, device):
    """The Launch for steps of ``batch_size`` rows on a Device.

    Raises
    ------
    ValueError
        For a network in bfloat16 that cannot be had on this device.
    """
    n, widest, rows = network.n_parameters, max(network.sizes), rounded_up(batch_size)
    n_slots = len(OPTIMIZERS[optimizer].slots) if optimizer else 0
    if network.bfloat16:
        return _in_bfloat16(network, features, dtype, batch_size, batch_size, device)
    if widest > NARROW and step_flops(network, batch_size) >= WIDE_FLOPS and _has_products(network, dtype, device):
        return Launch(WIDE, WideLayout(network, features, batch_size), 0, 0, False, 0)
    if step_flops(network, batch_size) <= ONE_BLOCK_FLOPS:
        items = max(rows * widest, max(block.fan_in * block.fan_out for block in network.blocks))
        threads = _whole_warps(items, BLOCK_THREADS)
        tiles = _tile(rows * min(network.sizes[1:]), threads), _tile(n // len(network.blocks), threads)
        layout = Layout(network, features, rows, *tiles)
        size = n * (1 + n_slots) + layout.n_flipped + layout.size
        return _placed(BLOCK, layout, 1, threads, size, dtype, device)
    if widest <= NARROW and batch_size >= LEAST_TILES * TILE_HEIGHT * device.processors:
        layout = Layout(network, features, TILE_HEIGHT, 8, 4)
        blocks = min(device.processors, -(-batch_size // TILE_HEIGHT))
        return _placed(TILES, layout, blocks, TILE_THREADS, layout.size + n, dtype, device)
    n_threads = device.processors * GRID_THREADS
    tiles = _tile(rows * max(network.sizes[1:]), n_threads), _tile(n, n_threads)
    layout = Layout(network, features, rows, *tiles)
    return Launch(GRID, layout, device.processors, GRID_THREADS, False, SUM_BYTES)


def _has_products(network, dtype, device):
    """Whether the layers can be products of matrices."""
    try:
        cublaslt.library()
    except ImportError:
        return False
    return wide_training.refusal(network, dtype, device) is None


def _in_bfloat16(network, features, dtype, n_rows, height, device):
    """By the fused kernels, which want shared memory, or as products, of ``height`` rows at a time."""
    if fused_plan.refusal(network, features) is None:
        plan = (fused_plan.segments_for if features.learning else fused_plan.plan_for)(network)
        if plan.shared_bytes <= device.shared_bytes and device.capability >= LEAST_FOR_FUSED:
            blocks = plan.grid(n_rows, device.processors)
            return Launch(FUSED, plan, blocks, plan.threads, True, plan.shared_bytes)
    refused = wide_training.refusal(network, dtype, device)
    if refused is not None:
        raise ValueError(f"dtype 'bfloat16' cannot be had here: {refused}.")
    cublaslt.library()
    return Launch(WIDE, WideLayout(network, features, height), 0, 0, False, 0)


def _placed(way, layout, blocks, threads, size, dtype, device):
    """With the workspace on the chip where there is room."""
    n_bytes = SUM_BYTES + size * dtype.itemsize
    on_chip = n_bytes <= device.shared_bytes
    return Launch(way, layout, blocks, threads, on_chip, n_bytes if on_chip else SUM_BYTES)


def prediction_launch(network, features, dtype, n_rows, device):
    """The Launch for outputs of ``n_rows`` rows."""
    many = min(rounded_up(n_rows), WIDE_PREDICTION_ROWS)
    if network.bfloat16:
        return _in_bfloat16(network, features, dtype, n_rows, max(many, 1), device)
    large = max(network.sizes) > NARROW and step_flops(network, n_rows) >= WIDE_FLOPS
    if large and _has_products(network, dtype, device):
        return Launch(WIDE, WideLayout(network, features, many), 0, 0, False, 0)
    height = next(height for height in (1, 8, TILE_HEIGHT) if height >= min(n_rows, TILE_HEIGHT))
    layout = Layout(network, features, height, 8 if height == TILE_HEIGHT else 1)
    blocks = min(4 * device.processors, -(-max(n_rows, 1) // height))
    threads = _whole_warps(height * max(network.sizes) // layout.tile_rows, TILE_THREADS)
    return _placed(TILES, layout, blocks, threads, layout.size, dtype, device)


def describe(network, optimizer, dtype, batch_size, penalty, noise, weighted, device):
    """How steps will be made, for a user."""
    extras = extras_of(network, optimizer, penalty, noise)
    features = Features.of(extras.demands, noise, optimizer, weighted)
    return training_launch(network, features, optimizer.name, dtype, batch_size, device).reason
