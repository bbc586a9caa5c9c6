"""A Debian package with another control part.

python3 trial_package.py PACKAGE.deb CONTROL.tar MADE.deb

A package is an archive of ar(5) of three members: its format, what dpkg is told of it, and its files. Runs in the booted
root, by what Python brings along.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import IO

_MAGIC, _HEAD = b"!<arch>\n", 60


def _header(name: bytes, size: int) -> bytes:
    """Its name, moment, owner, group, mode, size, and the end of a line."""
    return b"%-16s%-12d%-6d%-6d%-8s%-10d`\n" % (name, 0, 0, 0, b"100644", size)


def _padded(size: int) -> int:
    return size + size % 2


def make(package: IO[bytes], control: bytes, made: IO[bytes]) -> None:
    """Write it."""
    assert package.read(len(_MAGIC)) == _MAGIC
    made.write(_MAGIC)
    while head := package.read(_HEAD):
        name, size = head[:16].split()[0].rstrip(b"/"), int(head[48:58])
        if name.startswith(b"control.tar"):
            made.write(_header(b"control.tar", len(control)) + control + b"\n" * (len(control) % 2))
            package.seek(_padded(size), 1)
            continue
        made.write(head)
        ends = package.tell() + _padded(size)
        while left := ends - package.tell():
            made.write(package.read(min(left, 1 << 20)))


def main(package: str, control: str, made: str) -> None:
    """The files of the arguments."""
    with Path(package).open("rb") as read, Path(made).open("wb") as written:
        make(read, Path(control).read_bytes(), written)


if __name__ == "__main__":
    main(*sys.argv[1:4])
