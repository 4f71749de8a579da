"""The input stage: how each column of X becomes inputs of the first layer, and where its parameters lie.

They come first in the flat vector, column by column, and then the factors of all inputs, if these are trained:

- embedding: the table, of shape (n, size) in row-major order;
- periodic: w (n), V (n, size), p (n), b (size); weight decay does not apply to p and b.
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import NamedTuple

PLAIN, ONE_HOT, EMBEDDING, PERIODIC, PIECEWISE_LINEAR = range(5)


class InputColumn(NamedTuple):
    """What becomes of a column x of X.

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
    def parts(self):
        """Numbers of the parameters with and without weight decay."""
        return {EMBEDDING: (self.n * self.size, 0), PERIODIC: (self.n * (1 + self.size), self.n + self.size)}.get(
            self.kind, (0, 0)
        )


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
        starts = accumulate((sum(column.parts) for column in self.columns), initial=0)
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
        return self.blocks[-1].start + sum(self.columns[-1].parts)

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
    for (kind, n, size, *_), start, _ in inputs.blocks:
        found = {}
        if kind == EMBEDDING:
            found["table"] = vector[start : start + n * size].reshape(n, size)
        elif kind == PERIODIC:
            for name, shape in (("w", (n,)), ("V", (n, size)), ("p", (n,)), ("b", (size,))):
                stop = start + shape[0] * (shape[1] if len(shape) > 1 else 1)
                found[name], start = vector[start:stop].reshape(shape), stop
        views.append(found)
    scales = inputs.scales
    return views, None if scales is None else vector[scales : scales + inputs.width]
