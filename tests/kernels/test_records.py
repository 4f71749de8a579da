"""Records of the engine: the same fields on the host, in Cython and in Numba."""

from ctypes import addressof, sizeof

import numba
import numpy as np
import pytest

from fastmlp.kernels.engine.records import RECORDS, Layer, Layout, Run, Worker
from fastmlp.kernels.numba.primitives import at
from fastmlp.kernels.numba.records import record_at


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.__name__)
def test_each_field_takes_8_bytes(record):
    """Numba finds fields by number, which requires structs without gaps."""
    names = list(record.__annotations__)
    assert [getattr(record, name).offset for name in names] == [8 * i for i in range(len(names))]
    assert sizeof(record) == 8 * len(names)


def test_numba_and_the_host_read_and_write_the_same_fields():
    """Every kind of field, through records that point to records."""
    values, numbers = np.arange(4, dtype="f4"), np.arange(3, dtype="i8")
    layers = (Layer * 2)(Layer(fan_in=3), Layer(fan_in=5, packed=True, skip_source=-1))
    layout = Layout(layers=addressof(layers), n_layers=2, layer_rows=numbers.ctypes.data)
    run = Run(layout=addressof(layout), alpha=0.25, parameters=values.ctypes.data)
    worker = Worker(run=addressof(run), thread=1)

    @numba.njit
    def visit(address, like):
        worker = record_at(address, "Worker", like)
        run, layout = worker.run, worker.run.layout
        layer = at(layout.layers, worker.thread)
        worker.low, worker.rate, worker.gradient = layer.fan_in + layer.skip_source, run.alpha, at(run.parameters, 1)
        run.scheduled = not layer.packed
        run.noisy = layer.packed
        worker.gradient[0] += run.parameters[3]
        return layout.layer_rows[2]

    assert visit(addressof(worker), values) == 2
    assert (worker.low, worker.rate, run.scheduled, run.noisy) == (4, 0.25, 0, 1)
    assert worker.gradient == values.ctypes.data + 4
    np.testing.assert_array_equal(values, [0, 4, 2, 3])
