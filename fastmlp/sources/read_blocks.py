"""read_blocks: blocks of samples from files and lazy data frames."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from os import PathLike
from typing import Any

import narwhals.stable.v2 as nw

from fastmlp.typing import StrPath
from fastmlp.validation.checks import check_integer

from .base import BlockSource


def read_blocks(
    source: StrPath | Sequence[StrPath] | Any,
    target: str | Sequence[str],
    *,
    columns: Sequence[str] | None = None,
    weight: str | None = None,
    block_rows: int = 2**16,
) -> BlockSource:
    """Blocks of samples for ``fit_stream``, read from files or lazy data frames when they are needed.

    ``fit_stream`` reads them in a thread, while it learns from the last ones, and in a new random order in each epoch.
    At most a few blocks are in memory at once (``shuffle_blocks``). The number of samples, which learning rate
    schedules need, is known from the files.

    Parameters
    ----------
    source : path, list of paths, pyarrow.dataset.Dataset, dask data frame, or polars LazyFrame
        A Parquet file, a folder of them (``*.parquet``, also in subfolders such as ``year=2026``, which are columns
        too), or a pattern such as ``"data/2026-*.parquet"``. A block is a row group of a Parquet file, a fragment of
        another data set, a partition of dask, or a slice of polars.
    target : str or list of str
        Column to predict, or columns of several targets. Strings are labels of classes.
    columns : list of str, default=None
        Columns of X, which must be numbers or booleans without missing values. None: all others.
    weight : str, default=None
        Column of sample weights.
    block_rows : int, default=65536
        Rows of a block of a LazyFrame, which is evaluated once for each block and must return its rows in the same
        order each time: write the result of other queries, and of slow ones, to Parquet first (``sink_parquet``). Other
        sources have their own blocks.

    Returns
    -------
    BlockSource
        A sequence: ``len(blocks)`` is the number of blocks, and ``blocks[0]`` reads the first one as (X, y) or (X, y,
        sample_weight). ``blocks.n_samples`` is the number of samples, or None if it is not known.

    Raises
    ------
    FileNotFoundError
        If there is no file.
    OSError
        If a file cannot be read, here or later.
    TypeError
        If ``source`` is something else.
    ValueError
        If a file lacks a column, or if a column has an unsuitable type; the message names both.
    """
    check_integer("block_rows", block_rows, 1)
    kind = kind_of_source(source)
    if kind == "files":
        from .parquet import ParquetBlocks

        return ParquetBlocks(source, target, columns, weight)
    if kind == "dask":
        from .lazy_frames import DaskBlocks

        return DaskBlocks(source, target, columns, weight)
    if kind == "polars":
        from .lazy_frames import PolarsBlocks

        return PolarsBlocks(source, target, columns, weight, block_rows)
    raise TypeError(
        "source must be a path, a list of paths, a pyarrow.dataset.Dataset, a dask data frame or a polars LazyFrame, "
        f"got {type(source).__name__}. Data in memory need no blocks: call fit."
    )


def kind_of_source(source: Any) -> str | None:
    """What reads a source: 'files', 'dask' or 'polars'; None for anything else."""
    if isinstance(source, (list, tuple)) and source and all(isinstance(path, (str, PathLike)) for path in source):
        return "files"
    # What has not been imported cannot have made the source.
    if isinstance(source, (str, PathLike, getattr(sys.modules.get("pyarrow.dataset"), "Dataset", str))):
        return "files"
    if nw.dependencies.is_dask_dataframe(source):
        return "dask"
    return "polars" if nw.dependencies.is_polars_lazyframe(source) else None
