"""A fit on Parquet files needs memory for a few row groups, not for the files."""

import subprocess
import sys

import numpy as np
import pytest

pa = pytest.importorskip("pyarrow", reason="needs the package pyarrow")
import pyarrow.parquet as pq  # noqa: E402

MIB = 2**20
ALLOWED = 64 * MIB
ROWS, COLUMNS = 16_384, 16  # of a row group: 2 MiB in float64
LIMITED = """
import resource
import pyarrow as pa
from fastmlp import MLP, Layer, read_blocks

pa.set_memory_pool(pa.system_memory_pool())  # others keep what they have freed
def fit(path):
    blocks = read_blocks(path, "y")
    return MLP([Layer(4), Layer(1, "identity")], random_state=0).fit_stream(blocks, batch_size=1000, shuffle_blocks={w})

fit({small!r})
with open("/proc/self/status") as status:
    now = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmData"))
resource.setrlimit(resource.RLIMIT_DATA, (now + {allowed}, now + {allowed}))
print(fit({large!r})._state.step)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory use is read from /proc")
@pytest.mark.exhaustive
@pytest.mark.parametrize("window", [1, 4])
def test_a_file_four_times_the_allowed_memory(tmp_path, window):
    rng, small, large = np.random.default_rng(0), tmp_path / "small.parquet", tmp_path / "large.parquet"
    n_groups = 4 * ALLOWED // (8 * ROWS * COLUMNS)
    names = [*(f"x{column}" for column in range(COLUMNS - 1)), "y"]
    table = pa.table(dict(zip(names, rng.standard_normal((COLUMNS, ROWS)))))
    pq.write_table(table, small, compression="none", use_dictionary=False)
    with pq.ParquetWriter(large, table.schema, compression="none", use_dictionary=False) as writer:
        for _ in range(n_groups):
            writer.write_table(table)
    assert large.stat().st_size >= 4 * ALLOWED
    script = LIMITED.format(small=str(small), large=str(large), allowed=ALLOWED, w=window)
    result = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-2000:]
    assert int(result.stdout) == -(-n_groups * ROWS // 1000)
