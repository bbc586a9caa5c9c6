"""A borrower's photo: its true type, upright, without the camera's data, and small enough to send."""

from __future__ import annotations

import base64
import hashlib
import io
import warnings
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


class Unusable(Exception):
    """The photo cannot be sent; `refusal` says why."""

    def __init__(self, code: str, **params: str) -> None:
        super().__init__(code)
        self.refusal = Refusal(code, params=params)


def fingerprint(path: Path) -> str:
    """`sha256:…` of the file as it is. Outside delivery a photo is this, never its bytes.

    The file is read again only when its size or its time of change moved.
    """
    try:
        stat = path.stat()
    except OSError as reason:
        raise Unusable("photo_unreadable", reason=reason.strerror or "unknown") from None
    if stat.st_size > FILE_LIMIT:
        raise Unusable("photo_too_large", found=str(stat.st_size), limit=str(FILE_LIMIT))
    return _sha256(path, stat.st_size, stat.st_mtime_ns)


def data_uri(path: Path) -> str:
    """The photo as `data:image/jpeg;base64,…`, at most `LIMIT` bytes; shrunk and turned when it must be."""
    fingerprint(path)
    kind, data = _prepared(path)
    if len(data) > LIMIT:
        raise Unusable("photo_too_large", found=str(len(data)), limit=str(LIMIT))
    return f"data:{TYPES[kind]};base64,{base64.b64encode(data).decode()}"


@lru_cache(maxsize=4096)
def _sha256(path: Path, size: int, changed: int) -> str:
    del size, changed  # they are the key under which the answer is remembered
    _prepared_check(path)
    try:
        return "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as reason:
        raise Unusable("photo_unreadable", reason=reason.strerror or "unknown") from None


def _prepared_check(path: Path) -> None:
    """Refuse what is no photo before anything is owed, by its head alone."""
    with _opened(path) as image:
        if image.width * image.height > PIXEL_LIMIT:
            raise Unusable("photo_too_large", found=f"{image.width}x{image.height}", limit=str(PIXEL_LIMIT))


def _opened(path: Path) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the pixel limit stands above
            image = Image.open(path, formats=list(TYPES))
    except UnidentifiedImageError:
        raise Unusable("photo_unreadable", reason="it is no JPEG, PNG or GIF") from None
    except (OSError, Image.DecompressionBombError) as reason:
        raise Unusable("photo_unreadable", reason=getattr(reason, "strerror", None) or "it is damaged") from None
    return image


def _prepared(path: Path) -> tuple[str, bytes]:
    _prepared_check(path)
    with _opened(path) as image:
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
