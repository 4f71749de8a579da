"""Which Parquet files a path, a folder or a pattern stands for."""

from glob import glob, has_magic
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

SUFFIX = ".parquet"


class Files(NamedTuple):
    """Paths of Parquet files, in order, and the folder whose subfolders may be called column=value, or None."""

    paths: list[str]
    folder: str | None


def is_many(source):
    """Whether a path is a folder, or a pattern such as ``data/*.parquet``."""
    path = Path(source)
    return (source != "" and path.is_dir()) or (has_magic(str(source)) and not path.exists())


def parquet_files(source):
    """The Files of a path, a folder, a pattern or a list of paths.

    A folder stands for its ``*.parquet``, also in subfolders, without those whose names begin with a dot or an
    underscore, in which Spark and others keep what is no data.

    Raises
    ------
    FileNotFoundError
        If there are none, or if one of a list does not exist.
    """
    if isinstance(source, (list, tuple)):
        absent = [str(path) for path in source if not Path(path).is_file()]
        if absent or not source:
            raise FileNotFoundError(f"there is no file {absent[0]}." if absent else "the list of files is empty.")
        return Files([str(path) for path in source], None)
    path = Path(source)
    if source == "":  # Path takes it for the current folder
        _none("the name of the file or folder is empty.")
    if path.is_dir():
        return Files(_in_folder(path) or _none(f"the folder {source} has no file *{SUFFIX}."), str(path))
    if path.is_file():
        return Files([str(path)], None)
    if not has_magic(str(source)):
        _none(f"there is no file or folder {source}.")
    found = [Path(each) for each in sorted(glob(str(source), recursive=True))]
    paths = [name for each in found for name in (_in_folder(each) if each.is_dir() else [str(each)])]
    fixed = takewhile(lambda part: not has_magic(part), path.parts)
    return Files(list(dict.fromkeys(paths)) or _none(f"no file matches {source}."), str(Path(*fixed)))


def _in_folder(folder):
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() == SUFFIX and path.is_file())
    return [str(path) for path in found if not any(part[0] in "._" for part in path.relative_to(folder).parts)]


def _none(message):
    raise FileNotFoundError(message)
