"""A borrower's photo: its true type, upright, without the camera's data, and small enough to send."""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import re
import stat
import warnings
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

from kiva_relay.resource.refusal import Refusal

# What Kiva takes is not documented; its web pages show photos of this size, and a form field of 2 MB is taken anywhere.
LONGEST_SIDE = 1600
LIMIT = 2 * 1024 * 1024

# A file that is larger than any camera's is not read into memory.
FILE_LIMIT = 40 * 1024 * 1024
PIXEL_LIMIT = 80_000_000

TYPES = {"JPEG": "image/jpeg", "PNG": "image/png", "GIF": "image/gif"}

# A path is shorter than this, a photo longer.
_PATH_LIMIT = 1024
_BASE64 = re.compile(r"data:image/[\w.+-]+;base64,")

Taken = Path | bytes
"""Where a photo is: in a file, or in the row itself."""


class Unusable(Exception):
    """The photo cannot be sent; `refusal` says why."""

    def __init__(self, code: str, **params: str) -> None:
        super().__init__(code)
        self.refusal = Refusal(code, params=params)


def taken(value: str | bytes, folder: str, *, allowed: Sequence[Path]) -> Taken:
    """The photo that a value is or names: bytes, base64, or a file below `folder`, else below one of `allowed`.

    Raises Unusable for a file elsewhere: what stands in a row must not make the relay read any file of the machine.
    """
    if isinstance(value, bytes):
        return value
    head = _BASE64.match(value)
    if head or len(value) > _PATH_LIMIT:
        try:
            return base64.b64decode("".join(value[head.end() if head else 0 :].split()), validate=True)
        except (binascii.Error, ValueError):
            raise Unusable("photo_unreadable", reason="it is neither a file nor base64") from None
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

    A file is read again only when its size or its time of change moved.
    """
    if isinstance(photo, bytes):
        _bounded(len(photo))
        _look(photo)
        return "sha256:" + hashlib.sha256(photo).hexdigest()
    try:
        found = photo.stat()
    except (OSError, ValueError) as reason:
        raise Unusable("photo_unreadable", reason=getattr(reason, "strerror", None) or "unknown") from None
    if not stat.S_ISREG(found.st_mode):
        raise Unusable("photo_unreadable", reason="it is no file")
    _bounded(found.st_size)
    return _sha256(photo, found.st_size, found.st_mtime_ns)


def data_uri(photo: Taken) -> str:
    """The photo as `data:image/jpeg;base64,…`, at most `LIMIT` bytes; shrunk and turned when it must be."""
    fingerprint(photo)
    kind, data = _prepared(photo)
    if len(data) > LIMIT:
        raise Unusable("photo_too_large", found=str(len(data)), limit=str(LIMIT))
    return f"data:{TYPES[kind]};base64,{base64.b64encode(data).decode()}"


def _bounded(size: int) -> None:
    if size > FILE_LIMIT:
        raise Unusable("photo_too_large", found=str(size), limit=str(FILE_LIMIT))


@lru_cache(maxsize=4096)
def _sha256(path: Path, size: int, changed: int) -> str:
    del size, changed  # they are the key under which the answer is remembered
    _look(path)
    try:
        return "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as reason:
        raise Unusable("photo_unreadable", reason=reason.strerror or "unknown") from None


def _look(photo: Taken) -> None:
    """Refuse what is no photo before anything is owed, by its head alone."""
    with _opened(photo) as image:
        if image.width * image.height > PIXEL_LIMIT:
            raise Unusable("photo_too_large", found=f"{image.width}x{image.height}", limit=str(PIXEL_LIMIT))


def _opened(photo: Taken) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the pixel limit stands above
            image = Image.open(photo if isinstance(photo, Path) else io.BytesIO(photo), formats=list(TYPES))
    except UnidentifiedImageError:
        raise Unusable("photo_unreadable", reason="it is no JPEG, PNG or GIF") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as reason:
        raise Unusable("photo_unreadable", reason=getattr(reason, "strerror", None) or "it is damaged") from None
    return image


def _prepared(photo: Taken) -> tuple[str, bytes]:
    _look(photo)
    with _opened(photo) as image:
        kind = image.format or "JPEG"
        try:
            upright = ImageOps.exif_transpose(image)
            upright.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
        except (OSError, SyntaxError, ValueError):
            raise Unusable("photo_unreadable", reason="it is damaged") from None
        # Of a GIF one still picture is sent.
        return _written(upright, "JPEG" if kind == "JPEG" else "PNG")


def _written(image: Image.Image, kind: str) -> tuple[str, bytes]:
    # A fresh picture out of the pixels alone: no EXIF, no GPS, no comment comes along.
    if kind == "PNG":
        data = _saved(image.convert("RGBA" if "A" in image.getbands() else "RGB"), "PNG", 0)
        if len(data) <= LIMIT:
            return "PNG", data
    flat = image.convert("RGB")
    for quality in (90, 80, 65, 50):
        data = _saved(flat, "JPEG", quality)
        if len(data) <= LIMIT:
            break
    return "JPEG", data


def _saved(image: Image.Image, kind: str, quality: int) -> bytes:
    bare = Image.new(image.mode, image.size)
    bare.paste(image)
    into = io.BytesIO()
    bare.save(into, kind, **({"quality": quality} if kind == "JPEG" else {}))
    return into.getvalue()
