"""A page: what is decided for each key, what moves with it, and that all of it is one transaction."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
import sqlalchemy as sa

from kiva_relay.capture import enqueue, fit, page
from kiva_relay.capture.page import KeyPage, PageCapture, PageResult, WatermarkMove
from kiva_relay.capture.scan import ScanStep
from kiva_relay.outbox import meta, mirror, scan, table, watermark
from kiva_relay.outbox.state import State
from kiva_relay.outbox.store import Overtaken
from kiva_relay.resource import window
from kiva_relay.source.mis import Mis
from kiva_relay.source.reader import Content
from testbed.rig import capturing
from testbed.rig.capturing import NOW, OPEN, Rig, document, look, seen


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = capturing.rig(tmp_path)
    with made.outbox.begin() as tx:
        for one in made.documents:
            watermark.begin(tx, one.name)
        meta.FIRST_START.put(tx, NOW)
    for _ in range(3):
        made.mis.open_loan()
    yield made
    made.outbox.close()


def pages(rig: Rig, **changes: Any) -> PageCapture:
    mis = cast("Mis", rig.mis)
    return PageCapture(
        outbox=rig.outbox,
        settings=rig.settings,
        clock=rig.clock,
        mis=mis,
        fits=fit.Fit(rig.documents, mis, clock=rig.clock),
        aliases=changes.pop("aliases", {}),
        at=rig.reached.append,
        **changes,
    )


def keys(*numbers: str, resource: str = "loan_draft", origin: Any = "poll") -> KeyPage:
    return KeyPage(document(resource), numbers, origin)


def captured(rig: Rig, stream: str = "loan_draft") -> dict[str, Any]:
    with rig.outbox.read() as tx:
        return watermark.captured(tx, stream, ["1", "2", "3"])


def test_new_keys_are_captured_once(rig: Rig) -> None:
    reading = pages(rig)
    assert reading.capture(keys("1", "2"), OPEN) == PageResult(2, ("1", "2"))
    assert rig.reached == ["read", "captured"]
    assert [one.state for one in rig.versions("loan_draft", "L1")] == [State.READY]
    assert set(captured(rig)) == {"1", "2"}
    assert reading.capture(keys("1", "2"), OPEN) == PageResult(0, ())
    assert len(rig.versions("loan_draft", "L1")) == 1


@pytest.mark.parametrize("resource", ["loan_draft", "repayment"])
def test_a_digest_of_whole_rows_is_made_anew_and_nothing_is_missed_or_owed_by_it(rig: Rig, resource: str) -> None:
    reading = pages(rig)
    reading.capture(keys("1", "2", resource=resource), OPEN)
    before = len(rig.versions(resource, "L1"))
    with rig.outbox.begin() as tx:
        tx.execute(sa.update(table.captured).values(hash="of whole rows"))
    later = replace(OPEN, cutoff=OPEN.cutoff + timedelta(days=1))
    assert reading.capture(keys("1", "2", resource=resource, origin="sweep"), later) == PageResult(0, ())
    assert len(rig.versions(resource, "L1")) == before
    rig.mis.loans["1"]["amount"] += 100
    rig.mis.loans["1"]["repaid"] = 5
    assert reading.capture(keys("1", "2", resource=resource, origin="sweep"), later) == PageResult(1, ("1",))


def test_what_was_to_be_looked_at_again_is_no_surprise(rig: Rig) -> None:
    reading = pages(rig)
    reading.capture(keys("1", "2"), OPEN)
    with rig.outbox.begin() as tx:
        watermark.read_again(tx, table.captured.c.key == "1")
    for loan in rig.mis.loans.values():
        loan["amount"] += 100
    assert reading.capture(keys("1", "2", "3"), OPEN) == PageResult(3, ("2", "3"))
    assert not captured(rig)["1"].again


def test_what_leaves_the_scope_is_a_change_once(rig: Rig) -> None:
    reading = pages(rig)
    reading.capture(keys("1"), OPEN)
    rig.mis.loans["1"]["status"] = "rejected"
    rig.mis.loans["2"]["status"] = "rejected"
    assert reading.capture(keys("1", "2"), OPEN) == PageResult(1, ("1",))
    assert rig.versions("loan_draft", "L1")[0].reason == "left_scope"
    assert reading.capture(keys("1", "2"), OPEN) == PageResult(0, ())
    del rig.mis.loans["1"]
    assert reading.capture(keys("1"), OPEN) == PageResult(0, ())


def test_what_is_gone_is_withdrawn(rig: Rig) -> None:
    reading = pages(rig)
    reading.capture(keys("1"), OPEN)
    del rig.mis.loans["1"]
    assert reading.capture(keys("1"), OPEN) == PageResult(1, ("1",))
    assert rig.versions("loan_draft", "L1")[0].reason == "gone_from_mis"


def test_w_moves_with_the_page(rig: Rig) -> None:
    mark = rig.marks()["loan_draft"]
    pages(rig).capture(keys("1"), OPEN, then=WatermarkMove(mark, "17", "compare"))
    moved = rig.marks()["loan_draft"]
    assert (moved.w, moved.mode, moved.moved_at) == ("17", "compare", NOW)
    assert rig.marks()["repayment"].w is None


def test_nothing_of_a_page_is_written_when_somebody_else_moved_w(rig: Rig) -> None:
    mark = replace(rig.marks()["loan_draft"], generation=9)
    with pytest.raises(Overtaken):
        pages(rig).capture(keys("1"), OPEN, then=WatermarkMove(mark, "17", "compare"))
    assert captured(rig) == {}
    assert rig.versions("loan_draft", "L1") == []
    assert rig.reached == ["read"]


def test_nothing_of_a_page_is_written_when_one_of_its_keys_fails(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    write = enqueue.write

    def fails(tx: Any, at: Any, decision: Any) -> None:
        write(tx, at, decision)
        if decision.captured.key == "2":
            raise ArithmeticError

    monkeypatch.setattr(enqueue, "write", fails)
    with pytest.raises(ArithmeticError):
        pages(rig).capture(keys("1", "2"), OPEN)
    assert captured(rig) == {}


def test_a_scan_moves_with_the_page(rig: Rig) -> None:
    step = ScanStep(rig.marks()["loan_draft"], ("1", "2"), scan.ScanProgress(1, "backfill", since=NOW, total=3))
    pages(rig).capture(keys("1", "2", origin="backfill"), OPEN, then=step)
    assert rig.marks()["loan_draft"].scan_after == "2"
    with rig.outbox.read() as tx:
        found = scan.of(tx, "loan_draft")
    assert found is not None
    assert (found.done, found.found, found.at) == (2, 2, NOW)
    assert captured(rig)["1"].scan_number == 1


def test_a_page_without_keys_reads_nothing(rig: Rig) -> None:
    step = ScanStep(rig.marks()["loan_draft"], (), scan.ScanProgress(1, "backfill", since=NOW, total=0))
    reading = pages(rig)
    rig.mis.read = lambda *_args, **_more: pytest.fail("it was read")  # type: ignore[method-assign]
    assert reading.capture(keys(), OPEN, then=step) == PageResult(0, ())
    assert rig.marks()["loan_draft"].scan == "leaving"


def test_what_was_read_already_is_not_read_again(rig: Rig) -> None:
    contents = rig.mis.read(document("loan_draft").stream, ["1"], cutoff=OPEN.cutoff)
    rig.mis.read = lambda *_args, **_more: pytest.fail("it was read")  # type: ignore[method-assign]
    assert pages(rig).capture(keys("1"), OPEN, read=contents).changed == 1


def test_the_columns_are_confirmed_before_anything_is_written(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def changed(_self: object, _document: object) -> None:
        raise fit.DoesNotFit("loan.amount is text now")

    monkeypatch.setattr(fit.Fit, "confirm", changed)
    with pytest.raises(fit.DoesNotFit):
        pages(rig).capture(keys("1"), OPEN)
    assert captured(rig) == {}


def test_only_a_scan_meets_keys(rig: Rig) -> None:
    reading = pages(rig)
    reading.capture(keys("1"), OPEN)
    assert captured(rig)["1"].scan_number == 0
    assert reading.capture(keys("1", origin="sweep"), OPEN).changed == 0
    assert captured(rig)["1"].scan_number == 1
    reading.capture(keys("1", origin="report"), OPEN)
    assert captured(rig)["1"].scan_number == 1


def test_what_is_older_than_the_first_start_of_the_outbox_stays_where_it_is(rig: Rig) -> None:
    later = rig.settings.loan_drafts.model_copy(update={"since": "first_start"})
    rig.settings = rig.settings.model_copy(update={"loan_drafts": later})
    pages(rig).capture(keys("1"), OPEN)
    assert captured(rig)["1"].baselined
    with rig.outbox.begin() as tx:
        meta.FIRST_START.put(tx, NOW - timedelta(days=100))
    pages(rig).capture(keys("2"), OPEN)
    assert not captured(rig)["2"].baselined


def test_kiva_lists_are_read_again_when_they_are_others(rig: Rig) -> None:
    reading = pages(rig)
    reading.capture(keys("1"), OPEN)
    first = reading._lists
    reading.capture(keys("2"), OPEN)
    assert reading._lists is first
    with rig.outbox.begin() as tx:
        from kiva_relay.outbox import catalogue  # noqa: PLC0415

        catalogue.keep(tx, "activities", [], now=NOW)
    reading.capture(keys("3"), OPEN)
    assert reading._lists is not first


def test_a_loan_that_kiva_lists_under_an_alias_is_adopted(rig: Rig) -> None:
    with rig.outbox.begin() as tx:
        mirror.keep(tx, mirror.begin_refresh(tx, now=NOW), [capturing.loan("typed", "fundRaising")])
    pages(rig, aliases={"typed": "L1"}).capture(keys("1"), OPEN)
    assert rig.versions("loan_draft", "L1")[0].evidence == "adopted"


def test_keys_go_in_pages() -> None:
    numbers = [str(number) for number in range(page.SIZE + 1)]
    first, last = page.of(document("journal"), numbers, "poll")
    assert (first.keys, last.keys) == (tuple(numbers[:-1]), (numbers[-1],))
    assert (first.origin, first.document) == ("poll", document("journal"))
    assert list(page.of(document("journal"), [], "poll")) == []
    assert len(list(page.of(document("journal"), numbers[: page.SIZE], "poll"))) == 1


def test_surprises() -> None:
    known = {"1": seen(), "2": seen(again=True)}
    assert page.surprises(["1", "2", "3"], known) == ("1", "3")


# ---------------------------------------------------------------- when is content the same


def content(**changes: Any) -> Content:
    values: dict[str, Any] = {
        "key": "1",
        "in_scope": True,
        "root": {"id": 1, "amount": 100},
        "related": {"schedule": []},
    }
    return Content(**(values | changes))


SAME = page._digest(content(), look())


@pytest.mark.parametrize(
    "other",
    [
        content(root={"id": 1, "amount": 101}),
        content(root={"id": 1, "amount": 100, "more": None}),
        content(related={"schedule": [{"due": date(2026, 1, 1)}]}),
        content(root={"id": 1, "amount": 100, "blob": b"1"}),
    ],
)
def test_other_content_has_another_fingerprint(other: Content) -> None:
    assert page._digest(other, look()) != SAME


def test_bytes_and_dates_have_a_fingerprint() -> None:
    rows = [content(root={"photo": blob, "at": datetime(2026, 1, 1)}) for blob in (b"1", b"2", b"1")]  # noqa: DTZ001
    one, two, same = (page._digest(row, look()) for row in rows)
    assert one == same != two


def test_the_order_of_columns_does_not_matter() -> None:
    assert page._digest(content(root={"amount": 100, "id": 1}), look()) == SAME


def test_the_digest_is_free_of_the_day() -> None:
    other = look(report=replace(OPEN, cutoff=date(2026, 9, 30)))
    assert page._digest(content(), other) == SAME
    stream = document("loan_draft").stream
    reads_it = replace(document("loan_draft"), stream=replace(stream, where="day <= :cutoff"))
    mine, theirs = look(document=reads_it), replace(other, document=reads_it)
    assert page._digest(content(), mine) == page._digest(content(), theirs)


REPAYMENT = document("repayment")
UNTIL = replace(REPAYMENT, stream=replace(REPAYMENT.stream, where="day <= :cutoff"))
"""A mapping of positions that reads its rows up to the cut-off."""


@pytest.fixture
def until(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> PageCapture:
    """Of loan 1, 40 were repaid up to the end of October, and 90 up to the end of November."""

    def read(_stream: Any, numbers: Sequence[str], *, cutoff: date) -> list[Content]:
        paid = {"1": 40 if cutoff <= OPEN.cutoff else 90}
        rows = (
            {"id": int(key), "account": f"L{key}", "repaid": paid.get(key, 0) + late.get(key, 0)} for key in numbers
        )
        return [Content(str(row["id"]), in_scope=True, root=row) for row in rows]

    late: dict[str, int] = {}
    monkeypatch.setattr(rig.mis, "read", read)
    monkeypatch.setattr(rig.mis, "late", late, raising=False)
    return pages(rig)


def sweep(reading: PageCapture, report: window.RepaymentReport) -> PageResult:
    return reading.capture(KeyPage(UNTIL, ("1", "2"), "sweep"), report)


NEXT = replace(OPEN, period="2026-11", cutoff=date(2026, 11, 30))


def test_a_repayment_that_the_new_cutoff_shows_was_not_missed(rig: Rig, until: PageCapture) -> None:
    sweep(until, OPEN)
    assert captured(rig, "repayment")["1"].cutoff == "2026-10-31"
    assert sweep(until, NEXT) == PageResult(1, ())
    assert captured(rig, "repayment")["1"].cutoff == "2026-11-30"
    assert captured(rig, "repayment")["2"].cutoff == "2026-10-31"  # its rows are the same up to both days
    assert sweep(until, NEXT) == PageResult(0, ())


def test_a_change_that_no_poll_showed_is_told_also_after_the_cutoff_moved(rig: Rig, until: PageCapture) -> None:
    sweep(until, OPEN)
    rig.mis.late |= {"1": 5, "2": 7}  # type: ignore[attr-defined]
    assert sweep(until, NEXT) == PageResult(2, ("1", "2"))


def test_another_version_of_the_mapping_is_another_fingerprint() -> None:
    edited = replace(document("loan_draft"), fingerprint="1:other")
    assert page._digest(content(), look(document=edited)) != SAME


def test_nothing_but_the_outbox_is_asked_in_the_transaction(rig: Rig) -> None:
    """The writers of the outbox wait for each other: no query of the MIS may stand between."""
    statements: list[str] = []
    sa.event.listen(rig.outbox.engine, "begin", lambda _cx: statements.append("begin"))
    read = rig.mis.read

    def counted(*args: Any, **more: Any) -> Any:
        statements.append("MIS")
        return read(*args, **more)

    rig.mis.read = counted  # type: ignore[method-assign]
    pages(rig).capture(keys("1"), OPEN)
    assert statements == ["MIS", "begin"]
