"""What the head of a photo says: its format, its size, how it was held, and which bytes are the picture itself.

Of a JPEG and a PNG only the picture is handed on. What cameras, phones and editors put beside it (EXIF, XMP, MPO,
texts, thumbnails) is never parsed by a library: it is where most broken files are broken.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator
from typing import BinaryIO, Literal

from kiva_relay.frozen import dataclass
from kiva_relay.mapping import exif

Kind = Literal["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "AVIF"]

KINDS: tuple[Kind, ...] = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "AVIF")
"""The formats that are read. Kiva takes the first three; of the others a JPEG or PNG is made."""

# Formats that are met and not read, by how their name is spelled behind `ftyp`.
_HEIF = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"))
_AVIF = frozenset((b"avif", b"avis"))

# A JPEG of a camera has some 20 segments, a PNG of an editor some 2,000 chunks.
_PARTS = 100_000
_PROFILE_LIMIT = 4 * 1024 * 1024

_BASELINE, _EXTENDED, _PROGRESSIVE = 0xC0, 0xC1, 0xC2
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_STANDALONE = frozenset((0x01, *range(0xD0, 0xD8)))
_SCAN, _END, _EXIF, _ICC = 0xDA, 0xD9, 0xE1, 0xE2
# Beside the picture: APP1 to APP13, APP15 and comments. APP0 and APP14 say how its colours are meant.
_BESIDE = frozenset((*range(0xE1, 0xEE), 0xEF, 0xFE))
_PROFILE_MARK = b"ICC_PROFILE\0"

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_PICTURE = frozenset((b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"))


class NotAPhoto(Exception):
    """The bytes are no photo that can be read; the text says why, in words for the person who looks."""


@dataclass(frozen=True)
class PhotoHead:
    """What is known before a pixel is decoded.

    `width` and `height` are 0 where only the decoder knows them. `pixel` is how many bytes a decoded pixel takes, and
    `kept` how many bytes the decoder keeps beside the pixels. `profile` is the ICC profile, empty without one.
    `picture` are the bytes to decode.
    """

    kind: Kind
    picture: BinaryIO
    width: int = 0
    height: int = 0
    orientation: int = exif.UPRIGHT
    profile: bytes = b""
    pixel: int = 4
    kept: int = 0


def read(photo: BinaryIO) -> PhotoHead:
    """The head of a photo. Raises NotAPhoto for what is no photo, OSError where the file cannot be read."""
    start = photo.read(32)
    photo.seek(0)
    kind = _kind(start)
    if kind == "JPEG":
        return _jpeg(photo)
    if kind == "PNG":
        return _png(photo)
    return PhotoHead(kind, photo)


_STARTS: tuple[tuple[bytes, Kind], ...] = (
    (b"\xff\xd8\xff", "JPEG"),
    (_PNG, "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
)


def _kind(start: bytes) -> Kind:
    for mark, kind in _STARTS:
        if start.startswith(mark):
            return kind
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "WEBP"
    brands = {start[at : at + 4] for at in (8, 16, 20, 24, 28)} if start[4:8] == b"ftyp" else set()
    if brands & _AVIF:
        return "AVIF"
    if brands & _HEIF:
        raise NotAPhoto("it is a HEIC, as iPhones write it, which is not read; save it as JPEG")
    raise NotAPhoto(f"it is none of {', '.join(KINDS)}" if start else "it is empty")


class _Spliced(io.RawIOBase):
    """Some ranges of a file, read as if they were all of it."""

    def __init__(self, whole: BinaryIO, ranges: list[tuple[int, int]]) -> None:
        super().__init__()
        self._whole = whole
        self._ranges = [(start, end) for start, end in ranges if end > start]
        self._length = sum(end - start for start, end in self._ranges)
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._length}[whence]
        self._at = max(0, origin + offset)
        return self._at

    def readinto(self, into: object, /) -> int:
        room = memoryview(into)  # type: ignore[arg-type]  # typeshed's Buffer is not in 3.11
        before = 0
        for start, end in self._ranges:
            if self._at < before + end - start:
                self._whole.seek(start + self._at - before)
                data = self._whole.read(min(len(room), before + end - start - self._at))
                room[: len(data)] = data
                self._at += len(data)
                return len(data)
            before += end - start
        return 0


def _spliced(whole: BinaryIO, ranges: list[tuple[int, int]]) -> BinaryIO:
    return io.BufferedReader(_Spliced(whole, ranges), 1 << 16)


def _length(whole: BinaryIO) -> int:
    return whole.seek(0, io.SEEK_END)


def _jpeg(photo: BinaryIO) -> PhotoHead:
    end = _length(photo)
    ranges = [(0, 2)]
    frame = b""
    orientation, profile = exif.UPRIGHT, b""
    for marker, start, behind in _segments(photo):
        body = b""
        if marker in _FRAMES or marker in (_SCAN, _EXIF, _ICC):
            photo.seek(start + 4)
            body = photo.read(max(0, behind - start - 4))
        if marker in _FRAMES and not frame:
            if marker not in (_BASELINE, _EXTENDED, _PROGRESSIVE):
                raise NotAPhoto("it is a JPEG of a kind that no camera writes")
            frame = bytes([marker]) + body
        elif marker == _EXIF and body[:6] == b"Exif\0\0":
            orientation = exif.orientation(body) if orientation == exif.UPRIGHT else orientation
        elif marker == _ICC and body.startswith(_PROFILE_MARK) and len(profile) < _PROFILE_LIMIT:
            profile += body[len(_PROFILE_MARK) + 2 :]
        if marker == _SCAN:
            ranges.append((start, end))
            return _framed(frame, body, _spliced(photo, ranges), orientation=orientation, profile=profile)
        if marker not in _BESIDE:
            ranges.append((start, behind))
    raise NotAPhoto("it is damaged: it ends before the picture begins")


def _segments(photo: BinaryIO) -> Iterator[tuple[int, int, int]]:
    """Marker, where the segment begins, and where the next one does; up to the first scan."""
    at = 2
    for _ in range(_PARTS):
        photo.seek(at)
        head = photo.read(4)
        if len(head) < 4 or head[1] == _END:  # noqa: PLR2004 - a marker and a length
            return
        if head[0] != 0xFF or head[1] in (0x00, 0xFF):  # noqa: PLR2004 - filling between segments
            at += 1
            continue
        size = 0 if head[1] in _STANDALONE else int.from_bytes(head[2:])
        behind = at + 2 + size
        yield head[1], at, behind
        if head[1] == _SCAN:
            return
        at = behind


def _framed(frame: bytes, scan: bytes, picture: BinaryIO, *, orientation: int, profile: bytes) -> PhotoHead:
    height, width = int.from_bytes(frame[2:4]), int.from_bytes(frame[4:6])
    colours = frame[6] if len(frame) > 6 else 0  # noqa: PLR2004 - the byte behind the size
    layers = [divmod(frame[at + 1], 16) for at in range(7, min(7 + 3 * colours, len(frame) - 2), 3)]
    if not width or not height or len(layers) != colours or not colours:
        raise NotAPhoto("it is damaged: it does not say how large it is")
    kept = 0
    if frame[0] == _PROGRESSIVE or (scan and scan[0] < colours):
        # Such a picture comes in several passes, and the decoder keeps two bytes for each value until the last.
        across, down = max(one for one, _ in layers) or 1, max(one for _, one in layers) or 1
        kept = sum(2 * (width * wide // across + 16) * (height * high // down + 16) for wide, high in layers)
    pixel = 1 if colours == 1 else 4
    return PhotoHead("JPEG", picture, width, height, orientation, profile, pixel, kept)


def _png(photo: BinaryIO) -> PhotoHead:
    end = _length(photo)
    ranges, at = [(0, 8)], 8
    head, profile, orientation = b"", b"", exif.UPRIGHT
    for _ in range(_PARTS):
        photo.seek(at)
        length, name = int.from_bytes(photo.read(4)), photo.read(4)
        behind = min(at + 12 + length, end)
        if len(name) < 4:  # noqa: PLR2004 - four letters
            break
        if name == b"IHDR" and not head:
            head = photo.read(13)
        elif name == b"iCCP" and not profile:
            profile = _unpacked(photo.read(min(length, _PROFILE_LIMIT)))
        elif name == b"eXIf" and orientation == exif.UPRIGHT:
            orientation = exif.orientation(photo.read(min(length, 1 << 16)))
        if name in _PNG_PICTURE:
            ranges.append((at, behind))
        if name == b"IEND":
            break
        at = behind
    width, height = int.from_bytes(head[:4]), int.from_bytes(head[4:8])
    if len(head) < 13 or not width or not height:  # noqa: PLR2004 - the length of IHDR
        raise NotAPhoto("it is damaged: it does not say how large it is")
    depth, colours = head[8], head[9]
    pixel = {0: 2 if depth > 8 else 1, 3: 1}.get(colours, 4)  # noqa: PLR2004 - bits
    return PhotoHead("PNG", _spliced(photo, ranges), width, height, orientation, profile, pixel)


def _unpacked(chunk: bytes) -> bytes:
    """The profile in an iCCP chunk; empty when it is broken or larger than any."""
    name, _, packed = chunk.partition(b"\0")
    del name
    try:
        unpacking = zlib.decompressobj()
        profile = unpacking.decompress(packed[1:], _PROFILE_LIMIT)
    except zlib.error:
        return b""
    return profile if unpacking.eof else b""
