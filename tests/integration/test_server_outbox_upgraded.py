"""An outbox of version 0.2 on PostgreSQL is brought up to date after a whole copy, and not without one."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
import sqlalchemy as sa

from kiva_relay import errors
from kiva_relay.cli import as_service
from kiva_relay.config import secret
from kiva_relay.config.settings import Settings
from kiva_relay.outbox import migration, server_copy
from kiva_relay.outbox.database import Outbox
from testbed.boot import trial_server_outbox
from testbed.database import postgres
from testbed.rig import configuration, full_outbox, kept_outbox
from testbed.rig.full_outbox import Run

run = pytest.fixture(full_outbox.runner)
TOOLS = postgres.binaries()


@pytest.fixture
def url(tmp_path: Path, postgres_database: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Of the full outbox of 0.2, on a server whose password is a credential of systemd."""
    kept = kept_outbox.opened(tmp_path)
    kept.close()
    assert trial_server_outbox.take_over(str(kept.path), postgres_database) > 0
    whole = sa.make_url(postgres_database)
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "outbox-password").write_text(f"{whole.password}\n")
    shown = whole._replace(password=None).render_as_string()
    more = f"outbox: {{url: '{shown}', password: {{credential: outbox-password}}, witness: '{tmp_path / 'witness.log'}'}}\n"
    monkeypatch.setenv("KIVA_RELAY_CONFIG", str(configuration.write(tmp_path, more)))
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credentials))
    monkeypatch.setenv("KIVA_SECRET", "s")
    return postgres_database


def tools(monkeypatch: pytest.MonkeyPatch, *folders: Path | str) -> None:
    monkeypatch.setenv("PATH", os.pathsep.join(map(str, (*folders, "/usr/bin", "/bin")) if folders else ["/nowhere"]))


def schema(url: str) -> str | None:
    outbox = Outbox(url)
    try:
        with outbox.read() as tx:
            return migration.present(tx)
    finally:
        outbox.close()


def test_it_is_copied_first_and_the_copy_can_be_put_back(
    url: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, postgres_server: postgres.PostgresServer
) -> None:
    tools(monkeypatch, TOOLS)
    told = run("migrate", "--copy", str(tmp_path))
    assert told.code == 0, told
    (copy,) = tmp_path.glob("*.dump")
    assert f"The outbox was copied and is whole: {copy}" in told.out
    assert copy.stat().st_mode & 0o777 == 0o600
    assert schema(url) == migration.revisions()[-1]
    assert "pg_dump" not in told.out
    with postgres_server.database("put_back") as back:
        command = [one.replace("=…", f"={back}") for one in server_copy.restoring(copy)]
        subprocess.run(command, check=True, capture_output=True, env={**os.environ, "PATH": str(TOOLS)})
        assert schema(back) == trial_server_outbox.OF_0_2
        engine = sa.create_engine(sa.make_url(back).set(drivername="postgresql+psycopg"))
        with engine.connect() as tx:
            assert tx.execute(sa.text("SELECT count(*) FROM entry")).scalar_one() > 0
        engine.dispose()
    again = run("migrate", "--copy", str(tmp_path))
    assert "is up to date" in again.out
    assert run("outbox", "list").code == 0


def test_without_pg_dump_it_stays_as_it_was_and_it_is_said_what_to_type(
    url: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools(monkeypatch)
    told = run("migrate", "--copy", str(tmp_path))
    assert told.code == 1
    assert "apt install postgresql-client" in told.err
    assert "It is as it was" in told.err
    assert "pg_dump --format=custom --file=outbox.dump" in told.err
    assert "kiva-relay migrate" in told.err
    assert str(sa.make_url(url).password) not in told.err
    assert schema(url) == trial_server_outbox.OF_0_2
    assert not list(tmp_path.glob("*.dump*"))
    tools(monkeypatch, TOOLS)
    assert run("migrate").code == 0  # as it was said, after a copy by hand: nobody holds the lease


@pytest.mark.parametrize("fails", ["pg_dump", "pg_restore"])
def test_a_copy_that_is_not_whole_is_none(
    url: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    stubs = tmp_path / "stubs"
    stubs.mkdir()
    (stubs / fails).write_text(f"#!/bin/sh\necho {fails}: it is torn >&2; exit 1\n")
    (stubs / fails).chmod(0o755)
    tools(monkeypatch, stubs, TOOLS)
    before = tmp_path / f"outbox-before-{migration.revisions()[-1]}.dump"
    before.write_text("the copy of before")
    told = run("migrate", "--copy", str(tmp_path))
    assert told.code == 1
    assert f"{fails} failed: {fails}: it is torn" in told.err
    assert schema(url) == trial_server_outbox.OF_0_2
    assert before.read_text() == "the copy of before"
    assert not list(tmp_path.glob("*.part"))


def test_a_server_that_is_away_is_no_reason_to_wait(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    more = f"outbox: {{url: 'postgresql://relay@127.0.0.1:1/outbox', witness: '{tmp_path / 'witness.log'}'}}\n"
    monkeypatch.setenv("KIVA_RELAY_CONFIG", str(configuration.write(tmp_path, more)))
    monkeypatch.setenv("KIVA_SECRET", "s")
    told = run("migrate", "--copy", str(tmp_path))
    assert told.code == 3
    assert "does not answer" in told.err


def test_where_there_is_none_none_is_made(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, postgres_database: str
) -> None:
    monkeypatch.setenv("KIVA_SECRET", "s")
    for url in (f"sqlite:///{tmp_path}/none.db", postgres_database):
        more = f"outbox: {{url: '{url}', witness: '{tmp_path / 'witness.log'}'}}\n"
        monkeypatch.setenv("KIVA_RELAY_CONFIG", str(configuration.write(tmp_path, more)))
        told = run("migrate", "--copy", str(tmp_path))
        assert told.code == 0
        assert "There is no outbox" in told.out
    assert not (tmp_path / "none.db").exists()
    assert schema(postgres_database) is None


def test_what_root_has_read_of_a_credential_is_enough(
    url: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy asked for the credential again, which the service's user does not have outside of the service."""

    def read(settings: Settings, *, groups: Sequence[str]) -> Settings:
        assert groups == ("outbox",)
        held = secret.Secret("literal", str(sa.make_url(url).password), "outbox.password")
        return settings.model_copy(update={"outbox": settings.outbox.model_copy(update={"password": held})})

    monkeypatch.setattr(as_service, "with_credentials", read)
    monkeypatch.delenv("CREDENTIALS_DIRECTORY")
    tools(monkeypatch, TOOLS)
    told = run("migrate", "--copy", str(tmp_path))
    assert told.code == 0, told.err
    assert schema(url) == migration.revisions()[-1]


def test_a_mistake_elsewhere_in_the_settings_keeps_no_upgrade_back(
    url: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = Path(os.environ["KIVA_RELAY_CONFIG"])
    file.write_text(f"{file.read_text()}language: fra\n")
    tools(monkeypatch, TOOLS)
    assert run("migrate", "--copy", str(tmp_path)).code == 0
    assert schema(url) == migration.revisions()[-1]


def test_what_another_version_left_is_told_with_the_command_that_copies_it(url: str, run: Run) -> None:
    told = run("status")
    assert told.code == 2
    assert f"kiva-relay migrate --copy {migration.COPIES}" in told.err


def test_the_password_stands_in_no_argument(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = tmp_path / "pg_dump"
    seen.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/arguments; echo "$PGPASSWORD" > {tmp_path}/password; exit 1\n')
    seen.chmod(0o755)
    tools(monkeypatch, tmp_path)
    outbox, password = Outbox(url), sa.make_url(url).password
    assert password is not None
    with pytest.raises(errors.RelayError, match="pg_dump failed"):
        server_copy.make(outbox, secret.Secret("literal", password, "outbox.password"), tmp_path / "copy")
    outbox.close()
    assert password not in (tmp_path / "arguments").read_text()
    assert (tmp_path / "password").read_text().strip() == password
