"""`kiva-relay support`: one bundle, and nothing of a person or a secret in it."""

from __future__ import annotations

import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from kiva_relay.outbox import table
from testbed.rig import full_outbox
from testbed.rig.full_outbox import NAME, FullOutbox

SECRET = "wonderfully-secret"


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FullOutbox]:
    yield from full_outbox.configured(tmp_path, monkeypatch)


def test_the_bundle_says_what_helps_and_nothing_of_a_person(
    told: FullOutbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KIVA_SECRET", SECRET)
    told.lose(told.owe("000000871"))
    told.accept(told.owe("000000702"))
    with told.outbox.begin() as tx:
        tx.execute(sa.update(table.attempt).values(detail=f"{NAME} is known already"))
    run = full_outbox.runner(capsys)
    target = tmp_path / "bundle.tar.gz"
    done = run("support", target)
    assert done.code == 0, done.err
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    with tarfile.open(target) as bundle:
        parts = {
            member.name.rpartition("/")[2]: bundle.extractfile(member).read().decode()  # type: ignore[union-attr]
            for member in bundle.getmembers()
        }
    assert parts.keys() == {
        "attempts.json", "check.txt", "facts.json", "mapping-list.txt", "requests.txt", "settings.json", "status.txt",
        "versions.json",
    }  # fmt: skip
    everything = "\n".join(parts.values())
    assert NAME not in everything
    assert SECRET not in everything
    assert "curl --request POST" in parts["requests.txt"]
    assert "000000871" in parts["requests.txt"]
    assert "Bearer ***" in parts["requests.txt"]
    assert '"outcome": "in_doubt"' in parts["attempts.json"]
    assert '"kiva-relay"' in parts["versions.json"]
    assert "exit code" in parts["status.txt"]
    assert '"findings"' in parts["check.txt"], parts["check.txt"]
    again = run("support", target)
    assert again.code == 2, "a file that is there is never replaced"
    assert "is there already" in again.err
