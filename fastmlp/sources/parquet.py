"""Blocks of Parquet files and of Arrow data sets: one for each row group."""

from typing import Any, NamedTuple

from fastmlp.extras import from_extra

from .base import BlockSource
from .columns import Columns, dtype_of, is_text, refuse_missing
from .files import parquet_files

with from_extra("parquet", "read_blocks needs pandas and pyarrow"):
    import pyarrow as pa
    import pyarrow.dataset as ds
    import pyarrow.parquet as pq
    from pyarrow.types import is_null


class RowGroup(NamedTuple):
    """A row group of a Parquet file, or a fragment of an Arrow data set of another format.

    Attributes
    ----------
    fragment : pyarrow.dataset.Fragment
    schema : pyarrow.Schema
        Of its columns, with those of the names of folders.
    file : str
        For messages.
    number : int or None
        Of the row group in the file.
    n_rows : int or None
    n_missing : dict of str to int
        Numbers of missing values in columns that have some, as far as the file says so.
    """

    fragment: Any
    schema: Any
    file: str
    number: int | None = None
    n_rows: int | None = None
    n_missing: dict[str, int] = {}

    @property
    def name(self):
        return self.file if self.number is None else f"{self.file}, row group {self.number}"

    def read(self, names):
        """Some columns as an Arrow table."""
        schema = pa.schema([self.schema.field(name) for name in names], self.schema.metadata)
        return self.fragment.to_table(schema=schema, columns=names)


def row_groups(source):
    """The list of RowGroups of an Arrow data set, or of what ``parquet_files`` accepts.

    Raises
    ------
    FileNotFoundError
        If there is no file.
    OSError
        If a file cannot be read; the message names it.
    ValueError
        If the data set is filtered.
    """
    dataset = source if isinstance(source, ds.Dataset) else dataset_of(parquet_files(source))
    try:
        fragments = list(dataset.get_fragments())
    except ValueError as error:
        raise ValueError(
            f"the data set has no blocks of its own: {error} To read a part of the rows, pass a LazyFrame: "
            "polars.scan_parquet(...).filter(...)."
        ) from error
    found = []
    for number, fragment in enumerate(fragments):
        file = getattr(fragment, "path", None) or f"fragment {number}"
        try:
            found += _of_fragment(fragment, file, dataset.schema)
        except (OSError, ValueError) as error:
            raise OSError(f"{file} cannot be read: {error}") from error
    return found


def dataset_of(files, schema=None):
    """The Arrow data set of Files; without a schema it has that of the first one. Raises OSError as ``row_groups``."""
    first = files.paths[0]
    try:
        names = pq.read_schema(first).names if schema is None else []
        if len(set(names)) < len(names):
            raise ValueError("several columns have the same name")
        partitioning = None if files.folder is None else ds.partitioning(flavor="hive")
        return ds.dataset(
            files.paths, schema, format="parquet", partitioning=partitioning, partition_base_dir=files.folder,
        )  # fmt: skip
    except (OSError, ValueError) as error:
        raise OSError(f"{first} cannot be read as Parquet: {error}") from error


def _of_fragment(fragment, file, schema):
    """The RowGroups of a file, with its own types of columns: those of other files may be narrower."""
    own = fragment.physical_schema
    folders = [schema.field(name) for name in ds.get_partition_keys(fragment.partition_expression)]
    own = pa.schema([*own, *(field for field in folders if field.name not in own.names)], own.metadata)
    if not hasattr(fragment, "row_groups"):
        return [RowGroup(fragment, own, file)]
    found = []
    for number in [group.id for group in fragment.row_groups]:
        metadata = fragment.metadata.row_group(number)
        n_missing = _n_missing(metadata) | {field.name: metadata.num_rows for field in own if is_null(field.type)}
        part = fragment.subset(row_group_ids=[number])
        found.append(RowGroup(part, own, file, number, metadata.num_rows, n_missing))
    return found


def _n_missing(metadata):
    columns = [metadata.column(place) for place in range(metadata.num_columns)]
    known = {column.path_in_schema: column.statistics for column in columns if column.statistics is not None}
    return {name: statistics.null_count for name, statistics in known.items() if statistics.null_count}


class ParquetBlocks(BlockSource):
    """One block for each row group of Parquet files or of an Arrow data set; see ``fastmlp.read_blocks``."""

    def __init__(self, source, target, columns=None, weight=None):
        self._groups = row_groups(source)
        if not self._groups:
            raise ValueError("the data set is empty: it has no files.")
        first = self._groups[0]
        self.columns = Columns.of(first.schema, target, columns, weight)
        files = {group.file: group.schema for group in self._groups}
        for file, schema in files.items():
            self.columns.check(schema, file)
        self._check_texts(files)
        self._check_missing()
        self._dtype = dtype_of(files.values(), self.columns.features)
        rows = [group.n_rows for group in self._groups]
        self.n_samples = None if None in rows else sum(rows) or None

    def _check_texts(self, files):
        (first, schema), *_ = files.items()
        target = self.columns.targets[0]
        for file, other in files.items():
            if is_text(schema.field(target).type) != is_text(other.field(target).type):
                raise ValueError(
                    f"the target {target!r} holds {schema.field(target).type} in {first}, but "
                    f"{other.field(target).type} in {file}: write files with the same types."
                )

    def _check_missing(self):
        """Refuse missing values before training where the files tell of them."""
        for group in self._groups:
            try:
                for name in self.columns.complete:
                    refuse_missing(name, group.n_missing.get(name, 0))
            except ValueError as error:
                raise ValueError(f"{group.name}: {error}") from error

    def __len__(self):
        return len(self._groups)

    def name(self, number):
        return self._groups[number].name

    def _read(self, number):
        return self._groups[number].read(self.columns.names)

    def _block(self, found):
        return self.columns.block(found, self._dtype)
