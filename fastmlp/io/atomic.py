"""Atomic replacement of files.

The content is written to a temporary file beside the target, which is then renamed. A process that is killed in between
leaves its temporary file behind; the next write to the same target removes it. Writers lock their temporary files, so a
file that can be locked has no writer any more.
"""

import errno
import os
import platform
import time
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from uuid import uuid4

try:
    import fcntl
except ImportError:  # Windows: no locks, and stale files are not removed
    fcntl = None  # type: ignore[assignment]

OTHER_HOSTS_SECONDS = 24 * 3600  # locks of other hosts are invisible on some network file systems


def write_whole(path, content):
    """Write bytes to a file, replacing an existing file only when the new one is complete."""
    path = check_destination(path)
    prefix = f".fastmlp-{_digest(os.fsencode(path.name))}-"
    own_prefix = f"{prefix}{_digest(platform.node().encode())}-"
    if fcntl is not None:
        _remove_stale(path.parent, prefix, own_prefix)
    beside, file = _new_locked_file(path.parent, own_prefix)
    try:
        with file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            if path.exists():
                os.chmod(beside, path.stat().st_mode)
            if fcntl is None:
                file.close()  # Windows cannot rename open files; elsewhere the lock must be held until the rename
            os.replace(beside, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(beside)
        raise


def check_destination(path):
    """The path with links resolved; OSError if it cannot be the path of a regular file."""
    path = Path(os.path.realpath(path_text(path)))
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "the folder does not exist", str(path.parent))
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "the path is a folder, device or pipe, not a regular file", str(path))
    return path


def path_text(path, name="path"):
    """A path as text; TypeError for anything else, such as a number, which open() takes as a file descriptor."""
    if not isinstance(path, (str, bytes, os.PathLike)):
        raise TypeError(f"{name} must be a str or Path, got {path!r}.")
    text = os.fsdecode(path)
    if "\0" in text:
        raise ValueError(f"{name} must not contain the character \\0, got {text!r}.")
    return text


def _digest(content):
    return blake2b(content, digest_size=6).hexdigest()


def _new_locked_file(folder, prefix):
    """(path, file) of a new file, locked until it is closed if the file system has locks."""
    while True:
        path = folder / f"{prefix}{uuid4().hex}"
        file = open(path, "xb")  # noqa: SIM115 (the caller closes it)
        if fcntl is None:
            return path, file
        with suppress(OSError):  # no locks on this file system: nobody removes the file
            fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file.fileno()).st_nlink:
            return path, file
        file.close()  # another process locked and removed it before we locked it


def _remove_stale(folder, prefix, own_prefix):
    """Remove temporary files of dead processes, as far as possible."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.startswith(prefix):
                continue
            with suppress(OSError):
                age = time.time() - entry.stat(follow_symlinks=False).st_mtime
                if entry.name.startswith(own_prefix) or age > OTHER_HOSTS_SECONDS:
                    _remove_unlocked(entry.path)


def _remove_unlocked(path):
    """Remove a file; OSError if another process holds a lock on it."""
    file = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.unlink(path)
    finally:
        os.close(file)
