"""The choice of kernels and of their launch configuration, from the shape of a network and the batch size."""

from typing import NamedTuple

from fastmlp.kernels.device_errors import NO_HIGH
from fastmlp.kernels.rules.optimizers import OPTIMIZERS

from .gemm import cublaslt
from .gemm.layout import GemmLayout
from .gemm.training import gemm_refusal
from .simt.block_sums import SUM_BYTES, WARP
from .simt.layout import Layout
from .simt.training_kernel import BLOCK, GRID, TILES
from .tensor_core.plan import Plan, Segments, plan_for, segments_for, tensor_core_refusal

TENSOR_CORE, GEMM = "tensor_core", "gemm"  # the strategies beside those of simt/training_kernel.py

MAX_NARROW_WIDTH = 128  # the widest layer for which TILES is used
TENSOR_CORE_CAPABILITY = (9, 0)  # required by intrinsics.mask2
ONE_BLOCK_FLOPS = 1e6  # of a step: one block computes them in the time of a few grid barriers
TILE_HEIGHT = 32  # rows that a block processes at a time
GEMM_FLOPS = 5e8  # of a step, from which on cuBLASLt is used for networks that are not narrow
GEMM_PREDICTION_ROWS = 16384  # at a time
MIN_TILES_PER_PROCESSOR = 0.25  # with fewer, GRID is used instead of TILES
BLOCK_THREADS, GRID_THREADS, TILE_THREADS = 512, 256, 256  # maximal threads per block


class LaunchConfig(NamedTuple):
    """How a network is trained or predicted: strategy, layout, and launch configuration.

    ``in_shared``: whether the workspace is in shared memory; ``shared_bytes``: of dynamic shared memory per block.
    """

    strategy: str
    layout: Layout | GemmLayout | Segments | Plan
    blocks: int
    threads: int
    in_shared: bool
    shared_bytes: int

    @property
    def description(self):
        """Text for ``backend_reason_``."""
        memory = "shared memory" if self.in_shared else "global memory"
        n_segments = len(self.layout.training) if isinstance(self.layout, Segments) else 1
        segments = f", in {n_segments} segments" if n_segments > 1 else ""
        return {
            BLOCK: f"one block of {self.threads} threads computes whole steps, with all data in {memory}",
            GRID: f"{self.blocks} blocks share each layer of a step",
            TILES: f"{self.blocks} blocks process tiles of rows through all layers, with activations in {memory}",
            TENSOR_CORE: f"{self.blocks} blocks process tiles of rows through all layers, on tensor cores{segments}",
            GEMM: "layers are matrix products by cuBLASLt, in a CUDA graph",
        }[self.strategy]


def next_power_of_two(n):
    """Round up a number of rows, so that kernels are compiled for few of them."""
    return 1 << max(n - 1, 0).bit_length()


def _whole_warps(n, most):
    return max(WARP, min(most, -(-n // WARP) * WARP))


def _tile(n_items, n_threads):
    """The largest tile with work for every thread."""
    return next((tile for tile in (8, 4, 2) if n_items // tile >= n_threads), 1)


def training_config(network, features, optimizer, dtype, batch_size, device):
    """Return the LaunchConfig for training with batches of ``batch_size`` rows on a Device.

    Raises
    ------
    ValueError
        If this device does not support the precision of the products.
    """
    n, widest, rows = network.n_parameters, max(network.sizes), next_power_of_two(batch_size)
    flops = network.step_flops(batch_size)
    n_slots = len(OPTIMIZERS[optimizer].slots) if optimizer else 0
    if network.matmul_precision != "highest":
        return _in_bfloat16(network, features, dtype, batch_size, batch_size, device)
    if widest > MAX_NARROW_WIDTH and flops >= GEMM_FLOPS and _can_use_gemm(network, dtype, device):
        return LaunchConfig(GEMM, GemmLayout(network, features, batch_size), 0, 0, False, 0)
    if flops <= ONE_BLOCK_FLOPS:
        items = max(rows * widest, max(block.fan_in * block.fan_out for block in network.blocks))
        threads = _whole_warps(items, BLOCK_THREADS)
        tiles = _tile(rows * min(network.sizes[1:]), threads), _tile(n // len(network.blocks), threads)
        layout = Layout(network, features, rows, *tiles)
        size = n * (1 + n_slots) + layout.n_transposed + layout.size
        return _with_shared_memory(BLOCK, layout, 1, threads, size, dtype, device)
    if widest <= MAX_NARROW_WIDTH and batch_size >= MIN_TILES_PER_PROCESSOR * TILE_HEIGHT * device.processors:
        layout = Layout(network, features, TILE_HEIGHT, 8, 4)
        blocks = min(device.processors, -(-batch_size // TILE_HEIGHT))
        return _with_shared_memory(TILES, layout, blocks, TILE_THREADS, layout.size + n, dtype, device)
    n_threads = device.processors * GRID_THREADS
    tiles = _tile(rows * max(network.sizes[1:]), n_threads), _tile(n, n_threads)
    layout = Layout(network, features, rows, *tiles)
    return LaunchConfig(GRID, layout, device.processors, GRID_THREADS, False, SUM_BYTES)


def _can_use_gemm(network, dtype, device):
    try:
        cublaslt.library()
    except ImportError:
        return False
    return gemm_refusal(network, dtype, device) is None


def _in_bfloat16(network, features, dtype, n_rows, height, device):
    """TENSOR_CORE if the network fits in shared memory, else GEMM with ``height`` rows at a time."""
    if network.matmul_precision == "high":
        raise ValueError(NO_HIGH)
    if tensor_core_refusal(network, features) is None:
        plan = (segments_for if features.training else plan_for)(network)
        if plan.shared_bytes <= device.shared_bytes and device.capability >= TENSOR_CORE_CAPABILITY:
            blocks = plan.grid(n_rows, device.processors)
            return LaunchConfig(TENSOR_CORE, plan, blocks, plan.threads, True, plan.shared_bytes)
    refusal = gemm_refusal(network, dtype, device)
    if refusal is not None:
        raise ValueError(f"matmul_precision 'medium' is not supported here: {refusal}.")
    cublaslt.library()
    return LaunchConfig(GEMM, GemmLayout(network, features, height), 0, 0, False, 0)


def _with_shared_memory(strategy, layout, blocks, threads, size, dtype, device):
    """A LaunchConfig with the workspace in shared memory if it fits."""
    n_bytes = SUM_BYTES + size * dtype.itemsize
    in_shared = n_bytes <= device.shared_bytes
    return LaunchConfig(strategy, layout, blocks, threads, in_shared, n_bytes if in_shared else SUM_BYTES)


def prediction_config(network, features, dtype, n_rows, device):
    """Return the LaunchConfig for predictions of ``n_rows`` rows on a Device."""
    height = min(next_power_of_two(n_rows), GEMM_PREDICTION_ROWS)
    if network.matmul_precision != "highest":
        return _in_bfloat16(network, features, dtype, n_rows, max(height, 1), device)
    large = max(network.sizes) > MAX_NARROW_WIDTH and network.step_flops(n_rows) >= GEMM_FLOPS
    if large and _can_use_gemm(network, dtype, device):
        return LaunchConfig(GEMM, GemmLayout(network, features, height), 0, 0, False, 0)
    height = next(height for height in (1, 8, TILE_HEIGHT) if height >= min(n_rows, TILE_HEIGHT))
    layout = Layout(network, features, height, 8 if height == TILE_HEIGHT else 1)
    blocks = min(4 * device.processors, -(-max(n_rows, 1) // height))
    threads = _whole_warps(height * max(network.sizes) // layout.tile_rows, TILE_THREADS)
    return _with_shared_memory(TILES, layout, blocks, threads, layout.size, dtype, device)
