"""Where a narrow network's weights and a tile of rows lie in shared memory, and who adds up which gradients.

A block takes tiles of 16 rows for each of its warps through all layers, or through a segment of them where a block has
no room for all. Widths are padded with zeros to multiples of 16, and rows of matrices to an odd number of 16-byte
chunks: then ldmatrix meets no bank twice. Offsets count 16-bit numbers. ``inputs[i]`` of a tile are what layer i takes
in, ``deltas[i]`` the dLoss/dz that it gets back (or, before that, da/dz where it follows from z alone).
"""

from functools import lru_cache
from itertools import pairwise, product

from fastmlp.kernels.cuda.simt.block_sums import SUM_BYTES
from fastmlp.kernels.spec import activation_row

WIDEST = 128
SHARED_BYTES = 232448  # what one block can have on compute capability 9.0, its 1 KiB for the system aside
MMA_ROWS = 16
GRADIENT_REGISTERS = 144  # of a thread, of 255
WARPS = (8, 6, 4)
JOB_FIELDS = 10
INPUTS_AT, INPUTS_STRIDE, DELTAS_AT, DELTAS_STRIDE, START, FAN_IN, FAN_OUT, ROW, COLUMN, BIAS = range(JOB_FIELDS)


def padded(width):
    return -(-width // 16) * 16


class Plan:
    """Of the layers from ``first`` to before ``last``. ``learning``: with room for gradients. ``warps`` of a block; its
    gradients are cut into jobs of a warp each."""

    def __init__(self, network, learning, warps, first=0, last=None):
        self.network, self.learning, self.warps = network, learning, warps
        self.threads, self.tile_rows = warps * 32, warps * MMA_ROWS
        self.blocks, self.widths = network.blocks, [padded(size) for size in network.sizes]
        self.strides = [width + 8 for width in self.widths]  # of rows of weights
        self.n_layers, self.n_parameters = len(self.blocks), network.n_parameters
        self.layers = range(first, self.n_layers if last is None else last)
        self._key = network, learning, warps, self.layers
        widest = max(self.strides[first : self.layers.stop + 1])
        self.tile_strides = self.strides if learning else [widest] * len(self.strides)
        self.end = SUM_BYTES // 2
        self.biases = {i: self._take(2 * self.widths[i + 1]) // 2 for i in self.layers}  # of float32
        self.weights = {i: self._take(self.widths[i] * self.strides[i + 1]) for i in self.layers}
        rows = self.tile_rows
        if learning:
            self.inputs = {i: self._take(rows * self.tile_strides[i]) for i in self.layers}
            self.deltas = {i: self._take(rows * self.tile_strides[i + 1]) for i in self.layers}
            self.unit = self._best_unit()
            self.jobs = self._jobs(*self.unit)
            self.rounds = len(self.jobs) // warps
        else:  # the outputs of a layer take the place of its inputs
            self.inputs = dict.fromkeys(range(first, self.layers.stop + 1), self._take(rows * widest))
        self.shared_bytes = 2 * self.end
        self.copies, self.n_copy = [], 0  # of the padded weights of all layers in global memory
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
        """Cycles of a step of 16 rows: of the busiest tensor core, of shared memory, and some for each round."""
        count = sum(len(list(self._cuts(layer, *unit))) for layer in self.layers)
        m_tiles, n_tiles = unit
        rounds = -(-count // self.warps)
        busiest = -(-count // 4) if self.warps > 4 else rounds
        return max(busiest * m_tiles * n_tiles * 6.4, count * (m_tiles + n_tiles / 2) * 4) + 8 * rounds

    def _registers(self, unit):
        count = sum(len(list(self._cuts(layer, *unit))) for layer in self.layers)
        return -(-count // self.warps) * (4 * unit[0] + 1) * unit[1]

    def _best_unit(self):
        """(m, n): a job adds up n tiles of 8 columns in m tiles of 16 rows of dLoss/dW; None if there is no room."""
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
        # A unit may reach past its matrix: what it reads there is not kept, but must be there.
        self.end += 128
        return jobs + [(-1,) * JOB_FIELDS] * (-len(jobs) % self.warps)

    @property
    def fits(self):
        if self.shared_bytes > SHARED_BYTES:
            return False
        return not self.learning or self._registers(self.unit) <= GRADIENT_REGISTERS

    def grid(self, rows, processors):
        """Blocks for ``rows`` rows, all of them at work at once."""
        return max(1, min(processors, -(-rows // self.tile_rows)))


class Segments:
    """Plans of a network's segments, from the inputs on, for training.

    Between two segments all rows of a batch lie in global memory: what goes up, then deltas that come down. Each but
    the highest is gone through forward, for those above, and each in the end forward and backward: ``forward`` and
    ``learning`` are Plans for that. ``between[i]`` is the layer whose outputs are what segment i + 1 takes in.
    """

    def __init__(self, network, warps, cuts):
        parts = list(pairwise((0, *cuts, len(network.blocks))))
        self.learning = [Plan(network, True, warps, *part) for part in parts]
        self.forward = [Plan(network, False, warps, *part) for part in parts[:-1]]
        self.between = [cut - 1 for cut in cuts]
        plan = self.learning[0]
        self.network, self.warps, self.threads, self.tile_rows = network, warps, plan.threads, plan.tile_rows
        self.blocks, self.widths, self.n_layers = plan.blocks, plan.widths, plan.n_layers
        self.n_parameters, self.copies, self.n_copy = plan.n_parameters, plan.copies, plan.n_copy
        self.shared_bytes = max(plan.shared_bytes for plan in (*self.learning, *self.forward))
        self.words, self.row_words = [], 0  # pairs of bf16 that lie between segments: where they begin, for each row
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
        return all(plan.fits for plan in (*self.learning, *self.forward))

    def grid(self, rows, processors):
        """Blocks for ``rows`` rows, all of them at work at once."""
        return max(1, min(processors, -(-rows // self.tile_rows)))

    def words_between(self, rows):
        """Words of global memory for a batch of ``rows`` rows."""
        return self.row_words * -(-rows // self.tile_rows) * self.tile_rows


@lru_cache(maxsize=64)
def plan_for(network):
    """A Plan for predictions that fits, with as many warps as possible; None if there is none."""
    return next((plan for plan in (Plan(network, False, warps) for warps in WARPS) if plan.fits), None)


@lru_cache(maxsize=64)
def segments_for(network):
    """The fewest Segments that fit, of about the same number of layers, with as many warps as possible; or None.

    A segment ends where da/dz follows from a: that of its last layer is taken by the segment above, which has no z.
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


def refusal(network, features):
    """Why this engine cannot run the network; None if it can. ``features`` as in simt/layout.py."""
    rows = [activation_row(activation) for activation in network.activations]
    if max(network.sizes) > WIDEST:
        return f"layers wider than {WIDEST}"
    if any(skip is not None for skip in network.skips):
        return "skip connections"
    if any(row.learned is not None for row in rows):
        return "learned slopes"
    if any(row.rowwise for row in rows[:-1]):
        return "softmax in a hidden layer"
    if features.noisy and (features.inputs or any(features.dropped) or any(row.deviation for row in rows)):
        return "dropout or noise"
    if features.activity:
        return "activity penalties"
    if features.limited:
        return "bounds on norms of weights"
    if not features.learning:
        return None if plan_for(network) else "weights that do not fit in shared memory"
    return None if segments_for(network) else "no place to cut it into segments that fit in a block"
