"""Photos of borrowers who do not exist: small JPEG files in the folders where Fineract keeps them."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw

if TYPE_CHECKING:
    from pathlib import Path
    from random import Random

FILE_SYSTEM = 1
"""`m_image.storage_type_enum`: the bytes are in a file, `m_image.location` is its path."""

_SIZE = (96, 72)
_SKIN = ((92, 58, 40), (141, 85, 54), (198, 134, 88), (224, 172, 125))


def save(folder: Path, client_id: int, rng: Random, *, name: str = "image.jpeg") -> str:
    """Write a new photo of a client below `folder`, replacing one of that name; returns its location."""
    place = folder / "default" / "images" / "clients" / str(client_id)
    place.mkdir(parents=True, exist_ok=True)
    (place / name).write_bytes(jpeg(rng))
    return str(place / name)


def jpeg(rng: Random) -> bytes:
    """A head, shoulders and a wall; hardly two are the same."""
    with Image.new("RGB", _SIZE, _colour(rng)) as picture, io.BytesIO() as written:
        pen = ImageDraw.Draw(picture)
        left = rng.randrange(25, 35)
        pen.ellipse((left - 10, 48, left + 46, 100), fill=_colour(rng))
        pen.ellipse((left, 12, left + 36, 60), fill=rng.choice(_SKIN))
        picture.save(written, "JPEG", quality=60)
        return written.getvalue()


def _colour(rng: Random) -> tuple[int, int, int]:
    return rng.randrange(256), rng.randrange(256), rng.randrange(256)
