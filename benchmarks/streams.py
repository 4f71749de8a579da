"""Epochs over Parquet files against epochs in memory, in turn, and the memory that they take.

python benchmarks/streams.py [FOLDER [part of a work's name]]

The files are written to FOLDER, or else to a temporary folder, and have just been written when they are read: reading
is from the page cache unless it is smaller than they are. Rates are rows per second:

- ``memory``: ``fit`` on arrays; ``blocks in memory``: ``fit_stream`` on a list of blocks.
- ``read ahead``: ``fit_stream`` on ``read_blocks``; ``one after another``: the same without the thread.
- ``reading``: the blocks alone, without training.

Reading does not stall training if ``read ahead`` is near ``blocks in memory`` where ``reading`` is faster than both.
The last table is the growth of the peak of resident memory by a fit on a file of 512 MiB, for a window of row groups.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from turns import in_turn
from works import WORKS, data

from fastmlp import MLP, make_optimizer, read_blocks

ROUNDS, ROW_GROUPS, LEAST_ROWS = 5, 16, 262_144
CHOSEN = "tabular", "mnist 784-128-10, batch 128", "deep"
ROW_GROUP, LARGE, WINDOWS = 4 * 2**20, 512 * 2**20, (1, 4)  # bytes; numbers of row groups


def rows_of(work):
    """The work with rows for a row group of a usual size."""
    return work._replace(rows=min(LEAST_ROWS, 2**28 // (4 * work.sizes[0])))


def write(work, folder):
    """Write the data of a work as a Parquet file."""
    X, y = data(work)
    names = [f"x{column}" for column in range(X.shape[1])]
    table = pa.table([*map(pa.array, np.ascontiguousarray(X.T)), pa.array(y)], names=[*names, "y"])
    pq.write_table(table, folder / "data.parquet", row_group_size=work.rows // ROW_GROUPS)


def model_of(work):
    layers = [*((n, work.activation) for n in work.sizes[1:-1]), (work.sizes[-1], "softmax")]
    return MLP(layers, "categorical_cross_entropy", make_optimizer(work.solver, 1e-3), random_state=0)


class OneAfterAnother:
    """The same blocks as a sequence that is not read ahead."""

    def __init__(self, blocks):
        self.blocks = blocks

    def __len__(self):
        return len(self.blocks)

    def __getitem__(self, number):
        return self.blocks[number]


def in_memory(argument):
    work, _ = argument
    (X, y), model = data(work), model_of(work)
    return lambda: model.fit(X, y, 1, work.batch), work.rows


def in_blocks(make):
    """A contestant that calls ``fit_stream`` on what ``make`` returns for the blocks of the file."""

    def build(argument):
        work, folder = argument
        blocks, model = make(read_blocks(Path(folder) / "data.parquet", "y")), model_of(work)
        return lambda: model.fit_stream(blocks, 1, work.batch), work.rows

    return build


def reading(argument):
    work, folder = argument
    blocks = read_blocks(Path(folder) / "data.parquet", "y")
    return lambda: [len(y) for _, y in blocks], work.rows


WAYS = {
    "memory": in_memory,
    "blocks in memory": in_blocks(list),
    "read ahead": in_blocks(lambda blocks: blocks),
    "one after another": in_blocks(OneAfterAnother),
    "reading": reading,
}

MEMORY = """
import sys
from fastmlp import MLP, Layer, read_blocks

def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))

def fit(path):
    model = MLP([Layer(4), Layer(1, "identity")], random_state=0)
    model.fit_stream(read_blocks(path, "y"), batch_size=1000, shuffle_blocks=int(sys.argv[3]))

fit(sys.argv[1])  # what any fit loads
before = peak()
fit(sys.argv[2])
print(peak() - before)
"""


def memory(folder):
    """{number of row groups in a window: bytes that the peak grows by}"""
    columns = 16
    rows = ROW_GROUP // (4 * columns)
    values = np.random.default_rng(0).standard_normal((columns, rows), np.float32)
    table = pa.table([*map(pa.array, values)], names=[*(f"x{column}" for column in range(columns - 1)), "y"])
    small, large = folder / "small.parquet", folder / "large.parquet"
    pq.write_table(table[:1000], small)
    with pq.ParquetWriter(large, table.schema, compression="none", use_dictionary=False) as writer:
        for _ in range(LARGE // ROW_GROUP):
            writer.write_table(table)
    found = {}
    for window in WINDOWS:
        command = [sys.executable, "-P", "-c", MEMORY, str(small), str(large), str(window)]
        found[window] = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    return found


def main(folder, part=""):
    for name, work in WORKS.items():
        if part not in name or not name.startswith(CHOSEN):
            continue
        work = rows_of(work)
        write(work, folder)
        rates = in_turn({way: ("streams", "WAYS", way) for way in WAYS}, (work, str(folder)), ROUNDS)
        print(f"{name}, {work.rows:,} rows in {ROW_GROUPS} row groups", flush=True)
        for way, rate in rates.items():
            print(f"  {way:18} {rate:12,.0f} rows/s  {rate / rates['blocks in memory']:5.2f}", flush=True)
    print(f"peak of a fit on {LARGE // 2**20} MiB in row groups of {ROW_GROUP // 2**20} MiB")
    for window, growth in memory(folder).items():
        print(f"  window of {window} row groups: + {growth / 2**20:.0f} MiB", flush=True)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]), *sys.argv[2:])
    else:
        with tempfile.TemporaryDirectory() as made:
            main(Path(made))
