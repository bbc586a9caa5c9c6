"""`check` as root looks as the service's user does: what belongs to root is no outbox that the service can write."""

from __future__ import annotations

import os
import pwd
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from kiva_relay import errors
from kiva_relay.cli import as_service, check_outbox, check_surroundings
from kiva_relay.config import loader
from kiva_relay.config.settings import Settings
from testbed.rig import configuration

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="cannot run here: only root becomes another user")

NOBODY = pwd.getpwnam("nobody")


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """Of a service whose user is nobody, with a folder of its own for the outbox."""
    monkeypatch.setattr(as_service, "USER", "nobody")
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    (folder / "state").mkdir(mode=0o700)
    os.chown(folder / "state", NOBODY.pw_uid, NOBODY.pw_gid)
    (folder / "secret").write_text("s3cr3t")
    (folder / "secret").chmod(0o600)
    text = configuration.WRITTEN.replace("{env: KIVA_SECRET}", f"{{file: {folder}/secret}}")
    text += f"outbox: {{url: sqlite:///{folder}/state/outbox.db}}\n"
    yield loader.load(configuration.write(folder, text=text), environ={})
    shutil.rmtree(folder)


def found(settings: Settings) -> list[tuple[str, str, str]]:
    with as_service.eyes(settings):
        looked = [*check_surroundings.configuration(settings), *check_outbox.outbox(settings)]
    return [(one.word, one.about, one.text) for one in looked]


def test_an_outbox_of_roots_is_seen_and_the_remedy_mends_it(settings: Settings) -> None:
    """`sudo kiva-relay check` said ok, and the service ended with exit code 2 for good."""
    file = settings.outbox.file
    assert file is not None
    file.touch()
    said = [text for word, about, text in found(settings) if (word, about) == ("error", "outbox")]
    assert "belongs to another user" in said[0]
    assert said[0].splitlines()[1] == f"sudo chown nobody: {file}"
    os.chown(file, NOBODY.pw_uid, NOBODY.pw_gid)
    assert [one for one in found(settings) if one[:2] == ("error", "outbox")] == []


def test_a_secret_that_only_root_reads_is_none_for_the_service(settings: Settings) -> None:
    assert any(word == "error" and about == "secrets" for word, about, _ in found(settings))
    (settings.file.parent / "secret").chmod(0o644)
    assert not any(word == "error" and about == "secrets" for word, about, _ in found(settings))


def test_root_is_root_again_afterwards(settings: Settings) -> None:
    before = (os.geteuid(), os.getegid(), os.getgroups())
    seen = []

    def fail() -> None:
        with as_service.eyes(settings):
            seen.append(os.geteuid())
            raise errors.RelayError("whatever")

    with pytest.raises(errors.RelayError):
        fail()
    assert seen == [NOBODY.pw_uid]
    assert (os.geteuid(), os.getegid(), os.getgroups()) == before
