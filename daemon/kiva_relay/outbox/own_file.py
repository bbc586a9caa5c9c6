"""Files in the folders of the service: root opens them, too, and must not be led elsewhere.

The service owns those folders, so whoever is in the service can put a link where root will write next. A link that
stands there is never followed by root, and what root makes there belongs to the owner of the folder, by its
descriptor. For the service itself, and for one's own folder, a link is as good as a file.
"""

from __future__ import annotations

import contextlib
import errno
import os
import pwd
import shlex
import stat
from pathlib import Path

_PASSES = frozenset(
    {errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE}
)
_OF_SQLITE = ("", "-wal", "-shm", "-journal")


def passes(error: OSError) -> bool:
    """Is it the machine that fails? Then it is tried again: exit code 2 would end a service for good."""
    return error.errno in _PASSES


def is_read_only(path: Path) -> bool:
    """Is the file system read-only that a file lies on? The kernel makes it so when its disk fails."""
    try:
        return bool(os.statvfs(path.parent).f_flag & os.ST_RDONLY)
    except OSError:
        return False


def opened(path: Path, flags: int, *, mode: int = stat.S_IRUSR | stat.S_IWUSR) -> int:
    """A descriptor of a file; as root, one that no link leads to.

    Raises:
        OSError: it cannot be opened; ELOOP where a link stands in its place, or it has a second name.
    """
    owner = _other_owner(path)
    if owner is None:
        return os.open(path, flags | os.O_CLOEXEC, mode)
    # O_TRUNC would empty a file before it is known whose it is.
    descriptor = os.open(path, flags & ~os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, mode)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
            raise _led_elsewhere(path)
        if (found.st_uid, found.st_gid) != (owner.st_uid, owner.st_gid):
            os.fchown(descriptor, owner.st_uid, owner.st_gid)
        if flags & os.O_TRUNC:
            os.ftruncate(descriptor, 0)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


BESIDE = ("", "-wal", "-shm", ".lock")
"""Behind the name of an outbox: the file itself, and those that stand beside it."""


def foreign(path: Path) -> str:
    """What gives a file, and those beside it, back to the owner of their folder; "" where nothing belongs to others.

    As after a copy that root put back: the service may not write what belongs to root.
    """
    try:
        owner = path.parent.stat()
    except OSError:
        return ""
    wrong = []
    for name in (path.with_name(f"{path.name}{end}") for end in BESIDE):
        with contextlib.suppress(OSError):
            if name.lstat().st_uid != owner.st_uid:
                wrong.append(str(name))
    return shlex.join(["sudo", "chown", f"{_named(owner.st_uid)}:", *wrong]) if wrong else ""


def _named(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def look_at_database(path: Path) -> None:
    """Look at what SQLite will open by name: the file, and those that it keeps beside it.

    Raises:
        OSError: as root, a link stands in the place of one of them.
    """
    if _other_owner(path) is None:
        return
    for each in _OF_SQLITE:
        file = path.with_name(path.name + each)
        try:
            found = os.lstat(file)
        except FileNotFoundError:
            continue
        if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
            raise _led_elsewhere(file)


def _other_owner(path: Path) -> os.stat_result | None:
    """The folder, when root looks into one that belongs to somebody else."""
    if os.geteuid() != 0:
        return None
    link = path.parent.lstat()
    folder = path.parent.stat()
    if stat.S_ISLNK(link.st_mode) and link.st_uid != 0:
        raise _led_elsewhere(path.parent)
    return folder if folder.st_uid != 0 else None


def _led_elsewhere(path: Path) -> OSError:
    return OSError(errno.ELOOP, "a link stands in its place; root does not follow it", str(path))
