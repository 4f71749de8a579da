"""Files that are replaced only by complete ones.

The content goes to a temporary file beside the target, which then takes the target's name. A process that is killed in
between leaves its temporary file; the next write to the same target removes it. Writers hold a lock on theirs, so one
that can be locked has no writer any more.
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
except ImportError:  # Windows: nothing is locked, and nothing removed
    fcntl = None  # type: ignore[assignment]

OTHER_HOSTS_SECONDS = 24 * 3600  # some network file systems do not show one host the locks of another


def write_whole(path, content):
    """Write bytes to a file; the old one of that name stays until the new one is complete."""
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
                file.close()  # Windows renames no open file; elsewhere the lock must last until then
            os.replace(beside, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(beside)
        raise


def check_destination(path):
    """Where a file of that name would go, links followed; OSError if nothing can be written there."""
    path = Path(os.path.realpath(os.fsdecode(path)))
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "the folder does not exist", str(path.parent))
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "a folder, device or pipe is there, not a file", str(path))
    return path


def _digest(content):
    return blake2b(content, digest_size=6).hexdigest()


def _new_locked_file(folder, prefix):
    """(path, file) of a new file, locked until it is closed where the file system has locks."""
    while True:
        path = folder / f"{prefix}{uuid4().hex}"
        file = open(path, "xb")  # noqa: SIM115 (the caller closes it)
        if fcntl is None:
            return path, file
        with suppress(OSError):  # a file system without locks: nobody can lock this file, so nobody removes it
            fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file.fileno()).st_nlink:
            return path, file
        file.close()  # another process locked and removed it before we locked it


def _remove_stale(folder, prefix, own_prefix):
    """Remove temporary files of dead processes; what cannot be removed stays."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.startswith(prefix):
                continue
            with suppress(OSError):
                age = time.time() - entry.stat(follow_symlinks=False).st_mtime
                if entry.name.startswith(own_prefix) or age > OTHER_HOSTS_SECONDS:
                    _remove_unlocked(entry.path)


def _remove_unlocked(path):
    """Remove a file unless somebody holds a lock on it (OSError)."""
    file = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.unlink(path)
    finally:
        os.close(file)
