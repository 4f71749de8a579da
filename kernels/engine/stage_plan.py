"""Memory layout of an input stage: a part of a Plan (engine/plan.py)."""

from ctypes import addressof

import numpy as np

from fastmlp.kernels.inputs import PERIODIC, PIECEWISE_LINEAR

from .input_stage import STAGE_ROWS
from .records import Column, Stage


class StagePlan:
    """The Stage of a network, from an offset in the workspace.

    Attributes
    ----------
    stage : the record
    columns : a Column (engine/records.py) for each column of X
    workspace, scratch : buffer sizes in elements
    """

    def __init__(self, inputs, batch, stride, height, workspace):
        values, self.workspace = workspace, workspace + height * len(inputs.columns)
        encoded = 0
        if inputs.scales is not None:
            encoded, self.workspace = self.workspace, self.workspace + batch * stride
        self.columns, edges, work = (Column * len(inputs.columns))(), [], 0
        for number, (column, start, output) in enumerate(inputs.blocks):
            self.columns[number] = Column(
                kind=column.kind, n=column.n, size=column.size, width=column.width, output=output, parameters=start,
                n_parameters=column.n_parameters, n_decaying=column.n_decaying, edges=len(edges), rate=column.rate,
                work_before=work, **(column.offsets if column.kind == PERIODIC else {}),
            )  # fmt: skip
            work += work_of(column, batch)
            if column.kind == PIECEWISE_LINEAR:
                edges += [*column.edges[:-1], *(1 / np.diff(column.edges))]
        self._edges = np.array(edges, np.float64)
        self.scratch = STAGE_ROWS * (4 + max(column.size for column in inputs.columns))  # periodic_slopes needs most
        self.stage = Stage(
            columns=addressof(self.columns), n_columns=len(inputs.columns), n_parameters=inputs.n_parameters,
            work=work, values=values, height=height, encoded=encoded,
            scales=-1 if inputs.scales is None else inputs.scales, scale_rate=inputs.scale_rate or 0.0,
            edges=self._edges.ctypes.data,
        )  # fmt: skip


def work_of(column, batch):
    """A rough number of operations for the gradient and update of a column, by which threads share columns."""
    by_row = column.width + (column.n * (12 + 3 * column.size) if column.kind == PERIODIC else 0)
    return batch * by_row + 4 * column.n_parameters
