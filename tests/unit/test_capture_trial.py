"""A trial run: the same decisions as a backfill, as values, and nothing written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from kiva_relay.capture import trial
from kiva_relay.capture.owed import KeyDecision
from kiva_relay.capture.trial import ComparedPage, MappingDifference, Reason, Tally, Trial, TrialOutcome, TrialPage
from kiva_relay.mapping import book
from kiva_relay.mapping import document as documents_
from kiva_relay.mapping.difference import Change
from kiva_relay.mapping.lookup import Lists
from kiva_relay.outbox import mirror, table
from kiva_relay.resource.refusal import Refusal
from testbed.rig import capturing, outboxes
from testbed.rig.capturing import NOW, Rig, document, loan, mapped, seen

LISTS = Lists()


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = capturing.rig(tmp_path)
    for _ in range(4):
        made.mis.open_loan()
    yield made
    made.outbox.close()


def pages(rig: Rig, resource: str = "loan_draft", **more: Any) -> list[TrialPage]:
    run = Trial(rig.mis, **({"listed": rig.outbox} | more))
    look = trial.look(document(resource), rig.settings, lists=LISTS, now=NOW, first_start=NOW)
    return list(run.pages(look))


def tried(rig: Rig, resource: str = "loan_draft", **more: Any) -> dict[str, TrialOutcome]:
    return {row.key: row.outcome for page in pages(rig, resource, **more) for row in page.rows}


def test_all_that_is_in_scope_is_tried_and_nothing_is_written(rig: Rig) -> None:
    rig.mis.loans["2"]["status"] = "rejected"
    rig.mis.loans["3"]["first_name"] = ""
    with rig.outbox.begin() as tx:
        mirror.keep(tx, mirror.begin_refresh(tx, now=NOW), [loan("L4", "fundRaising")])
    assert tried(rig) == {"1": TrialOutcome.OWED, "3": TrialOutcome.REFUSED, "4": TrialOutcome.AT_KIVA}
    with rig.outbox.read() as tx:
        for each in (table.entry, table.captured, table.watermark, table.hold):
            assert tx.execute(sa.select(sa.func.count()).select_from(each)).scalar() == 0


def test_pages_say_how_far_it_is(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    contents = book.contents
    monkeypatch.setattr(book, "contents", lambda *args, **more: contents(*args, **more, page=3))
    assert [(len(page.rows), page.done, page.total) for page in pages(rig)] == [(3, 3, 4), (1, 4, 4)]


def test_it_agrees_with_the_backfill(rig: Rig) -> None:
    rig.mis.loans["3"]["first_name"] = ""
    rig.mis.loans["4"]["status"] = "rejected"
    with rig.outbox.begin() as tx:
        mirror.keep(tx, mirror.begin_refresh(tx, now=NOW), [loan("L2", "payingBack")])
    found = {resource: tried(rig, resource) for resource in ("loan_draft", "repayment")}
    capture = rig.capture()
    for _ in range(4):
        capture.cycle()
    states = {
        "ready": TrialOutcome.OWED,
        "delivered": TrialOutcome.AT_KIVA,
        "refused": TrialOutcome.REFUSED,
        "waiting": TrialOutcome.WAITING,
    }
    with rig.outbox.read() as tx:
        rows = tx.execute(sa.select(table.entry.c.resource, table.entry.c.key, table.entry.c.state)).all()
    real: dict[str, dict[str, TrialOutcome]] = {
        "loan_draft": {},
        "repayment": dict.fromkeys("1234", TrialOutcome.NOTHING),
    }
    for row in rows:
        real[row.resource][row.key] = states[row.state]
    assert found == real


def test_an_id_that_two_rows_have_is_found(rig: Rig) -> None:
    rig.mis.loans["3"]["account"] = "L1"
    (page,) = pages(rig)
    assert [row.outcome for row in page.rows] == [
        TrialOutcome.OWED,
        TrialOutcome.OWED,
        TrialOutcome.REFUSED,
        TrialOutcome.OWED,
    ]
    (reason,) = page.rows[2].refusals
    assert (reason.code, reason.params["other"]) == ("id_used_twice", "1 and 3")


def test_two_mappings_of_one_row_are_no_two_rows(rig: Rig) -> None:
    run = Trial(rig.mis, listed=None)
    look = trial.look(document("loan_draft"), rig.settings, lists=LISTS, now=NOW, first_start=NOW)
    for _ in range(2):
        assert {row.outcome for page in run.pages(look) for row in page.rows} == {TrialOutcome.OWED}


def test_what_the_outbox_has_is_known(rig: Rig) -> None:
    assert tried(rig, known={("loan_draft", "L1"), ("journal", "L2")})["1"] is TrialOutcome.KNOWN
    assert tried(rig, known={("journal", "L2")})["2"] is TrialOutcome.OWED


def test_what_is_older_than_since(rig: Rig) -> None:
    later = rig.settings.loan_drafts.model_copy(update={"since": "first_start"})
    rig.settings = rig.settings.model_copy(update={"loan_drafts": later})
    assert set(tried(rig).values()) == {TrialOutcome.OLDER}
    run = Trial(rig.mis, listed=rig.outbox)
    look = trial.look(document("loan_draft"), rig.settings, lists=LISTS, now=NOW,
                      first_start=datetime(2026, 11, 1, tzinfo=UTC))  # fmt: skip
    assert {row.outcome for page in run.pages(look) for row in page.rows} == {TrialOutcome.OWED}


def test_positions_and_journals_by_what_kiva_has(rig: Rig) -> None:
    rig.mis.notes["1"] = {"id": 1, "account": "L1", "body": "news", "created": NOW, "changed": NOW}
    assert set(tried(rig, "repayment").values()) == {TrialOutcome.NOTHING}
    assert tried(rig, "journal") == {"1": TrialOutcome.WAITING}
    # Without a list Kiva is taken to have every loan.
    assert set(tried(rig, "repayment", listed=None).values()) == {TrialOutcome.OWED}
    assert tried(rig, "journal", listed=None) == {"1": TrialOutcome.OWED}
    assert set(tried(rig, listed=None).values()) == {TrialOutcome.OWED}


@pytest.mark.parametrize(
    ("owed", "outcome"),
    [
        ({}, TrialOutcome.OWED),
        ({"waits": "incomplete"}, TrialOutcome.WAITING),
        ({"refusals": (Refusal("name_empty"),)}, TrialOutcome.REFUSED),
        ({"refusals": (Refusal("name_empty"),), "adopted": {}}, TrialOutcome.AT_KIVA),
        ({"identity": "known", "adopted": {}}, TrialOutcome.KNOWN),
    ],
)
def test_outcomes(owed: Any, outcome: TrialOutcome) -> None:
    found = KeyDecision(captured=seen(), owed=replace(outboxes.owed(), **owed))
    assert trial.outcome(found, {("loan_draft", "known")}) is outcome


def test_outcomes_of_what_is_not_owed() -> None:
    assert trial.outcome(KeyDecision(captured=seen(baselined=True)), ()) is TrialOutcome.OLDER
    assert trial.outcome(KeyDecision(captured=seen()), ()) is TrialOutcome.NOTHING


def test_what_a_row_is_tried_with(rig: Rig) -> None:
    late = datetime(2026, 11, 23, 23, 30, tzinfo=UTC)
    east = rig.settings.mis.model_copy(update={"timezone": "Asia/Kolkata"})
    look = trial.look(
        document("journal"), rig.settings.model_copy(update={"mis": east}), lists=LISTS, now=late, first_start=NOW
    )
    assert (look.origin, look.photos, look.today, look.first_start) == ("backfill", "sha256", date(2026, 11, 24), NOW)
    assert look.report.cutoff == date(2026, 11, 24)  # cutoff: today
    assert look.scan_number is not None


# ---------------------------------------------------------------- counting


def row(
    outcome: TrialOutcome, *refusals: Refusal, warnings: tuple[Refusal, ...] = (), **changes: Any
) -> trial.TrialRow:
    owed = replace(outboxes.owed(), refusals=refusals)
    return trial.TrialRow("1", mapped(warnings=warnings, **changes), KeyDecision(captured=seen(), owed=owed), outcome)


def test_reasons_are_counted_by_code_and_by_what_they_are_about() -> None:
    unknown = [Refusal("activity_unknown", "activity_id", {"value": value}) for value in ("Bakery", "Farming")]
    empty = [Refusal("name_empty", f"entreps[{number}].first_name") for number in (0, 1)]
    tally = Tally()
    tally.add(TrialPage((row(TrialOutcome.REFUSED, unknown[0], loan_id="L1"),), 1, 4))
    tally.add(
        TrialPage(
            (
                row(TrialOutcome.REFUSED, *unknown, loan_id="L2"),
                row(TrialOutcome.REFUSED, *empty, loan_id="", identity="L3"),
                row(TrialOutcome.KNOWN, unknown[0]),
            ),
            4,
            4,
        )
    )
    assert tally.rows == 4
    assert tally.outcomes == {TrialOutcome.REFUSED: 3, TrialOutcome.KNOWN: 1}
    assert tally.by_number(tally.reasons) == [
        (Reason("activity_unknown", "Bakery"), ["L1", "L2"]),
        (Reason("activity_unknown", "Farming"), ["L2"]),
        (Reason("name_empty", "entreps.first_name"), ["L3"]),  # a loan counts once
    ]
    assert tally.examples[Reason("name_empty", "entreps.first_name")] == empty[0]
    assert tally.filled == {}


def test_warnings_and_fields_are_those_of_what_would_be_sent() -> None:
    warning = Refusal("needed_to_publish", "entreps[2].gender")
    tally = Tally()
    rows = (
        row(TrialOutcome.OWED, warnings=(warning, warning), body={"entreps": [], "currency": "XOF"}),
        row(TrialOutcome.OWED, body={"currency": "XOF"}),
        row(TrialOutcome.AT_KIVA, warnings=(warning,)),
        row(TrialOutcome.OWED, body=None),
    )
    tally.add(TrialPage(rows, 4, 4))
    assert tally.warnings == {Reason("needed_to_publish", "entreps.gender"): ["L1"]}
    assert tally.filled == {"entreps": 1, "currency": 2}
    assert tally.reasons == {}


def test_what_a_person_calls_a_row() -> None:
    assert row(TrialOutcome.OWED).loan == "L1"
    assert row(TrialOutcome.OWED, loan_id="", identity="7").loan == "7"
    assert row(TrialOutcome.OWED, loan_id="", identity=None).loan == "row 1"
    assert trial.TrialRow("1", mapped(), KeyDecision(captured=seen()), TrialOutcome.NOTHING).refusals == ()


# ---------------------------------------------------------------- two versions of a mapping


def edited(rig: Rig, was: str, now_is: str, tmp_path: Path) -> documents_.Document:
    folder = tmp_path / "edited"
    folder.mkdir()
    (folder / "loan_draft.yaml").write_text(document("loan_draft").text.replace(was, now_is), encoding="utf-8")
    (found,) = documents_.load([folder], parameters={}, resources=["loan_draft"])
    return found


def difference(rig: Rig, new: documents_.Document) -> MappingDifference:
    look = trial.look(document("loan_draft"), rig.settings, lists=LISTS, now=NOW, first_start=NOW)
    found = MappingDifference()
    for page in trial.compare(document("loan_draft"), new, rig.mis, context=look.context):
        found.add(page)
    return found


def test_an_edit_that_changes_nothing(rig: Rig) -> None:
    assert difference(rig, document("loan_draft")) == MappingDifference(rows=4)


def test_an_edit_of_a_field_changes_the_bodies_that_have_it(rig: Rig, tmp_path: Path) -> None:
    rig.mis.loans["1"]["last_name"] = "Awa"
    new = edited(rig, "last_name: last_name", "last_name: first_name", tmp_path)
    found = difference(rig, new)
    assert found.rows == 4
    assert [(one.loan_id, one.kind, one.fields) for one in found.changes] == [
        (f"L{number}", "changed", (("entreps[0].last_name", "Diop", "Awa"),)) for number in (2, 3, 4)
    ]
    assert found.fields() == {"entreps.last_name": 3}
    assert found.bodies == found.changes


def test_an_edit_of_the_scope(rig: Rig, tmp_path: Path) -> None:
    rig.mis.loans["1"]["status"] = "rejected"
    new = edited(rig, "status = 'approved'", "\"status <> ''\"", tmp_path)
    content = rig.mis._content
    other = new.stream

    def scoped(stream: Any, key: str) -> Any:
        found = content(stream, key)
        return replace(found, in_scope=stream == other or found.in_scope)

    rig.mis._content = scoped  # type: ignore[method-assign]
    found = difference(rig, new)
    assert [(one.key, one.kind) for one in found.changes] == [("1", "in_scope")]
    assert found.rows == 4
    back = MappingDifference()
    look = trial.look(document("loan_draft"), rig.settings, lists=LISTS, now=NOW, first_start=NOW)
    for page in trial.compare(new, document("loan_draft"), rig.mis, context=look.context):
        back.add(page)
    assert [(one.key, one.kind) for one in back.changes] == [("1", "out_of_scope")]


def test_a_refusal_for_another_reason_changes_no_body() -> None:
    found = MappingDifference()
    found.add(ComparedPage(3, (Change("1", "L1", "L1", "reason"), Change("2", "L2", "L2", "sent"))))
    found.add(ComparedPage(2, (Change("3", "L3", "L3", "refused"),)))
    assert found.rows == 5
    assert [one.key for one in found.bodies] == ["2", "3"]
