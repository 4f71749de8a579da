"""Records: the arguments of the engine's functions as C structures.

The host fills a record, and the engine takes its address. The annotations are the one list of its fields: ctypes and
Cython make a struct of them, Numba a pointer whose attributes are loaded. Each field takes 8 bytes: an ``int``,
``bint`` or ``float``, or the address of numbers or of another record.

On the online path (4-16-3, one row a step) and on 8-64-64-1 in batches of 32 both compilers make as many steps a second
with records as with lists of 25 and 45 arguments, within 1 %, and a call from Python takes 10 to 15 % less.
"""

from __future__ import annotations

from ctypes import Structure, c_double, c_int64, c_size_t

from .primitives import Doubles, Indices, Integers, Vector, bint

_KINDS = {"int": c_int64, "bint": c_int64, "float": c_double}  # others are addresses


def record(structure):
    """Class decorator: make the annotations of a ctypes structure its fields."""
    structure._fields_ = [(name, _KINDS.get(kind, c_size_t)) for name, kind in structure.__annotations__.items()]
    return structure


@record
class Layer(Structure):
    """A layer of weights.

    ``weights`` is an offset into the flat parameters; ``inputs``, ``outputs`` and ``deltas`` into the workspace, whose
    rows are ``stride`` apart; ``squares`` into the sums of squares. ``activation`` and ``derivative`` are codes of
    rules. Layers with ``has_features`` compute more than f(A W + b), see engine/layer_features.py, and use the fields
    after it: ``da_dz``, ``da_dslope`` and ``slope_deltas`` are offsets like ``outputs``, or -1; ``noise_std`` is a
    code; ``skip_source`` is the layer that a skip comes from, or -1.

    For products in bfloat16, ``first_weight_row`` is the place of the first row of the matrix in ``weight_rows`` of the
    layout, and the others are offsets of its operands in ``packed``, or -1.

    In engine/online.py ``stride`` is that of the rows of weights, ``width`` the padded ``fan_out``, ``local`` an offset
    into the rearranged parameters, and ``narrow`` says that a matrix is transposed there.
    """

    fan_in: int
    fan_out: int
    weights: int
    inputs: int
    outputs: int
    deltas: int
    stride: int
    squares: int
    activation: int
    derivative: int
    packed: bint
    width: int
    local: int
    narrow: bint
    has_features: bint
    of_input: bint
    da_dz: int
    da_dslope: int
    slope_deltas: int
    n_slopes: int
    noise_std: int
    skip_source: int
    skip_weighted: bint
    first_weight_row: int
    packed_weights: int
    packed_transpose: int
    packed_inputs: int
    packed_deltas: int


@record
class Column(Structure):
    """A column of X in the input stage: what it becomes, and where its numbers lie (kernels/inputs.py).

    ``output`` is the place of its first number in a row of inputs, ``parameters`` an offset into the flat parameters,
    and ``edges`` one into those of the stage. The first ``n_decaying`` of its ``n_parameters`` have weight decay.
    ``w``, ``V``, ``p`` and ``b`` are offsets of these parameters of a periodic column from its first one.
    ``work_before`` is the work of the columns before it, as a part of the stage's.
    """

    kind: int
    n: int
    size: int
    width: int
    output: int
    parameters: int
    n_parameters: int
    n_decaying: int
    w: int
    V: int
    p: int
    b: int
    edges: int
    rate: float
    work_before: int


@record
class Stage(Structure):
    """The input stage of a network (engine/input_stage.py).

    In the workspace, ``values`` is the offset of the columns of X, ``height`` apart, and ``encoded`` that of the
    inputs before their factors, which lie in the parameters at ``scales``, or -1. ``edges`` holds the lower edges of
    the bins of each piecewise-linear column, and then the reciprocals of their widths.
    """

    columns: Column
    n_columns: int
    n_parameters: int
    work: int
    values: int
    height: int
    encoded: int
    scales: int
    scale_rate: float
    edges: Doubles


@record
class Layout(Structure):
    """Layout of a network for a batch size and kind of work, made by engine/plan.py.

    ``n_averaged`` is the number of outputs over which the loss is a mean, 1 for a sum; ``option_step`` the number of
    options of each output, 0 if all outputs have the same. ``input_deltas`` is the offset of dLoss/d(inputs) in the
    workspace, for engine/passes.py and a trained input stage. X has ``n_columns``; with an input stage, ``staged``,
    the ``n_inputs`` of the first layer are made of them. ``sparse``: X is sparse rows (engine/sparse_rows.py). Threads
    own multiples of ``row_unit`` rows of a batch, and of the weights. The operands of products are sums of ``n_terms``
    bfloat16, which ``unit`` multiplies (engine/reduced_precision.py), or float32 as they are if it is 0; ``rounded`` is
    an offset in the workspace of a prediction.
    """

    layers: Layer
    n_layers: int
    n_inputs: int
    n_parameters: int
    loss: int
    linked: bint
    n_averaged: int
    option_step: int
    layer_rows: Integers
    batch: int
    in_place: bint
    by_columns: bint
    n_groups: int
    n_squares: int
    input_deltas: int
    has_features: bint
    n_local: int
    n_columns: int
    staged: bint
    stage: Stage
    sparse: bint
    row_unit: int
    n_terms: int
    unit: int
    weight_rows: Integers
    rounded: int


@record
class Epochs(Structure):
    """Several epochs of a call (engine/epochs.py).

    ``draw`` and ``generator`` are addresses for ``random_integer``; without ``draw`` the samples are not shuffled.
    ``from_scratch``: shuffle sorted samples instead of the last order. ``start`` receives the parameters at the start
    of the last epoch, and ``losses`` two numbers for each epoch. The epochs end early after one with a parameter above
    ``largest``. A schedule has ``n_batches`` rates for each.
    """

    n_epochs: int
    n_done: int
    draw: int
    generator: int
    from_scratch: bint
    start: Vector
    losses: Doubles
    largest: float
    n_batches: int


@record
class Run(Structure):
    """State of a call, shared by its threads: samples, extras, optimizer and results.

    If the samples are a part of a larger batch, ``first_row`` is the place of the first one in it, and ``batch_weight``
    the sum of all its weights. ``rates`` holds one learning rate, or if ``scheduled`` one for each batch. ``n_weights``
    is the number of weights of a sample: 0, 1, or one for each output. ``out`` and ``input_sums`` are used for
    predictions. ``given`` is a gradient that the caller gives, of the outputs or of the parameters; ``of_inputs`` asks
    for dLoss/dX in ``out``. Of the parameters ``n_given`` gradients, ``given_stride`` apart, are added up, for a step
    of part ``part`` of ``n_parts``.
    Sparse rows have ``values`` and their column ``indices``, from ``row_starts`` of a row to that of the next one.
    """

    layout: Layout
    n_threads: int
    counter: Integers
    X: Vector
    values: Vector
    indices: Indices
    row_starts: Integers
    y: Vector
    order: Integers
    n_rows: int
    batch_size: int
    first_row: int
    batch_weight: float
    sample_weight: Vector
    n_weights: int
    alpha: float
    loss_options: Doubles
    noisy: bint
    extras: Doubles
    seed: int
    optimizer: int
    rate_rule: int
    optimizer_options: Doubles
    parameters: Vector
    gradient: Vector
    slots: Vector
    n_slots: int
    step: int
    rates: Doubles
    scheduled: bint
    sums: Vector
    losses: Doubles
    penalties: Doubles
    weights: Doubles
    squares: Doubles
    results: Doubles
    out: Vector
    input_sums: Doubles
    repeated: bint
    epochs: Epochs
    given: Vector
    n_given: int
    given_stride: int
    part: int
    n_parts: int
    of_inputs: bint
    packed: Vector


@record
class Worker(Structure):
    """State of one thread of a call: its buffers and its current part of a batch.

    The part is rows ``low`` to ``high``; ``inputs`` and ``offsets`` locate its rows of X, ``numbers`` are their numbers
    in X. The four fields from ``heads`` on hold a batch's nonzeros by column (engine/sparse_rows.py). The fields from
    ``rate`` on define the update from the gradient of this step.
    """

    run: Run
    thread: int
    workspace: Vector
    row_offsets: Integers
    scratch: Vector
    tile_state: Integers
    heads: Integers
    following: Integers
    entry_rows: Integers
    entry_values: Vector
    low: int
    high: int
    inputs: Vector
    offsets: Integers
    numbers: Integers
    total: float
    step: int
    rule: int
    gradient: Vector
    rate: float
    l2: float
    l1: float
    shrink: float
    clip: float
    scale: float


RECORDS = Layer, Column, Stage, Layout, Epochs, Run, Worker
