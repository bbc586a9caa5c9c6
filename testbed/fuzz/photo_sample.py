"""Good photos of every kind that people have, small, to be spoiled; and what they are made of, to spoil it by its structure."""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Callable

from PIL import Image, ImageCms

WIDTH, HEIGHT = 64, 48


def picture(mode: str = "RGB") -> Image.Image:
    """Something that is neither of one colour nor the same from all sides."""
    down = Image.linear_gradient("L")
    three = (down, down.transpose(Image.Transpose.ROTATE_180), down.transpose(Image.Transpose.ROTATE_90))
    colours = Image.merge("RGB", [each.resize((WIDTH, HEIGHT)) for each in three])
    return colours.convert(mode)


def saved(image: Image.Image, kind: str, **how: object) -> bytes:
    into = io.BytesIO()
    image.save(into, kind, **how)
    return into.getvalue()


def sixteen() -> Image.Image:
    """16 bits of grey."""
    return Image.frombytes(
        "I;16", (WIDTH, HEIGHT), struct.pack(f"<{WIDTH * HEIGHT}H", *(at * 20 for at in range(WIDTH * HEIGHT)))
    )


def _profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def _clear() -> Image.Image:
    image = picture("RGBA")
    image.putalpha(Image.linear_gradient("L").resize((WIDTH, HEIGHT)))
    return image


GOOD: dict[str, Callable[[], bytes]] = {
    "jpeg": lambda: saved(picture(), "JPEG"),
    "jpeg progressive": lambda: saved(picture(), "JPEG", progressive=True, icc_profile=_profile()),
    "jpeg grey": lambda: saved(picture("L"), "JPEG"),
    "jpeg cmyk": lambda: saved(picture("CMYK"), "JPEG"),
    "mpo": lambda: saved(picture(), "MPO", save_all=True, append_images=[picture()]),
    "png": lambda: saved(picture(), "PNG"),
    "png clear": lambda: saved(_clear(), "PNG", icc_profile=_profile()),
    "png palette": lambda: saved(picture("P"), "PNG", transparency=0),
    "png 16": lambda: saved(sixteen(), "PNG"),
    "png black and white": lambda: saved(picture("1"), "PNG"),
    "gif": lambda: saved(picture("P"), "GIF", save_all=True, append_images=[picture("L").convert("P")], transparency=3),
    "bmp": lambda: saved(picture(), "BMP"),
    "tiff": lambda: saved(picture(), "TIFF"),
    "tiff lzw": lambda: saved(picture(), "TIFF", compression="tiff_lzw"),
    "tiff jpeg": lambda: saved(picture(), "TIFF", compression="jpeg"),
    "tiff 16": lambda: saved(sixteen(), "TIFF"),
    "tiff fax": lambda: saved(picture("1"), "TIFF", compression="group4"),
    "webp": lambda: saved(picture(), "WEBP"),
    "webp clear": lambda: saved(_clear(), "WEBP", lossless=True),
    "avif": lambda: saved(picture(), "AVIF"),
}
"""By name: how it is made. All of them are taken as they are."""


def exif(dice: random.Random) -> bytes:
    """An EXIF block as nobody should write it: any tag, any type, any count, offsets anywhere, fractions of nothing."""
    order, signs = dice.choice((("<", b"II*\0"), (">", b"MM\0*")))
    entries = dice.randrange(12)
    block = signs + struct.pack(order + "I", dice.choice((8, 8, 8, 8, 0, 7, 2**32 - 1)))
    block += struct.pack(order + "H", dice.choice((entries, entries, entries, 0xFFFF)))
    for _ in range(entries):
        tag = dice.choice(
            (0x0112, 0x011A, 0x011B, 0x8769, 0x8825, 0x013B, 0x9286, 0x927C, 0x0201, 0x4746, dice.randrange(2**16))
        )
        value = dice.choice((1, 3, 6, 8, 9, 0, 26, 2**32 - 1, dice.randrange(2**32)))
        block += struct.pack(
            order + "HHII",
            tag,
            dice.choice((1, 2, 3, 4, 5, 7, 10, 12, 13, 16, 0)),
            dice.choice((0, 1, 1, 1, 2, 2**31)),
            value,
        )
    block += struct.pack(order + "Iii", dice.choice((0, 8, 2**32 - 1)), -1, 0) + dice.randbytes(dice.randrange(60))
    return b"Exif\0\0" + block


def segment(marker: int, body: bytes) -> bytes:
    """One segment of a JPEG."""
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


def segments(photo: bytes) -> list[bytes]:
    """A JPEG's start, its segments up to the scan, and the rest."""
    found, at = [photo[:2]], 2
    while photo[at : at + 1] == b"\xff" and photo[at + 1] != 0xDA:
        behind = at + 2 + int.from_bytes(photo[at + 2 : at + 4])
        found.append(photo[at:behind])
        at = behind
    return [*found, photo[at:]]


def chunk(name: bytes, body: bytes) -> bytes:
    """One chunk of a PNG, its check sum right."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def chunks(photo: bytes) -> list[bytes]:
    """A PNG's signature and its chunks."""
    found, at = [photo[:8]], 8
    while at < len(photo):
        behind = at + 12 + int.from_bytes(photo[at : at + 4])
        found.append(photo[at:behind])
        at = behind
    return found
