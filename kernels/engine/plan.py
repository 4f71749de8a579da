"""Memory layout of a network in the engine: tables of layers and rows, and the number of threads."""

from ctypes import addressof
from functools import lru_cache

import numpy as np

from fastmlp.kernels.machine import second_level_cache
from fastmlp.kernels.spec import PRECISIONS, activation_row, is_by_target, loss_row

from .bfloat16_tiles import FLOAT_UNIT, INNER, SIDE
from .buffers import Buffers
from .products import DEPTH, TILE_VECTORS
from .records import Layer, Layout
from .reduced_plan import place_operands
from .requirements import NO_REQUIREMENTS
from .stage_plan import StagePlan
from .update import BLOCK, SCRATCH_ROWS, SCRATCH_TILES

TRAINING, GRADIENT, PREDICTION, PASSES = "training", "gradient", "prediction", "passes"

KEPT_BYTES = 2**23  # buffers up to this size are kept for the next call
KEPT_ROWS = 2**16  # the same for tables of rows
CACHE_BYTES = max(2**20, second_level_cache())  # of the second level; smaller ones were not measured
PACK_ROWS = 64  # of a batch: with fewer, copying weights pays only if they are much larger than the cache
GROUP_FACTOR = 2  # row groups are used if data shared between cores exceeds the parameters by this factor
COLUMN_FACTOR = 3  # columns are used if inputs exceed the rows of a batch by this factor
THREAD_FLOPS = 2e6  # per thread and step: less does not pay for a barrier
TILE_FLOPS = 5e5  # of a batch: with fewer, packing tiles of bfloat16 costs more than their products save
CALL_FLOPS = 2e7  # a smaller call does not pay for waking a thread


def needs_features(network, layer, requirements):
    """Whether a layer of weights needs engine/layer_features.py, apart from derivatives of z."""
    skips, row = network.skips or (None,) * len(network.activations), activation_row(network.activations[layer])
    above = skips[layer + 1] if layer + 1 < len(skips) else None
    return bool(
        (skips[layer] is not None and not skips[layer].weighted)
        or (above is not None and above.weighted)
        or any(skip is not None and skip.source == layer + 1 for skip in skips)
        or row.trainable is not None
        or (requirements.noisy and row.std is not None)
        or (layer < len(requirements.dropped) and requirements.dropped[layer])
        or (requirements.activity and layer + 1 < len(skips))
    )


def flops_of_row(network, learning, sparse=False):
    """Floating-point operations of one row in all products of matrices; ``sparse``: without the first one."""
    first = network.blocks[0]
    n_weights = network.n_parameters - first.start - (first.fan_in * first.fan_out if sparse else 0)
    return (6 if learning else 2) * n_weights


def is_packed(n_bytes, n_rows):
    """Whether weights of that size are copied by panels before a product with rows of a batch."""
    if n_rows < PACK_ROWS:
        return n_bytes > 2 * CACHE_BYTES
    return n_bytes >= CACHE_BYTES // 2


def unit_for(engine, network, batch_size, learning=True):
    """The unit for the products of a network in its precision (engine/bfloat16_tiles.py)."""
    if network.matmul_precision == "highest" or flops_of_row(network, learning) * batch_size < TILE_FLOPS:
        return FLOAT_UNIT
    return engine.matrix_unit(engine)


def loss_by_output(network):
    """{field: value} of a Layout, for a loss that is computed output by output (engine/losses.py)."""
    row, by_output = loss_row(network.loss), is_by_target(network.loss_options, None)
    return {"n_averaged": network.sizes[-1] if row.mean else 1, "option_step": len(row.options) if by_output else 0}


def row_stride(width, lanes, itemsize):
    """Row length padded to SIMD vectors; never a large power of two, which would cause cache conflicts between rows."""
    stride = -(-width // lanes) * lanes
    return stride + lanes if stride * itemsize >= 2048 and stride % 64 == 0 else stride


class Plan:
    """A network with a batch size, as one engine sees it, for TRAINING, a GRADIENT, PREDICTION or PASSES.

    Attributes
    ----------
    layers : a Layer (engine/records.py) for each layer of weights
    layout : the Layout of all of it
    like : an empty array of the dtype; 1-D if the plan is plain, that is without layer features and bounds on norms,
        otherwise 2-D; 3-D with an input stage, 4-D in reduced precision; 5-D or 6-D for sparse rows, plain or not
        (Numba compiles the functions for these only where they are needed)
    layer_rows : int64 array of shape (layers + 2, batch): offset of each row of a layer's inputs in its buffer; the
        last two are for the outputs and for strips (engine/products.py)
    batch : rows of a batch, rounded up to a multiple of the tile height
    in_place : whether rows of X are read without a padded copy
    by_columns, n_groups : how threads share the work, see engine/epoch.py
    has_features : whether any layer uses engine/layer_features.py
    n_staged : number of parameters of an input stage
    sparse : whether X is SparseRows
    n_heads : number of columns for which a thread makes lists of a batch's nonzeros
    workspace, scratch, packed : buffer sizes in elements, per call, per thread and for operands in bfloat16
    flops : of one row; of sparse rows without the first layer
    """

    def __init__(self, engine, network, dtype, batch_size, work, requirements=NO_REQUIREMENTS):
        learning = work != PREDICTION
        codes = engine.network_codes(network, dtype)
        self.loss = codes.loss
        sizes, rows = network.sizes, engine.tile_rows
        skips, blocks = network.skips or (None,) * (len(sizes) - 1), network.blocks
        linked = loss_row(network.loss).link is not None
        of_input = [activation_row(name).of_input for name in network.activations]
        has_features = [
            needs_features(network, layer, requirements) or (learning and of_input[layer])
            for layer in range(len(blocks))
        ]
        self.has_features = any(has_features) or requirements.inputs
        lanes = engine.vector_bytes // dtype.itemsize
        n_terms = PRECISIONS[network.matmul_precision]
        unit = unit_for(engine, network, batch_size, learning)
        row_unit, width_unit = (rows, lanes) if unit == FLOAT_UNIT else (INNER, SIDE)
        self.dtype, self.lanes = dtype, lanes
        self.batch = -(-batch_size // row_unit) * row_unit
        self.sparse = requirements.sparse
        self.n_heads = sizes[0] if self.sparse and learning else 0
        # A caller may change X between the two calls of PASSES.
        self.in_place = self.sparse or (
            (n_terms > 0 or sizes[0] % rows == 0)
            and not requirements.inputs and work != PASSES and network.inputs is None
        )  # fmt: skip
        self.flops = flops_of_row(network, learning, self.sparse)
        # Columns cost a copy of the weights before and after the call, but then cores do not exchange weights in every
        # step, only the first layer's outputs and deltas.
        self.by_columns = bool(
            work == TRAINING and self.in_place and len(sizes) > 2 and sizes[0] > COLUMN_FACTOR * self.batch
            and not (self.has_features or requirements.by_matrix or n_terms or self.sparse)
        )  # fmt: skip
        # Groups cost a gradient each, but then cores do not exchange the activations and deltas of the batch.
        self.n_parameters = network.n_parameters
        crossing = self.batch * (sizes[0] + 2 * sum(sizes[1:]))
        self.n_groups = 0
        can_group = learning and work != PASSES and not (self.by_columns or self.sparse)
        if can_group and GROUP_FACTOR * self.n_parameters < crossing:
            self.n_groups = min(8, max(2, batch_size // 128))
        widths = list(sizes)  # of a layer's rows, with what a weighted skip brings to the layer above
        for layer, block in enumerate(blocks):
            widths[layer] = 0 if layer == 0 and self.sparse else block.fan_in
        strides = [row_stride(n, width_unit, dtype.itemsize) for n in widths]
        self.layers = (Layer * (len(sizes) - 1))()
        self.workspace = input_deltas = 0 if self.in_place else self.batch * strides[0]
        self.n_staged, staged, self._stage = 0, network.inputs is not None, None
        if staged:
            self.n_staged = network.inputs.n_parameters
        if work == PASSES or (learning and self.n_staged):
            self.workspace *= 2
        if staged:
            height = row_stride(self.batch, lanes, dtype.itemsize)
            self._stage = StagePlan(network.inputs, self.batch, strides[0], height, self.workspace)
            self.workspace = self._stage.workspace
        self.n_squares = inputs = 0
        for layer, (start, fan_in, fan_out, n_slopes) in enumerate(blocks):
            outputs, size = self.workspace, self.batch * strides[layer + 1]
            self.workspace += 2 * size if learning else size
            rule, skip = activation_row(network.activations[layer]), skips[layer]
            da_dz = da_dslope = slope_deltas = -1
            if has_features[layer] and learning and not rule.rowwise and not (linked and layer == len(blocks) - 1):
                da_dz, self.workspace = self.workspace, self.workspace + size
            if n_slopes and learning:
                da_dslope = slope_deltas = self.workspace
                self.workspace += size
                if work == PASSES:  # several backward passes may follow a forward pass
                    slope_deltas, self.workspace = self.workspace, self.workspace + size
            n_squares = fan_out if self.by_columns and layer == 0 else -(-fan_in // rows)
            packed = is_packed(fan_in * fan_out * dtype.itemsize, self.batch) and not (layer == 0 and self.sparse)
            self.layers[layer] = Layer(
                fan_in=fan_in, fan_out=fan_out, weights=start, inputs=inputs, outputs=outputs, deltas=outputs + size,
                stride=strides[layer + 1], squares=self.n_squares, activation=codes.activations[layer],
                derivative=codes.derivatives[layer], packed=packed, has_features=has_features[layer],
                of_input=rule.of_input, da_dz=da_dz, da_dslope=da_dslope, slope_deltas=slope_deltas, n_slopes=n_slopes,
                noise_std=codes.stds[layer], skip_source=-1 if skip is None else skip.source,
                skip_weighted=skip is not None and skip.weighted,
            )  # fmt: skip
            inputs = outputs
            self.n_squares += n_squares
        self.layer_rows = np.multiply.outer([*strides, rows], np.arange(self.batch)).astype(np.int64)
        rounded = self.workspace
        if n_terms and not learning:
            self.workspace += self.batch * max(strides)
        self.scratch = TILE_VECTORS * lanes * (DEPTH + 1)
        if learning and any(layer.packed for layer in self.layers):
            self.scratch += SCRATCH_ROWS * (DEPTH + max(strides))
        elif learning:
            self.scratch += SCRATCH_TILES * rows * max(strides)
        if self.has_features or requirements != NO_REQUIREMENTS:
            self.scratch = max(self.scratch, 2 * max(strides))
        if staged:
            self.scratch = max(self.scratch, self._stage.scratch, BLOCK)
        if self.sparse:
            self.scratch = max(self.scratch, BLOCK, sizes[1])
        self.learning, self.packed = learning, 0
        if n_terms:
            of_inputs = work == PASSES or self.n_staged > 0
            self._weight_rows, self.packed, scratch = place_operands(
                self.layers, self.batch, strides, n_terms, unit, learning, of_inputs
            )
            self.scratch = max(self.scratch, scratch)
        plain = not (self.has_features or requirements.by_matrix)
        n_dims = 1 if plain else 2
        n_dims = n_dims + 4 if self.sparse else 4 if n_terms else 3 if staged else n_dims
        self.like = np.empty((0,) * n_dims, dtype)
        self.layout = Layout(
            layers=addressof(self.layers), n_layers=len(self.layers), n_inputs=sizes[0],
            n_parameters=self.n_parameters, loss=self.loss, linked=linked, layer_rows=self.layer_rows.ctypes.data,
            batch=self.batch, in_place=self.in_place, by_columns=self.by_columns, n_groups=self.n_groups,
            n_squares=self.n_squares, input_deltas=input_deltas, has_features=self.has_features,
            n_columns=network.n_columns, staged=staged, stage=addressof(self._stage.stage) if staged else 0,
            sparse=self.sparse, row_unit=row_unit, n_terms=n_terms, unit=unit, rounded=rounded,
            weight_rows=self._weight_rows.ctypes.data if n_terms else 0, **loss_by_output(network),
        )  # fmt: skip
        self._free = []

    def wanted_threads(self, n_rows, sparse_flops=0, n_steps=1):
        """Number of threads worth using; 0 if the call is too short to count against the limit.

        ``sparse_flops`` are those of the first layer on sparse rows, in each of ``n_steps`` steps.
        """
        if self.flops * n_rows + sparse_flops * n_steps < CALL_FLOPS:
            return 0
        work = self.flops * (self.batch if self.learning else n_rows) + sparse_flops
        return max(1, int(work / THREAD_FLOPS))

    def n_workspaces(self, n_threads):
        return 1 if self.learning else n_threads

    def take_buffers(self, n_threads):
        """Unused buffers; return them with ``give_back``."""
        try:
            buffers = self._free.pop()
        except IndexError:
            return Buffers(self, n_threads)
        return buffers if len(buffers.scratch) >= n_threads else Buffers(self, n_threads)

    def give_back(self, buffers):
        if buffers.n_bytes < KEPT_BYTES and not self._free:
            self._free.append(buffers)


_recent = lru_cache(maxsize=32)(Plan)


def plan_of(engine, network, dtype, batch_size, work, requirements=NO_REQUIREMENTS):
    """The Plan, cached unless its tables are large."""
    make = _recent if batch_size * len(network.sizes) < KEPT_ROWS else Plan
    return make(engine, network, dtype, batch_size, work, requirements)
