"""A photo's pixels as Kiva can show them: upright, in sRGB, over white where it is transparent, and not large.

Pillow decodes. Whatever it raises becomes NotAPhoto, whatever it or its libraries would print is not printed, and what
would take more than `BUDGET` bytes is not begun.
"""

from __future__ import annotations

import contextlib
import io
import os
import threading
import warnings
from collections.abc import Iterator

from PIL import Image, ImageCms, UnidentifiedImageError

from kiva_relay.mapping import exif
from kiva_relay.mapping.photo_head import NotAPhoto, PhotoHead

LONGEST_SIDE = 1600
"""Kiva's own pages show photos of this size. (What it takes is not documented.)"""

BUDGET = 108 * 1024 * 1024
"""What a photo may take of the memory while it is decoded, itself included: a relay shares its machine with the MIS."""

PIXEL_LIMIT = 260_000_000
"""The largest cameras have 200 million; beyond that decoding takes minutes."""

# Bytes that the decoder takes for a pixel, as measured, where the head does not say it.
_PIXEL = {"GIF": 2, "BMP": 4, "TIFF": 4, "WEBP": 16, "AVIF": 7}

_TURNED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_TIFF_BITS, _STRIP_ROWS, _TILE_WIDTH, _TILE_HEIGHT = 258, 278, 322, 323
_TIFF_COMPRESSION, _NOT_COMPRESSED = 259, 1
_STRIP = 1 << 20

# Pillow has a limit of its own, below the photos of telephones.
Image.MAX_IMAGE_PIXELS = PIXEL_LIMIT

# One at a time: two large photos would take twice the memory, and what warnings and the terminal do is one for all.
_TURN = threading.Lock()


class TooLarge(Exception):
    """More pixels than may be decoded; `found` and `limit` in words."""

    def __init__(self, found: str, limit: str) -> None:
        super().__init__(found)
        self.found = found
        self.limit = limit


def look(head: PhotoHead, *, held: int = 0) -> None:
    """Refuse what would not be read, by its head alone.

    `held`: how many bytes of the photo are in memory already. Raises NotAPhoto, or TooLarge.
    """
    if not head.width:
        with _quiet(), _opened(head):
            return
    factor = _draft(head.width, head.height) if head.kind == "JPEG" else 1
    wide, high = head.width // factor + 1, head.height // factor + 1
    _bounded(head, wide, high, pixels=wide * high * head.pixel + head.kept, held=held)


def read(head: PhotoHead, *, held: int = 0) -> Image.Image:
    """The picture, as `RGB` or `L`, its longest side at most `LONGEST_SIDE`, and nothing but its pixels.

    Raises NotAPhoto, or TooLarge.
    """
    look(head, held=held)
    with _quiet(), _opened(head, held=held) as image:
        profile = head.profile or image.info.get("icc_profile") or b""
        orientation = _orientation(head, image)
        found = _small(image)
    with _quiet():
        found = _in_srgb(found, profile)
        found = found.transpose(_TURNED[orientation]) if orientation in _TURNED else found
    found.info.clear()
    return found


def _draft(width: int, height: int) -> int:
    """By how much a JPEG is made smaller while it is decoded: its decoder knows halves, quarters and eighths."""
    scale = max(width, height) // LONGEST_SIDE
    return next(factor for factor in (8, 4, 2, 1) if scale >= factor or factor == 1)


def _bounded(head: PhotoHead, width: int, height: int, *, pixels: int, held: int) -> None:
    """`width` and `height` as they are decoded, with the bytes that the decoder takes for that."""
    found = f"{head.width or width:,} x {head.height or height:,} pixels"
    if (head.width or width) * (head.height or height) > PIXEL_LIMIT:
        raise TooLarge(found, f"{PIXEL_LIMIT:,} pixels")
    # Beside the decoded pixels: the rows as wide as they are sent, of each three colours and a byte for nothing.
    cost = pixels + held + 4 * min(width, LONGEST_SIDE) * height
    if cost > BUDGET:
        kind = f"a {head.kind} in several passes" if head.kept else head.kind
        raise TooLarge(found, f"{BUDGET // 1024 // 1024} MB of memory, and as {kind} it takes {cost // 1024 // 1024}")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Nothing that Pillow raises or prints leaves here."""
    try:
        with _TURN, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (NotAPhoto, TooLarge):
        raise
    except OSError as reason:
        # With a number it is the file system's, without one Pillow's.
        raise NotAPhoto(reason.strerror if reason.errno and reason.strerror else _damaged(reason)) from None
    except Exception as reason:  # noqa: BLE001 - a codec raises whatever it likes, and a row costs no more than itself
        raise NotAPhoto(_damaged(reason)) from None


def _damaged(reason: Exception) -> str:
    if isinstance(reason, MemoryError):
        return "there is not enough memory for it"
    return "it is cut off" if "truncated" in str(reason) else "it is damaged"


@contextlib.contextmanager
def _opened(head: PhotoHead, *, held: int = 0) -> Iterator[Image.Image]:
    """The photo, opened and bounded, not yet decoded."""
    head.picture.seek(0)
    with _silent_terminal() if head.kind == "TIFF" else contextlib.nullcontext():
        try:
            image = Image.open(head.picture, formats=[head.kind])
        except UnidentifiedImageError:
            raise NotAPhoto("it is damaged") from None
        try:
            width, height = image.size
            if not width or not height:
                raise NotAPhoto("it is damaged: it does not say how large it is")
            if not head.width:
                _bounded(head, width, height, pixels=_pixels(image) * _PIXEL[head.kind], held=held)
            yield image
        finally:
            # Not closed as a whole: the file is the caller's.
            image.im = None  # type: ignore[assignment]  # its pixels go now, not when a collector comes by


def _pixels(image: Image.Image) -> int:
    """How many pixels the decoder makes; of a TIFF a strip or a tile more, which may be larger than the picture."""
    tags = getattr(image, "tag_v2", {})
    if tags.get(_TIFF_COMPRESSION) == _NOT_COMPRESSED:
        return image.width * image.height
    wide, high, rows = (
        found if isinstance(found := tags.get(each), int) else 0 for each in (_TILE_WIDTH, _TILE_HEIGHT, _STRIP_ROWS)
    )
    return image.width * image.height + max(wide * high, image.width * min(rows, image.height))


@contextlib.contextmanager
def _silent_terminal() -> Iterator[None]:
    """Without what libtiff writes to the terminal by itself, past Python."""
    try:
        kept = os.dup(2)
    except OSError:  # there is no terminal, and nothing to keep silent
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _orientation(head: PhotoHead, image: Image.Image) -> int:
    if head.kind in ("JPEG", "PNG"):
        return head.orientation
    # Pillow turns a TIFF by itself.
    block = image.info.get("exif") if head.kind != "TIFF" else None
    return exif.orientation(block) if isinstance(block, bytes) else exif.UPRIGHT


def _small(image: Image.Image) -> Image.Image:
    """Decoded, flat, and no larger than it is sent; by strips, so that hardly anything is there twice."""
    if image.format == "JPEG":
        image.draft(None, _within(image.size))
    if getattr(image, "tag_v2", {}).get(_TIFF_BITS, (8,))[0] not in (1, 2, 4, 8, 16):
        raise NotAPhoto("its colours are of a kind that is not read")
    image.load()
    width, height = image.size
    wide, high = _within(image.size)
    rows = max(1, _STRIP // width)
    made: Image.Image | None = None
    for top in range(0, height, rows):
        strip = _flat(image.crop((0, top, width, min(top + rows, height))))
        if made is None:
            made = Image.new(strip.mode, (wide, height))
        made.paste(strip.resize((wide, strip.height), Image.Resampling.LANCZOS), (0, top))
    if made is None:
        raise NotAPhoto("it is damaged")
    return made.resize((wide, high), Image.Resampling.LANCZOS)


def _within(size: tuple[int, int]) -> tuple[int, int]:
    """The size at which the longest side is `LONGEST_SIDE`; a smaller picture stays as it is."""
    longest = max(*size, LONGEST_SIDE)
    wide, high = (max(1, round(side * LONGEST_SIDE / longest)) for side in size)
    return wide, high


def _flat(strip: Image.Image) -> Image.Image:
    """In `RGB`, `L` or `CMYK`; over white where it was transparent, for what lies below was not meant to be seen."""
    if strip.mode.startswith("I;16"):
        # The upper byte of each value. Pillow's own conversion makes everything above 255 white.
        raw = strip.tobytes()
        return Image.frombytes("L", strip.size, raw[0::2] if strip.mode.endswith("B") else raw[1::2])
    if strip.mode in ("I", "F"):
        raise NotAPhoto("its colours are of a kind that is not read")
    if strip.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in strip.info:
        clear = strip.convert("RGBA")
        made = Image.new("RGB", strip.size, "white")
        made.paste(clear, mask=clear.getchannel("A"))
        return made
    if strip.mode in ("L", "RGB", "CMYK"):
        return strip
    return strip.convert("L" if strip.mode == "1" else "RGB")


def _in_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """The colours as a screen shows them; as they stand where the profile is broken, or is another kind's."""
    if profile:
        with contextlib.suppress(Exception):
            given = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            screen = ImageCms.createProfile("sRGB")
            made = ImageCms.profileToProfile(image, given, screen, outputMode="RGB")
            if made is not None:
                return made
    return image if image.mode in ("RGB", "L") else image.convert("RGB")
