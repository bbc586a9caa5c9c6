"""An outbox, or a MIS, that is not what it was: held with its reason, and recovered by the commands that are named.

Kiva's ledger is the judge: whatever was put back, lost or swapped, no draft and no journal is there twice.
"""

from __future__ import annotations

import re
import shlex
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from psycopg import sql

from kiva_relay import cli, errors
from kiva_relay.config import loader
from kiva_relay.outbox import hold, table
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.witness import Witness
from testbed.database import postgres
from testbed.institution import book, fineract
from testbed.institution.branch import KIVA_FUND
from testbed.rig.patience import eventually
from testbed.rig.site import Site

Run = Callable[..., tuple[int, str]]


@dataclass
class Kept:
    """The outbox of a house, which can be put away and put back."""

    house: Site
    url: str
    server: postgres.PostgresServer
    run: Run

    def back_up(self) -> None:
        """Keep the outbox as it is now."""
        if self.url.startswith("sqlite"):
            code, out = self.run("outbox", "backup", str(self.house.folder / "backup.db"))
            assert code == 0, out
        else:
            copy(self.server, self._name, "kept_" + self._name)

    def put_back(self) -> None:
        """The outbox as it was kept; nothing of what came later."""
        self.lose()
        if self.url.startswith("sqlite"):
            (self.house.folder / "backup.db").rename(self.house.folder / "outbox.db")
        else:
            copy(self.server, "kept_" + self._name, self._name)

    def lose(self) -> None:
        """No outbox any more. On PostgreSQL an empty database is made by whoever sets it up again."""
        if self.url.startswith("sqlite"):
            for file in self.house.folder.glob("outbox.db*"):
                file.unlink()
        else:
            drop(self.server, self._name)
            if not self.exists("kept_" + self._name):
                self.server.create_database(self._name)

    def exists(self, name: str) -> bool:
        """Is there a database of this name?"""
        with psycopg.connect(self.server.url()) as connection:
            return bool(connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone())

    def rows(self, query: sa.Executable) -> list[sa.Row[Any]]:
        """What a query finds in the outbox."""
        outbox = Outbox(self.url)
        try:
            with outbox.read() as tx:
                return list(tx.execute(query))
        finally:
            outbox.close()

    def holds(self) -> dict[str, dict[str, Any]]:
        """The reasons of the holds in force."""
        outbox = Outbox(self.url)
        try:
            with outbox.read() as tx:
                return {held.reason: dict(held.params) for held in hold.in_force(tx)}
        finally:
            outbox.close()

    def doubts(self) -> list[sa.Row[Any]]:
        """What is in doubt."""
        return self.rows(sa.select(table.entry).where(table.entry.c.state == "in_doubt").order_by(table.entry.c.id))

    @property
    def _name(self) -> str:
        return self.url.rpartition("/")[2]


def copy(server: postgres.PostgresServer, name: str, new: str) -> None:
    """A copy of a database under another name."""
    server.create_database(new, template=name)


def drop(server: postgres.PostgresServer, name: str) -> None:
    """Drop a database, whoever is connected."""
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture(scope="session")
def book_template(few_clients: tuple[str, Path]) -> tuple[str, Path]:
    return few_clients


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Runs a command as a person would type it; its exit code, and all that it printed."""
    monkeypatch.setenv("SUDO_USER", "awa")
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[int, str]:
        capsys.readouterr()
        code = cli.main(arguments)
        printed = capsys.readouterr()
        return code, printed.out + printed.err

    return call


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.long)])
def kept(
    request: pytest.FixtureRequest,
    house: Site,
    run: Run,
    postgres_server: postgres.PostgresServer,
    monkeypatch: pytest.MonkeyPatch,
) -> Kept:
    """A house on one of the two databases, whose relay began today: only what is new is owed."""
    on_file = f"sqlite:///{house.folder / 'outbox.db'}"
    url = on_file if request.param == "sqlite" else request.getfixturevalue("postgres_database")
    house.changes = {
        "outbox": {"url": url, "witness": str(house.folder / "witness.log")},
        "loan_drafts": {"since": "first_start"},
        "journals": {"since": "first_start"},
    }
    monkeypatch.setenv("KIVA_RELAY_CONFIG", str(house.config))
    house.once()
    return Kept(house, url, postgres_server, run)


def grant(house: Site, number: int, seed: int = 1) -> list[str]:
    """Loans of single borrowers that Kiva finances; their ids."""
    teller = house.teller(seed)
    granted: list[str] = []
    while len(granted) < number:
        act = teller.grant_individual()
        if act is not None and act.kiva:
            granted.append(act.identity)
    return granted


def at_kiva(house: Site) -> Counter[str]:
    """How often each draft is at Kiva."""
    return Counter(body["entreps"][0]["loan_id"] for body in house.sent("loan_draft"))


def commands(text: str) -> list[list[str]]:
    """The commands that a text names, as a person would type them: without sudo, with a note."""
    found = re.findall(r"(?:sudo )?kiva-relay ((?:[a-z]+)(?: (?:\"[^\"]*\"|[^\s\"&·|]+))*)", text)
    return [shlex.split(one.replace("…", "looked")) for one in dict.fromkeys(found)]


ASKS = ("release", "outbox settle", "outbox adopt", "watermark set")


def obey(run: Run, text: str) -> None:
    """Run every command that a text names: each exists, with these options, and finds what it names.

    Not the relay itself, which a trial is told to start again: it would run on.
    """
    Path("in-pa2.csv").write_text("999000111\n", encoding="utf-8")
    named = [words for words in commands(text) if words[0] != "run"]
    assert named, text
    # What is released, is released last.
    for words in sorted(named, key=lambda words: words[0] == "release"):
        asks = " ".join(words).startswith(ASKS)
        code, out = run(*words, *(["--yes"] if asks else []))
        assert code in (0, 1), f"{words}: {out}"


# ---------------------------------------------------------------- the outbox


def test_an_outbox_of_an_hour_ago_is_held_and_sends_nothing_twice(kept: Kept) -> None:
    house = kept.house
    before = grant(house, 2)
    house.once()
    waiting = grant(house, 1, seed=2)
    kept.back_up()
    house.once()
    later = grant(house, 2, seed=3)
    house.kiva.fault("drop_after", on="loan_draft", loan_id=later[1])
    house.once()
    assert at_kiva(house) == Counter(before + waiting + later)
    kept.put_back()

    house.once()
    assert at_kiva(house) == Counter(before + waiting + later)
    assert kept.holds()["restored_outbox"].items() >= {"in_doubt": 1, "delivered": 2}.items()
    assert [row.loan_id for row in kept.doubts()] == [later[1]]
    code, out = kept.run("status")
    assert code == 1
    assert "STOPPED" in out
    obey(kept.run, out)
    assert "restored_outbox" not in kept.holds()

    new = grant(house, 1, seed=4)
    house.once()
    assert at_kiva(house) == Counter(before + waiting + later + new)
    code, out = kept.run("outbox", "recover")
    assert later[1] in out
    settled = next(words for words in commands(out) if "--delivered" in words)
    assert kept.run(*settled, "--yes")[0] == 0
    house.once()
    assert kept.run("outbox", "recover")[0] == 0
    assert at_kiva(house) == Counter(before + waiting + later + new)


def test_what_a_machine_that_is_dead_had_sent_is_taken_from_a_copy_of_its_witness(kept: Kept, tmp_path: Path) -> None:
    house = kept.house
    sent = grant(house, 1)
    house.once()
    [elsewhere] = grant(house, 1, seed=2)
    settings, file = loader.load(house.folder / "config.yaml", environ={}), tmp_path / "north.log"
    kiva = settings.kiva
    other = Witness(file, api_url=kiva.api_url, partner_id=kiva.partner_id)
    other.testify(outbox_id="north's", attempt=7, resource="loan_draft", identities=[elsewhere])
    other.close()
    code, out = kept.run("outbox", "recover", "--witness", str(tmp_path / "nothing.log"))
    assert (code, "cannot be read" in out) == (2, True)
    code, out = kept.run("outbox", "recover", "--witness", str(settings.outbox.witness))
    assert (code, "the witness of this machine" in out) == (2, True)
    code, out = kept.run("outbox", "recover", "--witness", str(file))
    assert (code, elsewhere in out) == (1, True)
    house.once()
    assert at_kiva(house) == Counter(sent), "what another machine may have sent does not go from here"
    assert [row.loan_id for row in kept.doubts()] == [elsewhere]


@pytest.mark.long
def test_a_lost_outbox_sends_nothing_twice_and_forgets_nothing(kept: Kept) -> None:
    house = kept.house
    sent = grant(house, 2)
    house.kiva.fault("drop_after", on="loan_draft", loan_id=sent[1])
    house.once()
    house.kiva.fault("status", on="loan_draft", status=429, times=None)
    unsent = grant(house, 1, seed=2)
    house.once()
    house.kiva.clear_faults()
    kept.lose()

    house.once()
    assert at_kiva(house) == Counter(sent)
    assert "restored_outbox" in kept.holds()
    assert [row.loan_id for row in kept.doubts()] == [sent[1]]
    obey(kept.run, kept.run("status")[1])
    house.once()
    assert at_kiva(house) == Counter(sent + unsent)


def test_a_position_that_an_older_outbox_forgot_is_corrected(kept: Kept) -> None:
    house = kept.house
    rows = house.mis(
        "SELECT account_no, id FROM m_loan WHERE fund_id = %s AND loan_status_id = 300 AND loan_type_enum = 1 LIMIT 1",
        KIVA_FUND,
    )
    loan, key = rows[0]
    house.kiva.seed_loans([{"internal_loan_id": loan, "status": "payingBack"}])
    house.once()
    first = house.positions()[loan]
    kept.back_up()
    paid = repay(house, key)
    house.once()
    assert house.positions()[loan] == first + 7
    house.mis("UPDATE m_loan_transaction SET is_reversed = true WHERE id = %s", paid)
    kept.put_back()

    house.once()
    assert house.positions()[loan] == first + 7, "held"
    assert kept.holds()["restored_outbox"]["positions"] == 1
    assert kept.run("release", "all", "--note", "looked", "--yes")[0] == 0
    house.once()
    assert house.positions()[loan] == first


def repay(house: Site, key: int) -> int:
    """A repayment of 7; the transaction's number."""
    query = (
        "INSERT INTO m_loan_transaction (loan_id, office_id, is_reversed, transaction_type_enum, transaction_date,"
        " amount, principal_portion_derived, submitted_on_date, created_by, created_on_utc, last_modified_by,"
        " last_modified_on_utc) SELECT id, 1, false, 2, current_date, 7, 7, current_date, 1, now(), 1, now()"
        " FROM m_loan WHERE id = %s RETURNING id"
    )
    number: int = house.mis(query, key)[0][0]
    return number


def test_an_outbox_without_its_witness_is_held_until_a_person_says_so(kept: Kept) -> None:
    house = kept.house
    sent = grant(house, 1)
    house.once()
    (house.folder / "witness.log").unlink()
    new = grant(house, 1, seed=2)
    house.once()
    assert "witness_missing" in kept.holds()
    assert at_kiva(house) == Counter(sent)
    code, out = kept.run("status")
    assert (code, "STOPPED" in out) == (1, True)
    obey(kept.run, out)
    house.once()
    assert at_kiva(house) == Counter(sent + new)
    assert not kept.holds()


@pytest.mark.long
@pytest.mark.parametrize("kept", ["sqlite"], indirect=True)
def test_without_the_witness_nothing_says_that_an_open_attempt_never_left(kept: Kept) -> None:
    house = kept.house
    sent = grant(house, 1)
    with pytest.raises(PowerCut):
        dies_at(house, "answered")
    assert at_kiva(house) == Counter(sent)
    (house.folder / "witness.log").unlink()
    house.once()
    assert [row.loan_id for row in kept.doubts()] == sent
    kept.run("release", "all", "--note", "looked", "--yes")
    house.once()
    assert at_kiva(house) == Counter(sent)


class PowerCut(BaseException):
    """The process ends here."""


def dies_at(house: Site, step: str) -> None:
    """Run once, and end at a step as if by kill -9."""
    with house.relay() as relay:

        def at(name: str) -> None:
            if name == step:
                raise PowerCut

        relay.progress.at = at
        relay.once()


@pytest.mark.long
def test_an_outbox_that_is_put_back_under_a_running_relay_ends_it(kept: Kept) -> None:
    house = kept.house

    def run_on() -> None:
        with house.daemon():
            first = grant(house, 1)
            eventually(lambda: at_kiva(house) == Counter(first))
            outbox = Outbox(kept.url)
            with outbox.begin() as tx:
                for one in (table.batch_member, table.attempt, table.batch):
                    tx.execute(sa.delete(one))
                values = {"state": "ready", "evidence": None, "settled_at": None}
                tx.execute(sa.update(table.entry).where(table.entry.c.state == "delivered").values(**values))
            outbox.close()
            grant(house, 1, seed=2)
            eventually(lambda: not [one for one in house_threads() if one == "courier"], within=10)

    with pytest.raises(errors.OutboxPutBack, match="put back to an older state"):
        run_on()
    assert max(at_kiva(house).values()) == 1
    house.once()
    assert "restored_outbox" in kept.holds()
    assert max(at_kiva(house).values()) == 1


def house_threads() -> list[str]:
    """The names of the threads that run."""
    return [thread.name for thread in threading.enumerate()]


@pytest.mark.long
@pytest.mark.parametrize("kept", ["sqlite"], indirect=True)
def test_a_staging_outbox_is_refused_in_production(kept: Kept) -> None:
    house = kept.house
    sent = grant(house, 1)
    house.once()
    house.changes["kiva"] = {"partner_id": "124"}
    with pytest.raises(errors.OutboxRefused, match=r"belongs to kiva\.partner_id 123") as refused:
        house.once()
    assert "set outbox.url to a new one" in str(refused.value.hint)
    assert at_kiva(house) == Counter(sent)
    house.changes["kiva"] = {"partner_id": "123"}
    house.once()
    assert at_kiva(house) == Counter(sent)


@pytest.mark.long
@pytest.mark.parametrize("kept", ["sqlite"], indirect=True)
def test_what_somebody_typed_before_the_mis_owed_it_is_not_sent(kept: Kept, tmp_path: Path) -> None:
    house = kept.house
    ((last,),) = house.mis("SELECT max(id) FROM m_loan")
    typed = tmp_path / "in-pa2.csv"
    typed.write_text("".join(f"{last + number:09}\n" for number in range(1, 30)), encoding="utf-8")
    code, out = kept.run("outbox", "adopt", "--csv", str(typed), "--note", "typed by hand", "--yes")
    assert code == 0, out
    granted = grant(house, 2)
    house.once()
    assert set(granted) <= set(typed.read_text(encoding="utf-8").split())
    assert not at_kiva(house)


@pytest.mark.long
@pytest.mark.parametrize("kept", ["sqlite"], indirect=True)
def test_a_draft_that_was_deleted_in_pa2_goes_out_as_the_mis_says_now(kept: Kept) -> None:
    house = kept.house
    (loan,) = grant(house, 1)
    house.once()
    (first,) = house.kiva.ledger(resource="loan_draft", loan_id=loan)
    house.once()
    (row,) = kept.rows(sa.select(table.entry).where(table.entry.c.loan_id == loan))
    house.kiva.delete_draft(first["receipt"]["loan_draft_uuid"])
    house.mis("UPDATE m_loan SET approved_principal = approved_principal + 5 WHERE account_no = %s", loan)
    code, out = kept.run("outbox", "settle", str(row.id), "--resend", "--note", "deleted in PA2", "--yes")
    assert code == 0, out
    house.once()
    assert at_kiva(house)[loan] == 2
    versions = kept.rows(sa.select(table.entry).where(table.entry.c.loan_id == loan).order_by(table.entry.c.version))
    assert [version.state for version in versions] == ["withdrawn", "delivered"]
    assert versions[0].receipt == row.receipt, "what Kiva gave stays known"


# ---------------------------------------------------------------- the MIS


@pytest.fixture
def copies(kept: Kept) -> Iterator[Callable[[str], None]]:
    """Puts the MIS away, and back: `keep`, then `restore` into the same name on the same server."""
    house, server = kept.house, kept.server
    name = house.url.rpartition("/")[2]

    def do(what: str) -> None:
        house.connection.close()
        if what == "keep":
            disconnected(server, name)
            copy(server, name, f"{name}_kept")
        else:
            drop(server, name)
            copy(server, f"{name}_kept", name)
        house.connection = psycopg.connect(house.url, autocommit=True)

    yield do
    house.connection.close()


def disconnected(server: postgres.PostgresServer, name: str) -> None:
    """Nobody is connected to a database any more."""
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
        eventually(lambda: connection.execute(
            "SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = %s", (name,)).fetchone() == (True,))  # fmt: skip


@pytest.mark.parametrize("kept", ["sqlite"], indirect=True)
def test_a_mis_that_was_restored_is_held_and_numbers_given_twice_are_not_sent(
    kept: Kept, copies: Callable[[str], None]
) -> None:
    house = kept.house
    copies("keep")
    first = grant(house, 3)
    house.once()
    assert at_kiva(house) == Counter(first)
    copies("restore")
    second = grant(house, 4, seed=77)
    given_twice = set(first) & set(second)
    assert given_twice

    house.once()
    assert "mis_went_back" in kept.holds()
    assert at_kiva(house) == Counter(first)
    code, out = kept.run("status")
    assert (code, "STOPPED" in out) == (1, True)
    obey(kept.run, out)
    for what in [held for held in ("all", *streams(kept)) if held]:
        kept.run("release", what, "--note", "looked", "--yes")
    assert not kept.holds()
    house.once()
    new = set(second) - set(first)
    assert at_kiva(house) == Counter([*first, *new])

    code, out = kept.run("review")
    assert code in (0, 1)
    assert all(loan in out for loan in given_twice), "the coordinator is told of each"
    twice = min(given_twice)
    number = kept.rows(sa.select(table.entry.c.id).where(table.entry.c.loan_id == twice))[0].id
    code, out = kept.run("outbox", "settle", str(number), "--resend", "--note", "deleted in PA2", "--yes")
    assert code == 0, out
    house.once()
    assert at_kiva(house)[twice] == 2, "the second borrower's, on a person's word"


def streams(kept: Kept) -> list[str]:
    """The streams that are held by name."""
    where = (table.hold.c.released_at.is_(None), table.hold.c.what.like("stream:%"))
    return [row.what for row in kept.rows(sa.select(table.hold.c.what).where(*where))]


@pytest.mark.long
@pytest.mark.parametrize("kept", ["sqlite"], indirect=True)
def test_a_mis_that_is_restored_while_the_relay_runs_is_held(kept: Kept, copies: Callable[[str], None]) -> None:
    house = kept.house
    copies("keep")
    with house.daemon():
        first = grant(house, 2)
        eventually(lambda: at_kiva(house) == Counter(first))
        copies("restore")
        grant(house, 2, seed=77)
        eventually(lambda: "mis_went_back" in kept.holds())
        eventually(lambda: not kept.rows(sa.select(table.watermark).where(table.watermark.c.scan.is_not(None))))
    assert at_kiva(house) == Counter(first)


@pytest.mark.long
@pytest.mark.parametrize("kept", ["sqlite"], indirect=True)
def test_rows_that_vanish_from_the_end_of_a_table_are_a_mis_that_went_back(kept: Kept) -> None:
    """A backup put back into the same database: neither its name nor its transaction ids tell."""
    house = kept.house
    first = grant(house, 3)
    house.once()
    with house.connection.transaction():
        house.mis("SET LOCAL session_replication_role = replica")
        house.mis("DELETE FROM m_loan WHERE id >= (SELECT min(id) FROM m_loan WHERE account_no = ANY(%s))", first)
    house.once()
    assert "mis_went_back" in kept.holds()
    house.once()
    generations = {row.generation for row in kept.rows(sa.select(table.watermark.c.generation))}
    assert max(generations) == 2, "it is read again once, not at every look"


@pytest.mark.long
@pytest.mark.parametrize("kept", ["sqlite"], indirect=True)
def test_another_row_under_an_old_number_is_not_sent_also_without_a_creation_moment(kept: Kept) -> None:
    house = kept.house
    house.mis("ALTER TABLE m_loan ALTER created_on_utc DROP NOT NULL")
    (loan,) = grant(house, 1)
    house.mis("UPDATE m_loan SET created_on_utc = NULL WHERE account_no = %s", loan)
    house.once()
    house.mis(
        "UPDATE m_loan SET last_modified_on_utc = now(), client_id = (SELECT max(id) FROM"
        " m_client WHERE id <> m_loan.client_id AND firstname IS NOT NULL) WHERE account_no = %s",
        loan,
    )
    house.once()
    assert "mis_went_back" in kept.holds()
    assert at_kiva(house) == Counter([loan])


@pytest.mark.long
@pytest.mark.parametrize("kept", ["sqlite"], indirect=True)
def test_a_position_of_another_borrower_under_an_old_number_is_not_sent(kept: Kept) -> None:
    house = kept.house
    loan, key = house.mis(
        "SELECT account_no, id FROM m_loan WHERE fund_id = %s AND loan_status_id = 300 AND loan_type_enum = 1 LIMIT 1",
        KIVA_FUND,
    )[0]
    house.kiva.seed_loans([{"internal_loan_id": loan, "status": "payingBack"}])
    house.once()
    before = house.positions()[loan]
    repay(house, key)
    house.mis("UPDATE m_loan SET created_on_utc = now(), last_modified_on_utc = now() WHERE id = %s", key)
    house.once()
    assert house.positions()[loan] == before
    assert "mis_went_back" in kept.holds()


@pytest.mark.long
@pytest.mark.parametrize("kept", ["sqlite"], indirect=True)
def test_a_mis_on_another_server_is_refused_until_a_person_takes_it(kept: Kept, tmp_path: Path) -> None:
    house = kept.house
    sent = grant(house, 2)
    house.once()
    with postgres.start(tmp_path / "other") as server:
        url = server.create_database("book")
        photos = tmp_path / "photos"
        photos.mkdir()
        with psycopg.connect(url) as connection:
            fineract.create(connection)
            book.seed(connection, photos, today=date.today(), clients=60)
        house.connection.close()
        house.url = url
        house.connection = psycopg.connect(url, autocommit=True)
        with pytest.raises(errors.OutboxRefused, match=r"belongs to mis\.url") as refused:
            house.once()
        assert at_kiva(house) == Counter(sent)
        obey(kept.run, str(refused.value.hint))
        assert "mis_went_back" in kept.holds()
        house.once()
        assert at_kiva(house) == Counter(sent)
        obey(kept.run, kept.run("status")[1])
        house.once()
        assert max(at_kiva(house).values()) == 1
        house.connection.close()
