"""Spoils photos and gives them to the relay's reader: `python -m testbed.fuzz.photos --number 10000`.

In a process of its own, for a codec may end it. Whatever is wrong with a photo: it becomes bytes for Kiva, or a refusal
of the photo; what was spoiled beside the picture only is taken; nothing is printed; and no photo takes more than
`MEMORY` bytes. What fails is told with its seed, which repeats it: `--seed 17 --number 1`.
"""

from __future__ import annotations

import argparse
import base64
import functools
import io
import json
import random
import re
import struct
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

from PIL import Image

from kiva_relay.mapping import function, image, picture
from kiva_relay.mapping.function import Refused, Run
from testbed.fuzz import photo_sample
from testbed.fuzz.photo_sample import GOOD

MEMORY = 200 * 1024 * 1024
SLOW = 10.0
_SHOWN = 20


@functools.cache
def _sample(name: str) -> bytes:
    return bytes(GOOD[name]())


def made(seed: int) -> tuple[bytes, bool]:
    """The photo of a seed, and whether its picture is whole: then it has to be taken."""
    dice = random.Random(f"photo {seed}")
    name = dice.choice([*GOOD])
    photo = _sample(name)
    if dice.random() < 0.3 and photo[:2] == b"\xff\xd8":
        return _beside_jpeg(dice, photo), True
    if dice.random() < 0.3 and photo[:4] == b"\x89PNG":
        return _beside_png(dice, photo), True
    for _ in range(dice.choice((1, 1, 1, 2, 3, 8))):
        photo = bytes(dice.choice(_SPOILT)(dice, photo))
    return photo, False


def _beside_jpeg(dice: random.Random, photo: bytes) -> bytes:
    """With APP segments that nobody can make sense of, in front of the picture or between its tables."""
    parts = photo_sample.segments(photo)
    for _ in range(dice.randrange(1, 5)):
        body = dice.choice(
            (
                photo_sample.exif(dice),
                b"Exif\0\0" + dice.randbytes(dice.randrange(200)),
                b"http://ns.adobe.com/xap/1.0/\0" + dice.randbytes(dice.randrange(200)),
                b"MPF\0" + photo_sample.exif(dice)[6:],
                b"ICC_PROFILE\0"
                + bytes([dice.randrange(256), dice.randrange(256)])
                + dice.randbytes(dice.randrange(400)),
                b"Photoshop 3.0\0" + b"8BIM" + dice.randbytes(dice.randrange(100)),
                dice.randbytes(dice.randrange(100)),
            )
        )
        parts.insert(
            dice.randrange(1, len(parts)),
            photo_sample.segment(dice.choice((0xE1, 0xE1, 0xE2, 0xE3, 0xED, 0xEF, 0xFE)), body),
        )
    return b"".join(parts)


def _beside_png(dice: random.Random, photo: bytes) -> bytes:
    """With chunks that nobody can make sense of."""
    parts = photo_sample.chunks(photo)
    for _ in range(dice.randrange(1, 5)):
        name = dice.choice(
            (b"iCCP", b"eXIf", b"tEXt", b"zTXt", b"iTXt", b"gAMA", b"cHRM", b"pHYs", b"acTL", b"fcTL", b"prVt")
        )
        body = dice.choice(
            (
                b"",
                photo_sample.exif(dice)[6:],
                b"name\0\0" + dice.randbytes(dice.randrange(300)),
                dice.randbytes(dice.randrange(60)),
            )
        )
        parts.insert(dice.randrange(2, 3), photo_sample.chunk(name, body))
    return b"".join(parts)


def _cut(dice: random.Random, photo: bytes) -> bytes:
    return photo[: dice.randrange(len(photo) + 1)]


def _flip(dice: random.Random, photo: bytes) -> bytes:
    spoilt = bytearray(photo)
    for _ in range(dice.choice((1, 1, 2, 5, 50))):
        if spoilt:
            spoilt[dice.randrange(len(spoilt))] = dice.choice((0, 255, dice.randrange(256)))
    return bytes(spoilt)


def _head(dice: random.Random, photo: bytes) -> bytes:
    """Something else in the first bytes: sizes, kinds, offsets."""
    at, wide = dice.randrange(min(200, len(photo)) or 1), dice.choice((1, 2, 4))
    value = dice.choice((0, 1, 2**8 - 1, 2**15, 2**16 - 1, 2**31 - 1, 2**32 - 1, dice.randrange(2**32))) % 256**wide
    spoilt: bytes = photo[:at] + value.to_bytes(wide, dice.choice(("little", "big"))) + photo[at + wide :]
    return spoilt


def _size(dice: random.Random, photo: bytes) -> bytes:
    """Another width and height than there is a picture for."""
    sizes = (0, 1, 7, 63, 65, 1601, 16_000, 65_535)
    wide, high = dice.choice(sizes), dice.choice(sizes)
    if photo[:4] == b"\x89PNG":
        parts = photo_sample.chunks(photo)
        if len(parts) > 1:
            parts[1] = photo_sample.chunk(b"IHDR", struct.pack(">II", wide, high) + parts[1][16:21])
        return b"".join(parts)
    if photo[:2] == b"\xff\xd8":
        for frame in (b"\xff\xc0", b"\xff\xc2"):
            at = photo.find(frame)
            if at > 0:
                return photo[: at + 5] + struct.pack(">HH", high, wide) + photo[at + 9 :]
    if photo[:3] == b"GIF":
        return photo[:6] + struct.pack("<HH", wide, high) + photo[10:]
    if photo[:2] == b"BM":
        return photo[:18] + struct.pack("<ii", wide, high) + photo[26:]
    return _head(dice, photo)


def _order(dice: random.Random, photo: bytes) -> bytes:
    """Parts twice, gone, or in another order."""
    if photo[:4] == b"\x89PNG":
        parts = photo_sample.chunks(photo)
    elif photo[:2] == b"\xff\xd8":
        parts = photo_sample.segments(photo)
    else:
        size = max(1, len(photo) // 8)
        parts = [photo[at : at + size] for at in range(0, len(photo), size)]
    first, rest = parts[:1], parts[1:]
    if rest:
        at = dice.randrange(len(rest))
        do = dice.randrange(3)
        rest[at : at + 1] = [] if do == 0 else [rest[at]] * dice.choice((2, 3, 200)) if do == 1 else []
        if do == 2:
            dice.shuffle(rest)
    return b"".join([*first, *rest])


def _mixed(dice: random.Random, photo: bytes) -> bytes:
    """The head of one, and the rest of another."""
    other = _sample(dice.choice([*GOOD]))
    return photo[: dice.randrange(len(photo) + 1)] + other[dice.randrange(len(other)) :]


def _other(dice: random.Random, photo: bytes) -> bytes:
    return dice.choice(
        (b"", b"\0", photo + dice.randbytes(100), photo * 3, dice.randbytes(500), photo[:12] + dice.randbytes(300))
    )


_SPOILT = (_cut, _flip, _flip, _head, _head, _size, _order, _mixed, _other)


def given(dice: random.Random, photo: bytes, folder: Path) -> object:
    """The photo as an MIS may hold it: bytes, base64, a data URL, a file."""
    text = base64.b64encode(photo).decode()
    file = folder / "photo"
    file.write_bytes(photo)
    return dice.choice(
        (photo, photo, photo, "photo", text if len(text) > 1024 else photo, f"data:image/png;base64,{text}")
    )


def tried(seed: int, folder: Path) -> tuple[str, str]:
    """What became of the photo of a seed, and what is wrong with that; empty: nothing."""
    photo, whole = made(seed)
    value = given(random.Random(f"given {seed}"), photo, folder)
    began, found = time.monotonic(), "taken"
    run = Run(photos="bytes", photo_folders=(folder,))
    try:
        uri = function.call("image", run, value)
    except Refused as refused:
        found = refused.refusal.code
        if found not in ("photo_unreadable", "photo_too_large"):
            return found, f"refused as {refused.refusal}"
        if not all(refused.refusal.params.values()):
            return found, f"without a reason: {refused.refusal}"
        if whole:
            return found, f"a whole picture was refused: {refused.refusal}"
    except Exception:
        return "raised", traceback.format_exc(limit=-5)
    else:
        if uri is None:
            return "empty", "" if not photo.strip() else "a photo was taken for nothing"
        sent = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
        sent.load()
        if (
            max(sent.size) > picture.LONGEST_SIDE
            or sent.mode not in ("RGB", "L")
            or sent.getexif()
            or len(uri) > image.LIMIT * 1.4
        ):
            return found, f"{sent.mode} {sent.size} was sent, with {dict(sent.getexif())}"
    took = time.monotonic() - began
    return found, f"took {took:.0f} s" if took > SLOW else ""


def peak() -> int:
    """The most memory that this process ever had, in bytes; what its parent had counts in `ru_maxrss`, and not here."""
    found = re.search(r"^VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text("ascii"), re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def _work(seed: int, number: int) -> None:
    """Tell the parent of each seed before it is tried, and what became of it."""
    with tempfile.TemporaryDirectory() as folder:
        for each in range(seed, seed + number):
            sys.stdout.write(json.dumps([each]) + "\n")
            sys.stdout.flush()
            found, why = tried(each, Path(folder))
            sys.stdout.write(json.dumps([each, found, why, peak()]) + "\n")


def run(seed: int, number: int) -> tuple[Counter[str], list[str], int]:
    """What became of so many photos, what is wrong, and the most memory that the process took."""
    found: Counter[str] = Counter()
    wrong: list[str] = []
    at, end, most = seed, seed + number, 0
    while at < end:
        command = [sys.executable, "-m", "testbed.fuzz.photos", "--work", "--seed", str(at), "--number", str(end - at)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        begun = at
        for line in done.stdout.splitlines():
            seed_of, *rest = json.loads(line)
            begun = seed_of
            if rest:
                found[rest[0]] += 1
                most = max(most, rest[2])
                wrong += [f"seed {seed_of}: {rest[1]}"] if rest[1] else []
                at = seed_of + 1
        if done.stderr:
            wrong.append(f"from seed {begun}, printed: {done.stderr[:2000]}")
        if at < end:
            wrong.append(f"seed {begun}: the process ended with {done.returncode}")
            at = begun + 1
    if most > MEMORY:
        wrong.append(f"{most // 1024 // 1024} MB were taken")
    return found, wrong, most


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--number", type=int, default=10_000, help="how many photos")
    parser.add_argument("--seed", type=int, default=0, help="the first of them")
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.work:
        _work(chosen.seed, chosen.number)
        return 0
    began = time.monotonic()
    found, wrong, most = run(chosen.seed, chosen.number)
    counts = ", ".join(f"{count:,} {what}" for what, count in found.most_common())
    took = time.monotonic() - began
    sys.stdout.write(
        f"{chosen.number:,} photos  {len(wrong)} wrong  {took:.0f} s  at most {most // 1024 // 1024} MB  ({counts})\n"
    )
    sys.stdout.writelines(f"  {line}\n" for line in wrong[:_SHOWN])
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
