"""Parquet files as tables: one file, or the files of a folder or pattern, which have the same columns."""

from fastmlp.extras import from_extra
from fastmlp.sources.files import parquet_files

from .frames import TableError, listed, pd

NEEDS_PYARROW = "Parquet files need pyarrow"
DAMAGED = ValueError, KeyError, TypeError, AttributeError


def read_parquet(path):
    """The frame of one file. Raises TableError if it cannot be read."""
    try:
        with from_extra("parquet", NEEDS_PYARROW):
            return pd.read_parquet(path).reset_index(drop=True).rename(columns=str)
    except (OSError, *DAMAGED) as error:
        raise TableError(f"{path} cannot be read as Parquet: {_reason(error)}") from error


def read_parts(source):
    """The frame of all files of a folder or pattern.

    Raises
    ------
    OSError
        If there is none, or if one cannot be read.
    TableError
        If a file has other columns or types than the first one; the message names file and column.
    """
    files, schema = parquet_files(source), common_schema(row_groups_of(source))
    from fastmlp.sources.parquet import dataset_of

    return frame_of(dataset_of(files, schema).to_table())


def row_groups_of(source):
    """The RowGroups of a file, folder or pattern. Raises OSError as ``read_parts``."""
    with from_extra("parquet", NEEDS_PYARROW):
        from fastmlp.sources.parquet import row_groups
    return row_groups(source)


def common_schema(groups):
    """The Arrow schema of all RowGroups. Raises TableError if a file has other columns or types than the first."""
    import pyarrow as pa

    from fastmlp.sources.columns import data_columns

    files = {group.file: group.schema for group in groups}
    (first, schema), *others = files.items()
    schema = pa.schema(map(schema.field, data_columns(schema)), schema.metadata)
    for file, other in others:
        for name in schema.names:
            if name not in other.names:
                raise TableError(f"{file} has no column {name!r}, unlike {first}.")
        extra = [name for name in data_columns(other) if name not in schema.names]
        if extra:
            raise TableError(f"{file} has the column {listed(extra[:1])}, unlike {first}.")
        for place, name in enumerate(schema.names):
            known, found = schema.field(name), other.field(name)
            if known.type == found.type:
                continue
            try:
                both = pa.unify_schemas([pa.schema([known]), pa.schema([found])], promote_options="permissive")
            except (pa.ArrowTypeError, pa.ArrowInvalid) as error:
                raise TableError(
                    f"the column {name!r} holds {found.type} in {file}, but {known.type} in {first}: write files with "
                    "the same types."
                ) from error
            schema = schema.set(place, both.field(0))
    return schema


def frame_of(table):
    """The frame of an Arrow table, without the index that pandas may have written."""
    try:
        return table.to_pandas().reset_index(drop=True).rename(columns=str)
    except DAMAGED as error:
        raise TableError(f"a Parquet file cannot be read: {_reason(error)}") from error


def _reason(error):
    """What is wrong with a file, in words."""
    return str(error) if isinstance(error, (ValueError, OSError)) else f"its metadata of pandas is damaged ({error!r})"
