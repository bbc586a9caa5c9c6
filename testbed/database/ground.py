"""Where a server lives that root starts, and as whom: PostgreSQL refuses to run as root.

The user `nobody` reaches neither a checkout below /root or in a folder of mode 0700, nor what was installed with
umask 077, nor a temporary folder of root's own. What was considered:

* The capability dac_override opens every folder, but `initdb` asks access(2) whether it may run `postgres`, and
  access(2) answers for the user without its capabilities. Besides, a container may not give it.
* Opening the folders above to everybody is not ours to do.
* Links do not help where the files themselves are closed; an open folder that is handed over does not, because the
  programs look for their real path.

So the programs are copied, and the data is made, in folders of their own below a temporary folder that everybody
reaches. They are root's, with a name that cannot be guessed; others may pass through them and do nothing else.
"""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from kiva_relay.errors import RelayError

if TYPE_CHECKING:
    from collections.abc import Iterator

_UNPRIVILEGED = "nobody"
_AS_ORDINARY_USER = "Run it as an ordinary user."
_ANYWHERE = ("/tmp", "/var/tmp", "/dev/shm")
_NOT_NEEDED = shutil.ignore_patterns("include", "*.a", "pgxs", "__pycache__")


def user() -> tuple[int, int] | None:
    """The uid and gid that a server of ours has to have; None where they are our own.

    Raises:
        RelayError: we are root, and this system has no user `nobody`.
    """
    if os.geteuid() != 0:
        return None
    try:
        nobody = pwd.getpwnam(_UNPRIVILEGED)
    except KeyError:
        raise RelayError(
            f"PostgreSQL refuses to run as root, and there is no user {_UNPRIVILEGED!r} here to run it as.",
            hint=_AS_ORDINARY_USER,
        ) from None
    return nobody.pw_uid, nobody.pw_gid


def give(path: Path, to: tuple[int, int]) -> None:
    """Make it the user's own.

    Raises:
        RelayError: we are root by name only, as in a container that maps no other user.
    """
    try:
        os.chown(path, *to)
    except OSError as error:
        raise RelayError(
            f"PostgreSQL refuses to run as root, and this root may not become {_UNPRIVILEGED!r}: {error}",
            hint=_AS_ORDINARY_USER,
        ) from error


def folder(near: Path, *, runs: bool = False) -> Path:
    """Make a private folder that every user can reach: beside `near` where that can be, else in a temporary folder.

    Args:
        near: says which temporary folder is meant: one in memory is not left for one on a disk.
        runs: programs are to be run in it.

    Raises:
        RelayError: there is no such place; with the places that were tried.
    """
    places = list(dict.fromkeys(_places(near)))
    for place in places:
        if _is_reached(place) and os.access(place, os.W_OK) and not (runs and _refuses_programs(place)):
            made = Path(tempfile.mkdtemp(prefix="kiva-relay-postgresql-", dir=place))
            made.chmod(0o711)
            return made
    tried = ", ".join(str(place) for place in places)
    raise RelayError(
        "PostgreSQL refuses to run as root, and there is no temporary folder that another user reaches, and where "
        f"programs may be run. Tried: {tried}",
        hint=_AS_ORDINARY_USER,
    )


def copy(tree: Path, to: Path) -> None:
    """Copy installed programs so that everybody may read and run them, whatever the umask was and is."""
    to.parent.mkdir(parents=True, exist_ok=True)
    to.parent.chmod(0o755)
    shutil.copytree(tree, to, ignore=_NOT_NEEDED, copy_function=shutil.copy)
    for path in (to, *to.rglob("*")):
        path.chmod(0o755 if path.stat().st_mode & stat.S_IXUSR else 0o644)


def _places(near: Path) -> Iterator[Path]:
    # What has the sticky bit is for everybody's temporary files; what has it not is not ours to write in.
    yield from (place for place in near.parents if place.is_dir() and place.stat().st_mode & stat.S_ISVTX)
    yield Path(tempfile.gettempdir())
    yield from map(Path, _ANYWHERE)


def _is_reached(place: Path) -> bool:
    """Whether everybody can pass to it, and nobody but root can put something else in its place."""
    return place.is_dir() and all(_is_roots_and_open(above.stat()) for above in (place, *place.resolve().parents))


def _is_roots_and_open(found: os.stat_result) -> bool:
    others_write = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not found.st_mode & stat.S_ISVTX
    return found.st_uid == 0 and bool(found.st_mode & stat.S_IXOTH) and not others_write


def _refuses_programs(place: Path) -> bool:
    return bool(os.statvfs(place).f_flag & os.ST_NOEXEC)
