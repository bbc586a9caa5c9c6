"""A borrower's photo: where it is, what it is known by outside delivery, and the form in which it is sent."""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import io
import re
import stat
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from PIL import Image

from kiva_relay.mapping import photo_head, picture
from kiva_relay.resource.refusal import Refusal

# What Kiva takes is not documented; a form field of 2 MB is taken anywhere.
LIMIT = 2 * 1024 * 1024

# The JPEG of a camera of 200 million pixels is shorter; and what stands in a row is in memory, all of it.
FILE_LIMIT = 80 * 1024 * 1024
ROW_LIMIT = 24 * 1024 * 1024

# A path is shorter than this, a photo longer; unless it begins as a JPEG, PNG or GIF does in base64.
_PATH_LIMIT = 1024
_DATA_URL = re.compile(r"\s*data:[\w./+;=-]{0,100};base64,", re.IGNORECASE)
_PHOTO = ("/9j/", "iVBORw0KGgo", "R0lGOD")
_ADDRESS = re.compile(r"\s*(?:[a-z][a-z0-9+.-]{1,20}:)?//", re.IGNORECASE)

# Formats that lose nothing stay so where they are small enough.
_LOSSLESS = ("PNG", "GIF", "BMP", "TIFF")

Taken = Path | bytes
"""Where a photo is: in a file, or in the row itself."""


class Unusable(Exception):
    """The photo cannot be sent; `refusal` says why."""

    def __init__(self, code: str, **params: str) -> None:
        super().__init__(code)
        self.refusal = Refusal(code, params=params)


def taken(value: object, folder: str, *, allowed: Sequence[Path]) -> Taken:
    """The photo that a value is or names: bytes, base64, a `data:` URL, or a file below `folder`, else below `allowed`.

    Raises Unusable for a file elsewhere: what stands in a row must not make the relay read any file of the machine;
    for an address on the web, from which nothing is fetched; and for what is neither.
    """
    if isinstance(value, bytes):
        # A BLOB may hold the text of a photo, or of its path.
        if not value or not value.isascii() or b"\0" in value:
            return value
        value = value.decode("ascii")
    if not isinstance(value, str):
        raise Unusable("photo_unreadable", reason="the column holds no photo and no path")
    head = _DATA_URL.match(value)
    if head or len(value) > _PATH_LIMIT or value.lstrip().startswith(_PHOTO):
        return _decoded(value, head.end() if head else 0)
    if _ADDRESS.match(value):
        raise Unusable("photo_unreadable", reason="it is an address on the web, and nothing is fetched from there")
    return _file(value, folder, allowed)


def _decoded(text: str, start: int) -> bytes:
    if len(text) - start > ROW_LIMIT * 3 // 2:
        raise Unusable("photo_too_large", found=_size(len(text) * 3 // 4), limit=_size(ROW_LIMIT))
    try:
        plain = "".join(text[start:].split()).rstrip("=").translate(str.maketrans("-_", "+/"))
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise Unusable("photo_unreadable", reason="it is neither a file nor base64") from None


def _file(value: str, folder: str, allowed: Sequence[Path]) -> Path:
    folders = [Path(folder)] if folder else list(allowed)
    try:
        for each in folders:
            path = (each / value).resolve()
            if path.is_relative_to(each.resolve()):
                return path
    except (OSError, ValueError, RuntimeError):
        raise Unusable("photo_unreadable", reason="its path cannot be followed") from None
    where = f"it does not lie in {folder}" if folder else "it lies in no folder that mis.photos names"
    raise Unusable("photo_unreadable", reason=where)


def fingerprint(photo: Taken) -> str:
    """`sha256:…` of the photo as it is. Outside delivery a photo is this, never its bytes.

    A file is read again only when its size or its time of change moved. Raises Unusable for what is no photo by its
    head.
    """
    if isinstance(photo, bytes):
        with _opened(photo) as (stream, held):
            picture.look(photo_head.read(stream), held=held)
        return "sha256:" + hashlib.sha256(photo).hexdigest()
    size, changed = _measured(photo)
    return _sha256(photo, size, changed)


def data_uri(photo: Taken) -> str:
    """The photo as `data:image/jpeg;base64,…`, at most `LIMIT` bytes; shrunk and turned when it must be.

    Raises Unusable, and nothing else, whatever is wrong with it.
    """
    if isinstance(photo, Path):
        _measured(photo)
    with _opened(photo) as (stream, held):
        head = photo_head.read(stream)
        kind, data = _written(picture.read(head, held=held), lossless=head.kind in _LOSSLESS)
    if len(data) > LIMIT:
        raise Unusable("photo_too_large", found=_size(len(data)), limit=_size(LIMIT))
    return f"data:image/{kind.lower()};base64,{base64.b64encode(data).decode()}"


def _size(count: int) -> str:
    return f"{count:,} bytes"


def _measured(path: Path) -> tuple[int, int]:
    """Size and time of change of a photo's file."""
    try:
        found = path.stat()
    except (OSError, ValueError) as reason:
        raise Unusable("photo_unreadable", reason=getattr(reason, "strerror", None) or "unknown") from None
    if not stat.S_ISREG(found.st_mode):
        raise Unusable("photo_unreadable", reason="it is no file")
    if found.st_size > FILE_LIMIT:
        raise Unusable("photo_too_large", found=_size(found.st_size), limit=_size(FILE_LIMIT))
    return found.st_size, found.st_mtime_ns


@lru_cache(maxsize=4096)
def _sha256(path: Path, size: int, changed: int) -> str:
    del size, changed  # they are the key under which the answer is remembered
    with _opened(path) as (stream, held):
        picture.look(photo_head.read(stream), held=held)
        stream.seek(0)
        digest = hashlib.sha256()
        while piece := stream.read(1 << 20):
            digest.update(piece)
        return "sha256:" + digest.hexdigest()


@contextlib.contextmanager
def _opened(photo: Taken) -> Iterator[tuple[BinaryIO, int]]:
    """The photo's bytes, and how many of them are in memory; what is wrong with them is Unusable."""
    if isinstance(photo, bytes) and len(photo) > ROW_LIMIT:
        raise Unusable("photo_too_large", found=_size(len(photo)), limit=_size(ROW_LIMIT))
    try:
        with photo.open("rb") if isinstance(photo, Path) else io.BytesIO(photo) as stream:
            yield stream, len(photo) if isinstance(photo, bytes) else 0
    except photo_head.NotAPhoto as reason:
        raise Unusable("photo_unreadable", reason=str(reason)) from None
    except picture.TooLarge as reason:
        raise Unusable("photo_too_large", found=reason.found, limit=reason.limit) from None
    except OSError as reason:
        raise Unusable("photo_unreadable", reason=reason.strerror or "unknown") from None


def _written(image: Image.Image, *, lossless: bool) -> tuple[str, bytes]:
    if lossless:
        data = _saved(image, "PNG")
        if len(data) <= LIMIT:
            return "PNG", data
    for quality in (90, 80, 65, 50):
        data = _saved(image, "JPEG", quality=quality)
        if len(data) <= LIMIT:
            break
    return "JPEG", data


def _saved(image: Image.Image, kind: str, **how: int) -> bytes:
    into = io.BytesIO()
    image.save(into, kind, **how)
    return into.getvalue()
