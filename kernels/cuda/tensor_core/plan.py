"""Shared memory layout for narrow networks on tensor cores, and the distribution of gradients over warps.

A block processes tiles of 16 rows per warp through all layers, or through a segment of the layers if shared memory
cannot hold all. Widths are padded with zeros to multiples of 16, and rows of matrices to an odd number of 16-byte
chunks, which avoids bank conflicts of ldmatrix. Offsets count 16-bit elements. For each tile, ``inputs[i]`` are the
inputs of layer i and ``deltas[i]`` its dLoss/dz (before that, da/dz where it cannot be computed from the outputs).
"""

from functools import lru_cache
from itertools import pairwise, product

from fastmlp.kernels.cuda.simt.block_sums import SUM_BYTES
from fastmlp.kernels.spec import activation_row

WIDEST = 128
SHARED_BYTES = 232448  # per block on compute capability 9.0, without the 1 KiB reserved by CUDA
MMA_ROWS = 16
GRADIENT_REGISTERS = 144  # per thread, out of 255
WARPS = (8, 6, 4)
JOB_FIELDS = 10
INPUTS_AT, INPUTS_STRIDE, DELTAS_AT, DELTAS_STRIDE, START, FAN_IN, FAN_OUT, ROW, COLUMN, BIAS = range(JOB_FIELDS)


def padded(width):
    return -(-width // 16) * 16


class Plan:
    """The layout for layers ``first`` to ``last`` - 1, for training or prediction, with ``warps`` per block.

    For training, the gradients are cut into jobs of one warp each.
    """

    def __init__(self, network, training, warps, first=0, last=None):
        self.network, self.training, self.warps = network, training, warps
        self.threads, self.tile_rows = warps * 32, warps * MMA_ROWS
        self.blocks, self.widths = network.blocks, [padded(size) for size in network.sizes]
        self.strides = [width + 8 for width in self.widths]  # of weight matrices
        self.n_layers, self.n_parameters = len(self.blocks), network.n_parameters
        self.layers = range(first, self.n_layers if last is None else last)
        self._key = network, training, warps, self.layers
        widest = max(self.strides[first : self.layers.stop + 1])
        self.tile_strides = self.strides if training else [widest] * len(self.strides)
        self.end = SUM_BYTES // 2
        self.biases = {i: self._take(2 * self.widths[i + 1]) // 2 for i in self.layers}  # of float32
        self.weights = {i: self._take(self.widths[i] * self.strides[i + 1]) for i in self.layers}
        rows = self.tile_rows
        if training:
            self.inputs = {i: self._take(rows * self.tile_strides[i]) for i in self.layers}
            self.deltas = {i: self._take(rows * self.tile_strides[i + 1]) for i in self.layers}
            self.unit = self._best_unit()
            self.jobs = self._jobs(*self.unit)
            self.rounds = len(self.jobs) // warps
        else:  # outputs overwrite the inputs of a layer
            self.inputs = dict.fromkeys(range(first, self.layers.stop + 1), self._take(rows * widest))
        self.shared_bytes = 2 * self.end
        self.copies, self.n_copy = [], 0  # offsets of the padded bfloat16 weights in global memory
        for i in range(self.n_layers):
            self.copies.append(self.n_copy)
            self.n_copy += self.widths[i] * self.widths[i + 1]

    def __eq__(self, other):
        return isinstance(other, Plan) and self._key == other._key

    def __hash__(self):
        return hash(self._key)

    def _take(self, count):
        start = self.end
        self.end += count
        return start

    def _cuts(self, layer, m_tiles, n_tiles):
        return product(range(0, self.widths[layer], 16 * m_tiles), range(0, self.widths[layer + 1], 8 * n_tiles))

    def _cost(self, unit):
        """Estimated cycles for 16 rows: the larger of tensor core and shared memory time, plus overhead per round."""
        count = sum(len(list(self._cuts(layer, *unit))) for layer in self.layers)
        m_tiles, n_tiles = unit
        rounds = -(-count // self.warps)
        busiest = -(-count // 4) if self.warps > 4 else rounds
        return max(busiest * m_tiles * n_tiles * 6.4, count * (m_tiles + n_tiles / 2) * 4) + 8 * rounds

    def _registers(self, unit):
        count = sum(len(list(self._cuts(layer, *unit))) for layer in self.layers)
        return -(-count // self.warps) * (4 * unit[0] + 1) * unit[1]

    def _best_unit(self):
        """(m, n): a job accumulates n tiles of 8 columns in m tiles of 16 rows of dLoss/dW."""
        units = [unit for unit in product((1, 2, 4), (2, 4, 8, 16)) if self._registers(unit) <= GRADIENT_REGISTERS]
        return min(units, key=lambda unit: (self._cost(unit), self._registers(unit)), default=(1, 2))

    def _jobs(self, m_tiles, n_tiles):
        jobs = []
        for layer in self.layers:
            block = self.blocks[layer]
            bias = block.start + block.fan_in * block.fan_out
            for row, column in self._cuts(layer, m_tiles, n_tiles):
                jobs.append((
                    self.inputs[layer] + row, self.tile_strides[layer], self.deltas[layer] + column,
                    self.tile_strides[layer + 1],
                    block.start, block.fan_in, block.fan_out, row, column, bias if row == 0 else -1,
                ))  # fmt: skip
        # A job may read beyond its matrix: the results are discarded, but the memory must exist.
        self.end += 128
        return jobs + [(-1,) * JOB_FIELDS] * (-len(jobs) % self.warps)

    @property
    def fits(self):
        if self.shared_bytes > SHARED_BYTES:
            return False
        return not self.training or self._registers(self.unit) <= GRADIENT_REGISTERS

    def grid(self, rows, processors):
        """The number of blocks for ``rows`` rows, all resident at once."""
        return max(1, min(processors, -(-rows // self.tile_rows)))


class Segments:
    """The Plans of a network's segments, from the inputs to the outputs, for training.

    Between two segments the outputs of all rows of a batch, and later their deltas, are stored in global memory. First
    all segments but the last are run forward (``forward``), then all of them, in reverse order, forward and backward
    (``training``). ``between[i]`` is the layer whose outputs are the inputs of segment i + 1.
    """

    def __init__(self, network, warps, cuts):
        parts = list(pairwise((0, *cuts, len(network.blocks))))
        self.training = [Plan(network, True, warps, *part) for part in parts]
        self.forward = [Plan(network, False, warps, *part) for part in parts[:-1]]
        self.between = [cut - 1 for cut in cuts]
        plan = self.training[0]
        self.network, self.warps, self.threads, self.tile_rows = network, warps, plan.threads, plan.tile_rows
        self.blocks, self.widths, self.n_layers = plan.blocks, plan.widths, plan.n_layers
        self.n_parameters, self.copies, self.n_copy = plan.n_parameters, plan.copies, plan.n_copy
        self.shared_bytes = max(plan.shared_bytes for plan in (*self.training, *self.forward))
        self.words, self.row_words = (
            [],
            0,
        )  # uint32 words (pairs of bfloat16) per row between segments: offsets, and total
        for layer in self.between:
            self.words.append(self.row_words)
            self.row_words += self.widths[layer + 1] // 2
        self._key = network, warps, cuts

    def __eq__(self, other):
        return isinstance(other, Segments) and self._key == other._key

    def __hash__(self):
        return hash(self._key)

    @property
    def fits(self):
        return all(plan.fits for plan in (*self.training, *self.forward))

    def grid(self, rows, processors):
        """The number of blocks for ``rows`` rows, all resident at once."""
        return max(1, min(processors, -(-rows // self.tile_rows)))

    def words_between(self, rows):
        """The number of words in global memory for a batch of ``rows`` rows."""
        return self.row_words * -(-rows // self.tile_rows) * self.tile_rows


@lru_cache(maxsize=64)
def plan_for(network):
    """The Plan for predictions that fits with the most warps, or None."""
    return next((plan for plan in (Plan(network, False, warps) for warps in WARPS) if plan.fits), None)


@lru_cache(maxsize=64)
def segments_for(network):
    """The fewest Segments of about equal length that fit, with the most warps; or None.

    A segment can end only at a layer whose da/dz follows from its outputs, because the next segment computes it from
    them.
    """
    n_layers = len(network.blocks)
    for count in range(1, n_layers + 1):
        cuts = tuple(round(n_layers * part / count) for part in range(1, count))
        if any(activation_row(network.activations[cut - 1]).of_input for cut in cuts):
            continue
        for warps in WARPS:
            found = Segments(network, warps, cuts)
            if found.fits:
                return found
    return None


def tensor_core_refusal(network, features):
    """Why these kernels cannot run a network with these Features, or None if they can."""
    rows = [activation_row(activation) for activation in network.activations]
    if max(network.sizes) > WIDEST:
        return f"layers wider than {WIDEST}"
    if any(skip is not None for skip in network.skips):
        return "skip connections"
    if any(row.trainable is not None for row in rows):
        return "trainable slopes"
    if any(row.rowwise for row in rows[:-1]):
        return "softmax in a hidden layer"
    if features.noisy and (features.inputs or any(features.dropped) or any(row.std for row in rows)):
        return "dropout or noise"
    if features.activity:
        return "activity penalties"
    if features.limited:
        return "limits on the norms of weights"
    if not features.training:
        return None if plan_for(network) else "weights that do not fit in shared memory"
    return None if segments_for(network) else "no split into segments that fit in shared memory"
