from __future__ import annotations

import base64
import io
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from PIL import ExifTags, Image, ImageCms

from kiva_relay.mapping import exif, image, mapper, picture
from kiva_relay.mapping.image import Unusable
from kiva_relay.source.reader import Content
from testbed.fuzz import photo_sample, photos
from testbed.fuzz.photo_sample import GOOD
from testbed.rig.mapping_file import DRAFT, context, load


def saved(path: Path, *, kind: str = "JPEG", size: tuple[int, int] = (40, 20), orientation: int | None = None) -> Path:
    exif = Image.Exif()
    if orientation is not None:
        exif[ExifTags.Base.Orientation] = orientation
        exif[ExifTags.Base.Artist] = "somebody"
    picture = Image.new("P" if kind == "GIF" else "RGB", size, 1 if kind == "GIF" else "brown")
    picture.save(path, kind, **({"exif": exif} if orientation else {}))
    return path


def opened(uri: str) -> tuple[str, Image.Image]:
    head, _, data = uri.partition(";base64,")
    return head, Image.open(io.BytesIO(base64.b64decode(data)))


@pytest.mark.parametrize(
    ("name", "kind", "head"),
    [("a.png", "JPEG", "data:image/jpeg"), ("a.jpg", "PNG", "data:image/png"), ("a", "GIF", "data:image/png")],
)
def test_the_type_is_what_the_bytes_are(tmp_path: Path, name: str, kind: str, head: str) -> None:
    found, picture = opened(image.data_uri(saved(tmp_path / name, kind=kind)))
    assert found == head
    assert f"data:image/{(picture.format or '').lower()}" == head


def test_it_is_upright_and_says_nothing_about_the_camera(tmp_path: Path) -> None:
    _, picture = opened(image.data_uri(saved(tmp_path / "a.jpg", orientation=6)))
    assert picture.size == (20, 40)
    assert dict(picture.getexif()) == {}


def test_a_large_photo_is_made_small(tmp_path: Path) -> None:
    _, sent = opened(image.data_uri(saved(tmp_path / "a.jpg", size=(4000, 3000))))
    assert sent.size == (1600, 1200)


def test_a_picture_that_packs_badly_is_sent_as_jpeg(tmp_path: Path) -> None:
    noise = Image.frombytes("RGB", (1600, 1200), os.urandom(1600 * 1200 * 3))
    noise.save(tmp_path / "a.png", "PNG")
    uri = image.data_uri(tmp_path / "a.png")
    assert uri.startswith("data:image/jpeg")
    assert len(uri) < image.LIMIT * 1.4


@pytest.mark.parametrize("content", [b"", b"no photo", b"\xff\xd8\xff\xe0 cut"])
def test_what_is_no_photo_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    for look in (image.fingerprint, image.data_uri):
        with pytest.raises(Unusable) as unusable:
            look(path)
        assert unusable.value.refusal.code == "photo_unreadable"


def test_a_file_that_is_not_there_is_refused_and_not_named(tmp_path: Path) -> None:
    with pytest.raises(Unusable) as unusable:
        image.fingerprint(tmp_path / "fatou.jpg")
    assert "fatou" not in str(unusable.value.refusal.params)


def test_a_damaged_photo_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.jpg", size=(400, 400))
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(Unusable):
        image.data_uri(path)


def test_the_fingerprint_follows_the_file(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.jpg")
    before = image.fingerprint(path)
    assert before == image.fingerprint(path)
    saved(path, size=(41, 20))
    assert image.fingerprint(path) != before


def test_a_bomb_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picture, "PIXEL_LIMIT", 100)
    with pytest.raises(Unusable) as unusable:
        image.data_uri(saved(tmp_path / "a.jpg"))
    assert unusable.value.refusal.code == "photo_too_large"


def pixel(image: Image.Image, at: tuple[int, int]) -> tuple[int, int, int]:
    red, green, blue = image.convert("RGB").crop((*at, at[0] + 1, at[1] + 1)).tobytes()
    return red, green, blue


def reason(photo: Any, *, folder: str = "") -> str:
    with pytest.raises(Unusable) as unusable:
        image.data_uri(image.taken(photo, folder, allowed=[]))
    assert unusable.value.refusal.code == "photo_unreadable"
    return unusable.value.refusal.params["reason"]


@pytest.mark.parametrize("name", [*GOOD])
def test_every_kind_that_people_have_is_sent_as_what_kiva_takes(name: str) -> None:
    head, sent = opened(image.data_uri(GOOD[name]()))
    assert head in ("data:image/jpeg", "data:image/png")
    assert sent.size == (photo_sample.WIDTH, photo_sample.HEIGHT)
    assert sent.mode in ("RGB", "L")
    assert "A" not in sent.getbands()


def test_a_resolution_of_minus_one_by_zero_costs_nothing() -> None:
    block = struct.pack("<2sHIH", b"II", 42, 8, 2)
    block += struct.pack("<HHII", 0x011A, 10, 1, 38) + struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0)
    block += struct.pack("<Iii", 0, -1, 0)
    parts = photo_sample.segments(GOOD["jpeg"]())
    parts.insert(1, photo_sample.segment(0xE1, b"Exif\0\0" + block))
    _, sent = opened(image.data_uri(b"".join(parts)))
    assert sent.size == (photo_sample.HEIGHT, photo_sample.WIDTH), "and what it says of the orientation counts"


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (b"", 1),
        (b"II*\0", 1),
        (b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x08\0\0", 8),
        (b"MM\0*\0\0\0\x08\xff\xff\x01\x12\0\x03\0\0\0\x01\0\x08\0\0", 8),
        (b"II*\0\x08\0\0\0\x01\0\x12\x01\x04\0\x01\0\0\0\x03\0\0\0", 3),
        (b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x09\0\0\0", 1),
        (b"II*\0\xff\xff\xff\xff", 1),
        (b"Exif\0\0", 1),
        (b"no block", 1),
    ],
)
def test_of_exif_the_orientation_alone_is_read(block: bytes, expected: int) -> None:
    assert exif.orientation(block) == expected


def held(orientation: int) -> bytes:
    """What a camera writes that was held so."""
    written = Image.Exif()
    written[ExifTags.Base.Orientation] = orientation
    return written.tobytes()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_it_is_turned_as_the_camera_was_held(kind: str, orientation: int) -> None:
    right = photo_sample.picture()
    undone = {5: 5, 6: 8, 7: 7, 8: 6}.get(orientation, orientation)
    lying = right.transpose(picture._TURNED[undone]) if undone > 1 else right
    _, sent = opened(image.data_uri(photo_sample.saved(lying, kind, exif=held(orientation))))
    assert sent.size == right.size
    for at in ((3, 3), (60, 3), (3, 44)):
        assert all(abs(one - other) < 40 for one, other in zip(pixel(sent, at), pixel(right, at), strict=True)), at


def test_sixteen_bits_of_grey_do_not_become_white() -> None:
    _, sent = opened(image.data_uri(photo_sample.saved(photo_sample.sixteen(), "PNG")))
    grey = sent.convert("L")
    assert pixel(grey, (0, 0))[0] == 0
    assert abs(pixel(grey, (63, 47))[0] - (64 * 48 - 1) * 20 // 256) <= 1


@pytest.mark.parametrize("side", [40, 1500])
def test_what_transparent_parts_hide_is_not_sent(side: int) -> None:
    secret = Image.frombytes("RGB", (side, side), os.urandom(side * side * 3)).convert("RGBA")
    secret.putalpha(0)
    secret.paste((200, 0, 0, 255), (0, 0, 20, side))
    _, sent = opened(image.data_uri(photo_sample.saved(secret, "PNG")))
    assert pixel(sent, (side - 2, side - 2)) == (255, 255, 255)
    assert pixel(sent, (2, 2))[0] > 190


def test_an_inverted_cmyk_is_not_a_negative() -> None:
    _, sent = opened(
        image.data_uri(photo_sample.saved(Image.new("RGB", (32, 32), (230, 20, 20)).convert("CMYK"), "JPEG"))
    )
    red, green, blue = pixel(sent, (9, 9))
    assert red > 200
    assert max(green, blue) < 60


def test_colours_are_those_of_a_screen() -> None:
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    plain = photo_sample.saved(photo_sample.picture(), "PNG")
    swapped = lab.replace(b"rXYZ", b"qXYZ", 1).replace(b"bXYZ", b"rXYZ", 1).replace(b"qXYZ", b"bXYZ", 1)
    other = photo_sample.saved(photo_sample.picture(), "PNG", icc_profile=swapped)
    assert image.data_uri(other) != image.data_uri(plain)


@pytest.mark.parametrize("profile", [b"", b"no profile", b"\0" * 5000])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_with_a_broken_profile_they_stay_as_they_are(profile: bytes, kind: str) -> None:
    photo = photo_sample.saved(photo_sample.picture(), kind)
    spoilt = photo_sample.saved(photo_sample.picture(), kind, icc_profile=profile)
    assert image.data_uri(spoilt) == image.data_uri(photo)


def _cut(photo: bytes) -> bytes:
    return photo[: len(photo) // 3] if photo[:3] == b"GIF" else photo[:-30]


@pytest.mark.parametrize("name", ["jpeg", "png", "gif", "bmp", "tiff", "webp", "avif"])
def test_half_a_photo_is_refused_with_a_plain_reason(name: str) -> None:
    why = reason(_cut(GOOD[name]()))
    assert why.startswith(("it is cut off", "it is damaged"))


def test_nothing_is_printed_of_a_broken_one(capfd: pytest.CaptureFixture[str]) -> None:
    for name in ("tiff fax", "tiff lzw", "tiff jpeg", "mpo", "jpeg"):
        photo = bytearray(GOOD[name]())
        for at in range(40, len(photo), 7):
            photo[at] ^= 0x55
        reason(bytes(photo))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("photo", "why"),
    [
        (
            b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 40,
            "it is a HEIC, as iPhones write it, which is not read; save it as JPEG",
        ),
        (b"%PDF-1.7\0", "it is none of JPEG, PNG, GIF, BMP, TIFF, WEBP, AVIF"),
        (b"", "it is empty"),
        ("https://mis.example.org/photos/42.jpg", "it is an address on the web, and nothing is fetched from there"),
        (" HTTP://x/1.jpg", "it is an address on the web, and nothing is fetched from there"),
        ("//mis/photos/42.jpg", "it is an address on the web, and nothing is fetched from there"),
        ("data:image/png;base64,%%%", "it is neither a file nor base64"),
        (b"photos/42.jpg", "it lies in no folder that mis.photos names"),
        (42, "the column holds no photo and no path"),
        (date(2026, 11, 23), "the column holds no photo and no path"),
        ([{"data": b""}], "the column holds no photo and no path"),
    ],
)
def test_the_reason_is_a_plain_one(photo: Any, why: str) -> None:
    assert reason(photo) == why


_AS_HELD: tuple[Callable[[str], Any], ...] = (
    lambda text: text,
    lambda text: f"data:image/png;base64,{text}",
    lambda text: f"DATA:image/jpg;charset=utf-8;base64,{text}",
    lambda text: f"data:;base64,{text}",
    lambda text: "\r\n".join(text[at : at + 76] for at in range(0, len(text), 76)),
    lambda text: text.rstrip("="),
    lambda text: text.replace("+", "-").replace("/", "_"),
    lambda text: text.encode(),
    lambda text: f"data:image/png;base64,{text}".encode(),
)


@pytest.mark.parametrize("form", _AS_HELD)
def test_a_photo_may_be_a_text(form: Callable[[str], Any]) -> None:
    noise = Image.frombytes("RGB", (40, 30), os.urandom(3600))
    photo = photo_sample.saved(noise, "PNG")
    text = base64.b64encode(photo).decode()
    assert image.data_uri(image.taken(form(text), "", allowed=[])) == image.data_uri(photo)


def test_a_small_photo_is_not_taken_for_a_path() -> None:
    text = base64.b64encode(photo_sample.saved(Image.new("L", (8, 8)), "PNG")).decode()
    assert len(text) < 200
    assert isinstance(image.taken(text, "", allowed=[]), bytes)


@pytest.mark.parametrize(
    "value",
    [
        b"no photo",
        b"",
        42,
        True,
        date(2026, 1, 1),
        "https://x/1.jpg",
        "../../etc/passwd",
        "\0",
        [{"a": 1}],
        "data:,x",
        "1.jpg",
    ],
)
def test_leave_out_means_left_out_whatever_is_wrong_with_it(value: Any, tmp_path: Path) -> None:
    text = DRAFT + "  image_encoded: {from: photo, image: true, else: leave_out}\n"
    mapping = load(tmp_path, text)
    mapped = mapper.apply(mapping, Content("1", in_scope=True, root={"photo": value}), context=context(photos="bytes"))
    assert [each for each in mapped.refusals if each.field == "image_encoded"] == []
    unmapped = load(tmp_path, text.replace("image: true, ", ""))
    mapped = mapper.apply(unmapped, Content("1", in_scope=True, root={"photo": value}), context=context(photos="bytes"))
    assert [each for each in mapped.refusals if each.field == "image_encoded"] == []


def test_a_row_that_is_compared_has_its_photo_looked_at_and_nothing_else_mapped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = DRAFT + "  image_encoded: {from: photo, image: true, else: leave_out}\n"
    computed: list[str] = []
    leaf = mapper._Work._leaf

    def noted(self: Any, one: Any, names: Any, path: str) -> Any:
        computed.append(path)
        return leaf(self, one, names, path)

    monkeypatch.setattr(mapper._Work, "_leaf", noted)
    row = Content("1", in_scope=True, root={"photo": saved(tmp_path / "a.png").read_bytes()})
    assert len(mapper.photos(load(tmp_path, text), row, context=context())) == 1
    assert computed == ["image_encoded"]
    computed.clear()
    assert mapper.photos(load(tmp_path, DRAFT), row, context=context()) == []
    assert computed == []


_PEAK = """
import sys
from pathlib import Path
from kiva_relay.mapping import image
print(image.data_uri(Path(sys.argv[1]))[:15], Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
"""


@pytest.mark.parametrize(
    ("kind", "mode", "size"),
    [
        ("JPEG", "L", (12_000, 9_000)),
        ("PNG", "RGBA", (4_600, 4_400)),
        ("WEBP", "RGB", (2_500, 2_200)),
        ("AVIF", "RGB", (4_032, 3_024)),
    ],
)
def test_no_photo_that_is_taken_takes_more_than_150_mb(
    tmp_path: Path, kind: str, mode: str, size: tuple[int, int]
) -> None:
    how = {"PNG": {"compress_level": 1}, "AVIF": {"speed": 10}}.get(kind, {})
    Image.new(mode, size).save(tmp_path / "a", kind, **how)
    done = subprocess.run(
        [sys.executable, "-c", _PEAK, str(tmp_path / "a")], capture_output=True, text=True, check=True
    )
    uri, peak = done.stdout.split()
    assert uri.startswith("data:image/")
    assert int(peak) <= 150 * 1024


def test_one_that_would_take_more_is_too_large(tmp_path: Path) -> None:
    Image.new("L", (9000, 9000)).save(tmp_path / "a", "JPEG", progressive=True)
    with pytest.raises(Unusable) as unusable:
        image.fingerprint(tmp_path / "a")
    assert unusable.value.refusal.code == "photo_too_large"
    assert unusable.value.refusal.params["found"] == "9,000 x 9,000 pixels"


def test_some_hundred_spoilt_photos_cost_nothing_but_themselves() -> None:
    found, wrong, most = photos.run(1_000_000, 300)
    assert wrong == []
    assert len(found) > 1, "some are taken, some are not"
    assert most < photos.MEMORY
