"""Arguments of every backend: network shape, flat parameter vector, optimizer, batches, penalties and noise.

Parameters lie in one contiguous vector, W1 b1 W2 b2 ..., each W of shape (inputs, outputs) in row-major order, each b
followed by the trainable slopes of the layer, if any. Those of an input stage (inputs.py) come before W1. Gradients and
every optimizer slot have the same layout, so an update is one pass and saving is one write.
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from fastmlp.kernels.inputs import Inputs
from fastmlp.kernels.rules import ACTIVATIONS, LOSSES, OPTIMIZERS, Activation, Loss

ALIGNMENT = 64  # bytes: one cache line, one AVX-512 vector

# Precisions of matrix products: the number of bfloat16 whose sum stands for a float32 operand; 0: the operand as it is.
PRECISIONS = {"highest": 0, "high": 2, "medium": 1}


class Skip(NamedTuple):
    """A connection from the outputs of layer ``source`` (0: the network's inputs) past the layers between.

    ``weighted``: they are further inputs of the layer, in the last rows of its W. Otherwise they are added to z.
    """

    source: int
    weighted: bool


class Block(NamedTuple):
    """Where a layer's parameters lie: W from ``start``, then fan_out biases and n_slopes trainable slopes."""

    start: int
    fan_in: int
    fan_out: int
    n_slopes: int


class Network(NamedTuple):
    """Sizes (inputs, hidden ..., outputs); for each layer of weights an activation, and a Skip or None; and a loss.

    Activations and the loss are names in the tables of the package rules, or rows like theirs that a user has made.
    Each of the ``loss_options`` is a number, or all are tuples with a number for each output. ``matmul_precision`` is
    a name in PRECISIONS: what enters a product of matrices is rounded to that many bfloat16; sums, parameters and
    everything else stay float32. An input stage, ``inputs``, makes the ``sizes[0]`` inputs of the first layer from the
    columns of X.
    """

    sizes: tuple[int, ...]
    activations: tuple[str | Activation, ...]
    loss: str | Loss
    loss_options: tuple[float | tuple[float, ...], ...] = ()
    skips: tuple[Skip | None, ...] = ()
    matmul_precision: str = "highest"
    inputs: Inputs | None = None

    @property
    def n_columns(self):
        """Number of columns of X."""
        return self.sizes[0] if self.inputs is None else len(self.inputs.columns)

    @property
    def blocks(self):
        """A Block per layer of weights."""
        blocks, start = [], 0 if self.inputs is None else self.inputs.n_parameters
        for layer, (fan_in, fan_out) in enumerate(pairwise(self.sizes)):
            skip = self.skips[layer] if self.skips else None
            fan_in += self.sizes[skip.source] if skip is not None and skip.weighted else 0
            row = activation_row(self.activations[layer])
            n_slopes = 0 if row.trainable is None else 1 if row.shared else fan_out
            blocks.append(Block(start, fan_in, fan_out, n_slopes))
            start += (fan_in + 1) * fan_out + n_slopes
        return blocks

    @property
    def n_parameters(self):
        start, fan_in, fan_out, n_slopes = self.blocks[-1]
        return start + (fan_in + 1) * fan_out + n_slopes

    def without_rounding(self):
        """The same network with matrix products in highest precision."""
        return self._replace(matmul_precision="highest")

    def step_flops(self, batch_size):
        """Floating-point operations of the matrix products of a training step."""
        return 6 * (self.n_parameters - self.blocks[0].start) * batch_size


def first_layers(network):
    """The networks that end with the first layer of weights, the second, ...: their parameters come first too."""
    return [
        network._replace(
            sizes=network.sizes[: n + 1], activations=network.activations[:n], skips=network.skips[:n],
            loss="squared_error", loss_options=(),
        )
        for n in range(1, len(network.sizes))
    ]  # fmt: skip


def activation_row(activation):
    """The table row for a name; a custom row is returned as is."""
    return ACTIVATIONS[activation] if isinstance(activation, str) else activation


def loss_row(loss):
    """The table row of a loss, or a custom row as is."""
    return LOSSES[loss] if isinstance(loss, str) else loss


class Optimizer(NamedTuple):
    """A row of the table OPTIMIZERS by name, the learning rate, the options in the row's order, and what goes with it.

    ``clip_norm`` bounds the norm of the whole gradient, ``clip_value`` each of its entries, ``max_norm`` that of the
    weights into each unit after a step; 0 is no bound. ``layer_rates`` multiply the rate layer by layer. ``schedule``
    is for who calls the kernels: they are handed rates.
    """

    name: str
    learning_rate: float
    options: tuple[float, ...] = ()
    weight_decay: float = 0.0
    clip_norm: float = 0.0
    clip_value: float = 0.0
    max_norm: float = 0.0
    layer_rates: tuple[float, ...] = ()
    schedule: tuple | None = None


def optimizer(name, learning_rate=None, *, weight_decay=None, clip_norm=0.0, clip_value=0.0, max_norm=0.0,
              layer_rates=(), schedule=None, **options):  # fmt: skip
    """An Optimizer with the table's defaults where nothing is given."""
    rule = OPTIMIZERS[name]
    rate = rule.learning_rate if learning_rate is None else learning_rate
    return Optimizer(
        name, float(rate), tuple(float(options.get(key, rule.options[key])) for key in rule.options),
        float(rule.weight_decay if weight_decay is None else weight_decay), float(clip_norm), float(clip_value),
        float(max_norm), tuple(map(float, layer_rates)), schedule,
    )  # fmt: skip


class SparseRows:
    """X as compressed sparse rows (CSR), in place of an array where a backend ``TAKES_SPARSE``.

    Row i has ``values`` in the columns ``indices``, from ``row_starts[i]`` to ``row_starts[i + 1]`` of both, in any
    order; a column may appear several times. Arrays are C-contiguous, of the parameters' dtype, int32 and int64.
    """

    __slots__ = ("indices", "n_columns", "row_starts", "values")

    def __init__(self, values, indices, row_starts, n_columns):
        self.values, self.indices, self.row_starts, self.n_columns = values, indices, row_starts, n_columns

    def __len__(self):
        return len(self.row_starts) - 1

    def __getitem__(self, rows):
        """The rows of a slice, without a copy of their values."""
        start, stop, _ = rows.indices(len(self))
        return SparseRows(self.values, self.indices, self.row_starts[start : max(start, stop) + 1], self.n_columns)

    def copy(self):
        """A copy that holds no other rows."""
        starts = self.row_starts
        own = slice(starts[0], starts[-1])
        return SparseRows(self.values[own].copy(), self.indices[own].copy(), starts - starts[0], self.n_columns)

    @property
    def n_nonzeros(self):
        return int(self.row_starts[-1] - self.row_starts[0])


class Batches(NamedTuple):
    """Samples to train on: the rows of X and y that ``order`` names, in batches of ``size``, perhaps weighted.

    Arrays are C-contiguous and of the parameters' dtype, ``order`` is int64. X and y are 2-D, or X is SparseRows where
    a backend ``TAKES_SPARSE``. ``sample_weight`` is 1-D, or has the shape of y with a weight for each target: the
    weight of a row is then their mean.
    """

    X: np.ndarray | SparseRows
    y: np.ndarray
    order: np.ndarray
    size: int
    sample_weight: np.ndarray | None = None


class Part(NamedTuple):
    """Where some rows stand in a larger batch: the place of the first one, and the sum of all weights of the batch.

    The place determines the random numbers of the rows. Without sample weights each row has the weight 1.
    """

    first: int
    weight: float


WHOLE = 0, 1  # the part of a step that is all of it


class Repeat(NamedTuple):
    """Epochs to make in one call.

    ``draws`` are two addresses of a generator of NumPy, its function ``next_uint32`` and its state, for the shuffling
    that ``RandomState.shuffle`` does before each epoch: of ``order`` as it is, or ``from_scratch`` of sorted samples.
    (0, 0): no shuffling. No epoch follows one after which a parameter is above ``largest``, or not finite.
    """

    n_epochs: int
    draws: tuple[int, int]
    from_scratch: bool
    largest: float


def is_by_target(loss_options, sample_weight):
    """Whether losses are computed output by output: targets have weights, or outputs options of their own."""
    of_targets = sample_weight is not None and sample_weight.ndim == 2
    return of_targets or any(isinstance(option, tuple) for option in loss_options)


def needs_dense_inputs(network, noise=None):
    """Whether more than the first layer's product reads the inputs, or its operands are rounded."""
    noisy = noise is not None and (noise.input_dropout > 0 or noise.input_std > 0)
    skipped = any(skip is not None and skip.source == 0 for skip in network.skips)
    return noisy or skipped or network.inputs is not None or network.matmul_precision != "highest"


def for_outputs(network):
    """The network with a loss without a link, so that backpropagation starts from its outputs, whatever its loss is."""
    return network._replace(loss="squared_error", loss_options=())


def flat_weights(sample_weight):
    """Weights of rows or of targets as a 1-D view; ValueError unless contiguous, because nobody would keep a copy."""
    return sample_weight if sample_weight.ndim == 1 else np.frombuffer(sample_weight, sample_weight.dtype)


def row_weights(sample_weight):
    """The weight of each row, from weights of rows or of targets."""
    return sample_weight if sample_weight.ndim == 1 else sample_weight.mean(axis=1)


class Penalty(NamedTuple):
    """Penalties added to the loss: alpha |W|^2 / 2 + l1 |W|, and penalties on the outputs of hidden layers.

    ``alpha`` and ``l1`` are divided by the sum of the weights of a batch. The others are of each row:
    activity_l1 |a| + activity_l2 |a|^2 / 2.
    """

    l1: float = 0.0
    activity_l1: float = 0.0
    activity_l2: float = 0.0
    alpha: float = 0.0

    def of_activity(self):
        """Activity penalties only: weight penalties count once for a batch that is processed in blocks."""
        return self._replace(alpha=0.0, l1=0.0)


NO_PENALTY = Penalty()


class Noise(NamedTuple):
    """Randomness of a pass: shares of inputs and of each hidden layer's outputs that are dropped, the others scaled
    up to keep the mean (Srivastava et al. 2014), and the standard deviation of normal noise on the inputs.

    All of it follows from ``seed``, the step, the layer and the place in the batch.
    """

    seed: int = 0
    input_dropout: float = 0.0
    input_std: float = 0.0
    dropout: tuple[float, ...] = ()

    def of_layer(self, layer):
        """Share of the outputs of a layer of weights that are dropped."""
        return self.dropout[layer] if layer < len(self.dropout) else 0.0


def aligned_zeros(shape, dtype):
    """Like numpy.zeros, starting on a cache line."""
    dtype = np.dtype(dtype)
    count = int(np.prod(shape)) * dtype.itemsize
    raw = np.zeros(count + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + count].view(dtype).reshape(shape)


def aligned_copy(array):
    """A copy that starts on a cache line."""
    copy = aligned_zeros(array.shape, array.dtype)
    copy[...] = array
    return copy


def updates_in_parts(network, optimizer):
    """Whether parts of the parameters can be updated separately: not with clip_norm, max_norm and inputs."""
    return not (optimizer.clip_norm or optimizer.max_norm) and network.inputs is None


def new_slots(optimizer_name, n_parameters, dtype):
    """Zeroed optimizer state of shape (slots of this optimizer, n_parameters)."""
    return aligned_zeros((len(OPTIMIZERS[optimizer_name].slots), n_parameters), dtype)


def layer_views(network, vector):
    """(weights, biases): two lists of views into a flat vector, shapes (inputs, outputs) and (outputs,)."""
    weights, biases = [], []
    for start, fan_in, fan_out, _ in network.blocks:
        stop = start + fan_in * fan_out
        weights.append(vector[start:stop].reshape(fan_in, fan_out))
        biases.append(vector[stop : stop + fan_out])
    return weights, biases


def slope_views(network, vector):
    """Views of the trainable slopes of each layer, of shape (n_slopes,), which is (0,) for most activations."""
    ends = [start + (fan_in + 1) * fan_out for start, fan_in, fan_out, _ in network.blocks]
    return [vector[end : end + block.n_slopes] for end, block in zip(ends, network.blocks)]


def wrong_row(n_inputs, given):
    """Error of a compiled prediction that is called with anything but a row of the right size and dtype."""
    what = type(given).__name__
    if isinstance(given, np.ndarray):
        what = f"{given.dtype} of shape {given.shape}{'' if given.flags.c_contiguous else ', not C-contiguous'}"
    return ValueError(
        f"the row must be {n_inputs} numbers of the model's dtype, as a C-contiguous array of NumPy, got {what}."
    )


def predictor_by(forward, network, parameters):
    """Row predictor by forward(network, parameters, X), for networks without a faster one.

    It uses the current values of the parameters and returns the same array each time.
    """
    parameters, n_inputs, out = parameters.copy(), network.n_columns, np.empty(network.sizes[-1], parameters.dtype)

    def predict(x):
        if not isinstance(x, np.ndarray) or x.size != n_inputs or x.dtype != parameters.dtype:
            raise wrong_row(n_inputs, x)
        out[:] = forward(network, parameters, np.ascontiguousarray(x).reshape(1, -1))[0]
        return out

    return predict


class TrainingBy:
    """The function of ``prepare_training`` for backends that have nothing to prepare."""

    repeat = None

    def __init__(self, train_epoch, *given):
        self._train_epoch, self._given = train_epoch, given

    def __call__(self, batches, step, rates=None, totals=(0.0, 0.0)):
        network, optimizer, parameters, slots, penalty, noise = self._given
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # compiled code does not warn either
            return self._train_epoch(
                network, optimizer, parameters, slots, step, batches, penalty, noise, rates, totals
            )  # fmt: skip

    def takes_threads(self, n_samples):
        """Whether a thread limit affects a call."""
        return True
