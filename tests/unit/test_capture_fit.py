"""Which mappings are read: what does not fit the MIS is not, until it fits again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from kiva_relay import errors, meter
from kiva_relay.capture import fit
from kiva_relay.capture.fit import Fit
from kiva_relay.source import failure
from kiva_relay.source.mis import Mis
from testbed.rig import capturing
from testbed.rig.capturing import Rig, document
from testbed.simulation.mis import COLUMNS


class Columns:
    """The columns of the simulated MIS, which can be changed and counted."""

    def __init__(self) -> None:
        self.known = {table: dict(columns) for table, columns in COLUMNS.items()}
        self.asked: list[str] = []
        self.read_as: dict[str, dict[str, str]] = {}

    def columns(self, source: str) -> dict[str, str]:
        self.asked.append(source)
        return self.known[source.removeprefix("SELECT * FROM ").split()[0]]

    def choices(self, _sql: str) -> list[tuple[str, str]]:
        return []

    def shape(self, _stream: object) -> dict[str, dict[str, str]]:
        return self.read_as


@pytest.fixture
def columns() -> Columns:
    return Columns()


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = capturing.rig(tmp_path, ["loan_draft", "repayment", "journal"])
    yield made
    made.outbox.close()


@pytest.fixture
def fits(rig: Rig, columns: Columns) -> Fit:
    return Fit(rig.documents, cast("Mis", columns), clock=rig.clock)


def names(fits: Fit) -> list[str]:
    return [one.name for one in fits.those_that_fit()]


def test_what_fits_is_believed_for_a_while(fits: Fit, columns: Columns, rig: Rig) -> None:
    assert names(fits) == ["loan_draft", "repayment", "journal"]
    tables = [source for source in columns.asked if " " not in source]
    assert sorted(tables) == ["instalment", "loan", "note"]  # once, whoever reads it
    del columns.known["loan"]["amount"]
    rig.clock.pass_(fit.LOOK_AGAIN - 1)
    assert names(fits) == ["loan_draft", "repayment", "journal"]
    rig.clock.pass_(1)
    assert names(fits) == ["repayment", "journal"]
    assert 'no column "amount"' in fits.stopped["loan_draft"]
    assert meter.stream_stopped.labels("loan_draft")._value.get() == 1


def test_what_does_not_fit_is_tried_again_sooner(fits: Fit, columns: Columns, rig: Rig) -> None:
    del columns.known["note"]["body"]
    assert names(fits) == ["loan_draft", "repayment"]
    columns.known["note"]["body"] = "text"
    rig.clock.pass_(fit.TRY_AGAIN - 1)
    assert names(fits) == ["loan_draft", "repayment"]
    rig.clock.pass_(1)
    assert names(fits) == ["loan_draft", "repayment", "journal"]
    assert fits.stopped == {}


@pytest.mark.parametrize(
    ("column", "kind", "said"),
    [
        ("amount", "integer", ""),
        ("activity", "number", ""),
        ("disbursed", "datetime", ""),
        ("first_name", "number", "first_name was text and is number now"),
        ("first_name", "boolean", "first_name was text and is boolean now"),
        ("amount", "text", "loan.amount is text"),
    ],
)
def test_a_column_that_holds_something_else(rig: Rig, columns: Columns, column: str, kind: str, said: str) -> None:
    fits = Fit(rig.documents, cast("Mis", columns), clock=rig.clock)
    fits.those_that_fit()
    columns.known["loan"][column] = kind
    rig.clock.pass_(fit.LOOK_AGAIN)
    fits.those_that_fit()
    assert ("loan_draft" in fits.stopped) is bool(said)
    assert said in fits.stopped.get("loan_draft", "")


def test_what_it_held_first_is_what_it_is_compared_with(fits: Fit, columns: Columns, rig: Rig) -> None:
    fits.those_that_fit()
    for _ in range(2):
        columns.known["loan"]["first_name"] = "number"
        rig.clock.pass_(fit.LOOK_AGAIN)
        fits.those_that_fit()
        assert "first_name was text and is number now" in fits.stopped["loan_draft"]
    columns.known["loan"]["first_name"] = "text"
    rig.clock.pass_(fit.TRY_AGAIN)
    fits.those_that_fit()
    assert fits.stopped == {}


def test_a_column_that_no_mapping_reads_may_hold_anything(fits: Fit, columns: Columns, rig: Rig) -> None:
    columns.known["loan"]["note"] = "text"
    fits.those_that_fit()
    columns.known["loan"]["note"] = "number"
    rig.clock.pass_(fit.LOOK_AGAIN)
    assert len(names(fits)) == 3


def test_what_failed_is_not_read_for_a_while(fits: Fit, rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    fits.those_that_fit()
    fits.stop("journal", errors.RelayError("the query took longer than 30 s"))
    assert fits.stopped == {"journal": "the query took longer than 30 s"}
    assert names(fits) == ["loan_draft", "repayment"]
    fits.stop("journal", errors.RelayError("no right to read note"))
    assert fits.stopped == {"journal": "no right to read note"}
    rig.clock.pass_(fit.TRY_AGAIN)
    assert len(names(fits)) == 3
    printed = capsys.readouterr()
    lines = [one for one in (printed.out + printed.err).splitlines() if "does not fit" in one]
    assert len(lines) == 1


def test_what_a_database_quotes_is_not_logged(fits: Fit, capsys: pytest.CaptureFixture[str]) -> None:
    fits.stop("journal", failure.Quoting('invalid input: "Awa Diop"'))
    printed = capsys.readouterr()
    assert "Awa Diop" not in printed.out + printed.err
    assert "Awa Diop" in fits.stopped["journal"]


# ---------------------------------------------------------------- between the look and the page


def test_a_page_is_mapped_when_its_columns_still_fit(fits: Fit, columns: Columns) -> None:
    fits.those_that_fit()
    for kind in ("number", "integer"):
        columns.read_as = {"": {"amount": kind}}
        columns.asked.clear()
        fits.confirm(document("loan_draft"))
        assert len(columns.asked) == len(set(columns.asked)) == 3  # its tables, and its WHERE
        fits.confirm(document("loan_draft"))
        assert len(columns.asked) == 3


def test_a_page_with_the_columns_of_the_look_is_not_compared_again(fits: Fit, columns: Columns) -> None:
    """Each mapping was compared twice after a start: at the look, and again at its first page."""
    fits.those_that_fit()
    columns.read_as = {"": dict(columns.known["loan"]), "schedule": dict(columns.known["instalment"])}
    columns.asked.clear()
    fits.confirm(document("loan_draft"))
    assert columns.asked == []
    for gone in ("amount", "principal"):
        columns.read_as = {"": dict(columns.known["loan"]), "schedule": dict(columns.known["instalment"])}
        table = "loan" if gone in columns.known["loan"] else "instalment"
        kind = columns.known[table].pop(gone)
        columns.read_as["" if table == "loan" else "schedule"].pop(gone)
        with pytest.raises(fit.DoesNotFit, match=gone):
            fits.confirm(document("loan_draft"))
        columns.known[table][gone] = kind


def test_a_page_is_not_mapped_when_they_do_not(fits: Fit, columns: Columns) -> None:
    fits.those_that_fit()
    columns.known["loan"]["first_name"] = "number"
    columns.read_as = {"": {"first_name": "number"}}
    for _ in range(2):
        with pytest.raises(fit.DoesNotFit, match="first_name was text and is number now"):
            fits.confirm(document("loan_draft"))
