"""The input stage: how each column of X becomes inputs of the first layer, and where its parameters lie.

They come first in the flat vector, column by column, and then the factors of all inputs, if these are trained.
InputColumn.shapes lists those of a column. Arrays are stored in row-major order.
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from math import prod
from typing import NamedTuple

PLAIN, ONE_HOT, EMBEDDING, PERIODIC, PIECEWISE_LINEAR = range(5)
WITHOUT_DECAY = "p", "b"  # parameters to which weight decay does not apply; they come last


class InputColumn(NamedTuple):
    """Encoding of a column x of X.

    ==================  ======================================================================================
    PLAIN               x
    ONE_HOT             e_x, for a code x from 0 to n - 1; zeros for any other value
    EMBEDDING           row x of a trained table of n rows of ``size`` numbers; zeros for any other value
    PERIODIC            x, and b_d + sum over k of V_kd cos(2 pi (w_k x + p_k)), for n frequencies k, d < ``size``
    PIECEWISE_LINEAR    clip((x - e_j) / (e_j+1 - e_j), 0, 1), for n bins j between n + 1 increasing ``edges``
    ==================  ======================================================================================

    ``rate`` is a factor of the learning rate.
    """

    kind: int = PLAIN
    n: int = 1
    size: int = 1
    edges: tuple[float, ...] = ()
    rate: float = 1.0

    @property
    def width(self):
        """Number of inputs of the first layer."""
        return {ONE_HOT: self.n, EMBEDDING: self.size, PERIODIC: 1 + self.size, PIECEWISE_LINEAR: self.n}.get(
            self.kind, 1
        )

    @property
    def shapes(self):
        """{name: shape} of the parameters, in their order."""
        n, size = self.n, self.size
        return {
            EMBEDDING: {"table": (n, size)}, PERIODIC: {"w": (n,), "V": (n, size), "p": (n,), "b": (size,)},
        }.get(self.kind, {})  # fmt: skip

    @property
    def offsets(self):
        """{name: number of the parameters before it}."""
        return dict(zip(self.shapes, accumulate(map(prod, self.shapes.values()), initial=0)))

    @property
    def n_parameters(self):
        return sum(map(prod, self.shapes.values()))

    @property
    def n_decaying(self):
        """Number of the first parameters, to which weight decay applies."""
        return sum(prod(shape) for name, shape in self.shapes.items() if name not in WITHOUT_DECAY)


class InputBlock(NamedTuple):
    """A column, the place of its first parameter in the flat vector, and of its first number in the inputs."""

    column: InputColumn
    start: int
    output: int


@dataclass(frozen=True)
class Inputs:
    """An InputColumn for each column of X; ``scale_rate``: factor of the learning rate of the trained factors, or None.

    These records are in the keys of caches and may hold thousands of edges, so the hash is computed once.
    """

    columns: tuple[InputColumn, ...]
    scale_rate: float | None = None

    @cached_property
    def blocks(self):
        """An InputBlock for each column."""
        starts = accumulate((column.n_parameters for column in self.columns), initial=0)
        outputs = accumulate((column.width for column in self.columns), initial=0)
        return tuple(map(InputBlock, self.columns, starts, outputs))

    @cached_property
    def width(self):
        """Number of inputs of the first layer."""
        return self.blocks[-1].output + self.columns[-1].width

    @cached_property
    def n_parameters(self):
        return self._n_of_columns + (0 if self.scale_rate is None else self.width)

    @property
    def scales(self):
        """Place of the factors in the flat vector, or None."""
        return None if self.scale_rate is None else self._n_of_columns

    @property
    def _n_of_columns(self):
        return self.blocks[-1].start + self.columns[-1].n_parameters

    @cached_property
    def _hash(self):
        return hash((self.columns, self.scale_rate))

    def __hash__(self):
        return self._hash

    def __reduce__(self):
        return Inputs, (self.columns, self.scale_rate)  # not the hash, which differs between processes


def column_views(inputs, vector):
    """A dict of views of each column's parameters by name, and the factors or None, from a flat vector."""
    views = []
    for column, start, _ in inputs.blocks:
        found = {}
        for name, shape in column.shapes.items():
            stop = start + prod(shape)
            found[name], start = vector[start:stop].reshape(shape), stop
        views.append(found)
    scales = inputs.scales
    return views, None if scales is None else vector[scales : scales + inputs.width]
