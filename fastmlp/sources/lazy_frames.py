"""Blocks of lazy data frames: partitions of dask, slices of polars."""

from fastmlp.extras import from_extra, optional

from .base import BlockSource
from .columns import Columns, dtype_of

with from_extra("parquet", "read_blocks needs pandas and pyarrow"):
    import pyarrow as pa


class DaskBlocks(BlockSource):
    """One block for each partition of a dask data frame; the number of samples is not known."""

    def __init__(self, frame, target, columns=None, weight=None):
        schema = pa.Schema.from_pandas(frame.head(0, npartitions=1, compute=True), preserve_index=False)
        self.columns = Columns.of(schema, target, columns, weight)
        self.columns.check(schema, "the data frame")
        self._frame, self._dtype = frame[self.columns.names], dtype_of([schema], self.columns.features)

    def __len__(self):
        return self._frame.npartitions

    def name(self, number):
        return f"partition {number}"

    def _read(self, number):
        return pa.Table.from_pandas(self._frame.partitions[number].compute(), preserve_index=False)

    def _block(self, found):
        self.columns.check(found.schema, "the partition")  # columns of objects are unknown before
        return self.columns.block(found, self._dtype)


class PolarsBlocks(BlockSource):
    """One block for each ``block_rows`` rows of a polars LazyFrame."""

    def __init__(self, frame, target, columns=None, weight=None, block_rows=2**16):
        with optional("LazyFrames need polars", "pip install polars"):
            import polars as pl

        schema = pl.DataFrame(schema=frame.collect_schema()).to_arrow().schema
        self.columns = Columns.of(schema, target, columns, weight)
        self.columns.check(schema, "the LazyFrame")
        self._frame, self._dtype = frame.select(self.columns.names), dtype_of([schema], self.columns.features)
        self._rows = block_rows
        self.n_samples = frame.select(pl.len()).collect().item()

    def __len__(self):
        return -(-self.n_samples // self._rows)

    def name(self, number):
        start = number * self._rows
        return f"rows {start} to {min(start + self._rows, self.n_samples) - 1}"

    def _read(self, number):
        return self._frame.slice(number * self._rows, self._rows).collect().to_arrow()

    def _block(self, found):
        return self.columns.block(found, self._dtype)
