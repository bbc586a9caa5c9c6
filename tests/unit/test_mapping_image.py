from __future__ import annotations

import base64
import io
import os
from pathlib import Path

import pytest
from PIL import ExifTags, Image

from kiva_relay.mapping import image
from kiva_relay.mapping.image import Unusable


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
    _, picture = opened(image.data_uri(saved(tmp_path / "a.jpg", size=(4000, 3000))))
    assert max(picture.size) == image.LONGEST_SIDE


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
    monkeypatch.setattr(image, "PIXEL_LIMIT", 100)
    with pytest.raises(Unusable) as unusable:
        image.data_uri(saved(tmp_path / "a.jpg"))
    assert unusable.value.refusal.code == "photo_too_large"
