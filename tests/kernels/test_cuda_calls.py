"""Driver calls of backend cuda: few per epoch, and the expected launches for each training strategy.

Everything but the driver is real (support/fake_driver.py).
"""

import fake_driver
import pytest

pytestmark = pytest.mark.exhaustive

SMALL = """
import threading
import numpy as np
from fastmlp import MLP

X = np.random.RandomState(0).standard_normal((64, 4)).astype("f4")
model = MLP([(8, "relu"), (1, "identity")], backend="cuda", random_state=0)
thread = threading.Thread(target=lambda: print(model.fit(X, X[:, :1], 20, batch_size=16).backend_reason_))
thread.start()
thread.join()
"""


def test_an_epoch_is_five_driver_calls():
    """Two copies to the device, a launch, a copy back, a wait; also in a thread."""
    run = fake_driver.run(SMALL)
    assert run.out.startswith("requested; one block of")
    launches = [i for i, call in enumerate(run.log) if call.name.startswith("cuLaunch") and call.kernel == "train"]
    names = [call.name for call in run.log[launches[-11] : launches[-1]]]
    assert names == 10 * [
        "cuLaunchKernel", "cuMemcpyDtoHAsync", "cuStreamSynchronize", "cuMemcpyHtoDAsync", "cuMemcpyHtoDAsync",
    ]  # fmt: skip


FIT = """
import numpy as np
from fastmlp import MLP
from fastmlp.kernels.cuda import data, devices

{before}
rows, batch_size, n_inputs, *hidden = {shape}
X = np.random.RandomState(0).standard_normal((rows, n_inputs)).astype("f4")
layers = [*((width, "relu") for width in hidden), (1, "identity")]
model = MLP(layers, backend="cuda", random_state=0, matmul_precision={precision!r})
print(model.fit(X, X[:, :1], 4, batch_size=batch_size).backend_reason_)
"""
STREAMED = "data.BLOCK_BYTES, devices.free_bytes = 16 * 4 * 4, lambda: 100"
STRATEGIES = {  # shape, precision, code run before; description; launches per epoch; expected driver calls
    "one block": ((64, 16, 4, 8), "highest", "", "one block of", 1, ()),
    "more than 48 KiB": ((64, 16, 4, 400), "highest", "", "one block of", 1, ("cuKernelSetAttribute",)),
    "grid": ((128, 128, 784, 128), "highest", "", "blocks share each layer", 1, ("cuLaunchCooperativeKernel",)),
    "tiles": ((8192, 8192, 64, 64, 64), "highest", "", "tiles of rows", 1, ("cuLaunchCooperativeKernel",)),
    "tensor cores": ((1024, 1024, 64, 64), "medium", "", "on tensor cores", 1, ("cuLaunchCooperativeKernel",)),
    "streamed": ((64, 16, 4, 8), "highest", STREAMED, "one block of", 4, ("cuEventRecord", "cuStreamWaitEvent")),
}


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy(strategy):
    """One launch per epoch and block of rows, for any number of steps; only the first epoch allocates memory."""
    shape, precision, before, reason, launches, requests = STRATEGIES[strategy]
    run = fake_driver.run(FIT.format(shape=shape, precision=precision, before=before))
    assert reason in run.out
    assert run.errors() == []
    assert run.kernels().count("train") == 4 * launches
    assert set(requests) <= {call.name for call in run.log}
    trains = [i for i, call in enumerate(run.log) if call.name.startswith("cuLaunch") and call.kernel == "train"]
    assert not [call for call in run.log[trains[launches] : trains[-1]] if "Alloc" in call.name]
