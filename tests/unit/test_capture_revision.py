"""An edited mapping: when it is noticed, what is kept back meanwhile, and when a person is asked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from kiva_relay.capture import revision
from kiva_relay.config import shipped
from kiva_relay.mapping.document import Document
from kiva_relay.mapping.origin import SourceFile, Sources
from kiva_relay.outbox import hold, meta, query, scan, store, watermark
from kiva_relay.outbox.state import Actor, State
from testbed.rig import capturing, outboxes
from testbed.rig.capturing import NOW, Rig, document, seen

LATER = NOW + timedelta(minutes=5)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = capturing.rig(tmp_path)
    with made.outbox.begin() as tx:
        for one in made.documents:
            watermark.begin(tx, one.name)
            watermark.end_scan(tx, watermark.watermarks(tx)[one.name], now=NOW)
            revision.notice(tx, one, now=NOW)
    yield made
    made.outbox.close()


def edited(resource: str = "loan_draft", number: int = 2) -> Document:
    return replace(document(resource), fingerprint=f"{number}:edited", text=f"text {number}")


def owe(rig: Rig, identity: str, resource: str = "loan_draft", body: str | None = '{"amount":1}', **more: Any) -> None:
    values = {"resource": resource, "stream": resource, "key": identity, "period": ""} | more
    at = values.pop("at", NOW)
    with rig.outbox.begin() as tx:
        store.owe(tx, outboxes.owed(identity, body, **values), now=at)
        watermark.keep(tx, seen(resource, key=identity, identity=identity))


def notice(rig: Rig, mapping: Document) -> bool:
    with rig.outbox.begin() as tx:
        return revision.notice(tx, mapping, now=NOW)


def finish(rig: Rig, mapping: Document, *, looked_at: bool = True) -> bool:
    with rig.outbox.begin() as tx:
        if looked_at:
            for key in watermark.to_read_again(tx, mapping.name, limit=99):
                watermark.keep(tx, seen(mapping.resource, key=key, identity=key))
        return revision.finish(tx, mapping, now=LATER)


def held(rig: Rig) -> dict[str, dict[str, Any]]:
    with rig.outbox.read() as tx:
        return {f"{one.what}: {one.reason}": dict(one.params) for one in hold.in_force(tx)}


def test_the_version_in_force_is_remembered(rig: Rig) -> None:
    with rig.outbox.read() as tx:
        assert revision.in_force(tx, "loan_draft") == document("loan_draft").text
        assert revision.in_force(tx, "other") is None
    assert not notice(rig, document("loan_draft"))
    notice(rig, edited())
    with rig.outbox.read() as tx:
        assert revision.in_force(tx, "loan_draft") == "text 2"


def test_a_text_that_means_the_same_is_no_revision(rig: Rig) -> None:
    assert not notice(rig, replace(document("loan_draft"), text="with a comment"))
    with rig.outbox.read() as tx:
        assert revision.in_force(tx, "loan_draft") == "with a comment"


def test_a_mapping_that_is_new_is_no_revision(rig: Rig) -> None:
    new = replace(document("loan_draft"), name="new")
    assert not notice(rig, new)
    assert held(rig) == {}


def test_all_it_made_is_looked_at_again_and_what_waits_is_kept_back(rig: Rig) -> None:
    owe(rig, "L1")
    with rig.outbox.begin() as tx:
        watermark.keep(tx, seen(key="gone", identity="L9", in_scope=False), new=True)
        watermark.keep(tx, seen("journal", key="5", identity="5"), new=True)
    assert notice(rig, edited())
    with rig.outbox.read() as tx:
        assert watermark.to_read_again(tx, "loan_draft", limit=9) == ["L1"]
        assert watermark.to_read_again(tx, "journal", limit=9) == []
        found = scan.of(tx, "loan_draft")
    assert rig.marks()["loan_draft"].scan == "sweep"
    assert rig.marks()["journal"].scan is None
    assert found is not None
    assert (found.kind, found.number, found.since) == ("edit", 2, NOW)
    assert held(rig) == {"stream:loan_draft: mapping_examined": {"mapping": "loan_draft"}}
    assert notice(rig, edited())  # it goes on after a restart


def test_nothing_is_kept_back_where_nothing_waits(rig: Rig) -> None:
    assert notice(rig, edited())
    assert held(rig) == {}
    assert finish(rig, edited())
    assert not notice(rig, edited())


def test_it_ends_when_all_was_looked_at(rig: Rig) -> None:
    owe(rig, "L1")
    notice(rig, edited())
    assert not finish(rig, edited(), looked_at=False)
    assert "stream:loan_draft: mapping_examined" in held(rig)
    assert finish(rig, edited())
    assert held(rig) == {}
    assert finish(rig, edited())


def test_a_first_backfill_goes_on_as_one(rig: Rig) -> None:
    with rig.outbox.begin() as tx:
        watermark.begin(tx, "new")
        new = replace(document("loan_draft"), name="new")
        revision.notice(tx, new, now=NOW)
        revision.notice(tx, replace(new, fingerprint="2:edited"), now=NOW)
        assert scan.of(tx, "new") is None
    assert rig.marks()["new"].scan == "backfill"


# ---------------------------------------------------------------- how much it changes


def change(rig: Rig, number: int, *, of: int, **more: Any) -> dict[str, dict[str, Any]]:
    """Of so many drafts that wait, an edit changes the first ones; what is held afterwards."""
    for one in range(of):
        owe(rig, f"L{one}", **more)
    notice(rig, edited())
    for one in range(number):
        owe(rig, f"L{one}", body='{"amount":2}', at=LATER)
    assert finish(rig, edited())
    return held(rig)


@pytest.mark.parametrize(("number", "asked"), [(0, False), (1, False), (2, True)])
def test_more_than_a_tenth_of_what_waits_is_much(rig: Rig, number: int, *, asked: bool) -> None:
    found = change(rig, number, of=10)
    params = {"mapping": "loan_draft", "changed": number, "waiting": 10}
    assert found == ({"loan_draft: mapping_changes_much": params} if asked else {})


def test_a_person_who_saw_it_is_not_asked_again(rig: Rig) -> None:
    with rig.outbox.begin() as tx:
        revision.seen(tx, edited())
        assert meta.mapping_approved("loan_draft").get(tx) == "2:edited"
    assert change(rig, 5, of=5) == {}


def test_who_saw_another_version_is_asked(rig: Rig) -> None:
    with rig.outbox.begin() as tx:
        revision.seen(tx, edited(number=1))
    assert set(change(rig, 5, of=5)) == {"loan_draft: mapping_changes_much"}


def test_an_identity_that_is_owed_no_longer_is_changed(rig: Rig) -> None:
    owe(rig, "L1")
    notice(rig, edited())
    with rig.outbox.begin() as tx:
        store.left_scope(tx, "loan_draft", "L1", reason="left_scope", now=LATER)
    finish(rig, edited())
    assert held(rig)["loan_draft: mapping_changes_much"]["changed"] == 1


def test_what_was_withdrawn_or_replaced_before_does_not_count(rig: Rig) -> None:
    early = NOW - timedelta(hours=1)
    owe(rig, "L1", at=early)
    owe(rig, "L2", at=early)
    with rig.outbox.begin() as tx:
        store.left_scope(tx, "loan_draft", "L1", reason="left_scope", now=early)
    owe(rig, "L2", body='{"amount":2}', at=early)
    notice(rig, edited())
    finish(rig, edited())
    assert held(rig) == {}


def test_what_was_refused_may_become_good(rig: Rig) -> None:
    from kiva_relay.resource.refusal import Refusal  # noqa: PLC0415

    owe(rig, "L1", body=None, refusals=(Refusal("name_empty"),))
    notice(rig, edited())
    assert held(rig) == {}
    owe(rig, "L1", at=LATER)
    finish(rig, edited())
    assert held(rig) == {}


def test_what_is_new_since_is_no_change(rig: Rig) -> None:
    owe(rig, "L1")
    notice(rig, edited())
    owe(rig, "L2", at=LATER)
    owe(rig, "L2", body='{"amount":2}', at=LATER)
    finish(rig, edited())
    assert held(rig) == {}


def test_another_mapping_of_the_same_resource_does_not_count(rig: Rig) -> None:
    owe(rig, "L1")
    owe(rig, "G1", stream="loan_draft.group")
    notice(rig, edited())
    owe(rig, "G1", body='{"amount":2}', stream="loan_draft.group", at=LATER)
    finish(rig, edited())
    assert held(rig) == {}


def test_an_edit_upon_an_edit_is_measured_from_the_first(rig: Rig) -> None:
    owe(rig, "L1")
    notice(rig, edited())
    owe(rig, "L1", body='{"amount":2}', at=LATER)
    assert notice(rig, edited(number=3))
    finish(rig, edited(number=3))
    assert held(rig)["loan_draft: mapping_changes_much"]["changed"] == 1


def deliver(rig: Rig, identity: str, resource: str) -> None:
    with rig.outbox.begin() as tx:
        (entry, *_) = query.versions(tx, resource, identity)
        store.move(tx, entry, State.DELIVERED, Actor.PERSON, now=NOW, evidence="person")


@pytest.mark.parametrize(("period", "changed"), [("2026-10", 1), ("2026-09", 0)])
def test_of_positions_those_count_that_kiva_has_of_the_period(rig: Rig, period: str, changed: int) -> None:
    owe(rig, "L2", "repayment", period="2026-10")
    owe(rig, "L1", "repayment", period=period)
    deliver(rig, "L1", "repayment")
    notice(rig, edited("repayment"))
    assert held(rig) == {"stream:repayment: mapping_examined": {"mapping": "repayment"}}
    owe(rig, "L1", "repayment", body='{"amount":2}', period="2026-10", at=LATER)
    finish(rig, edited("repayment"))
    params = {"mapping": "repayment", "changed": changed, "waiting": 1 + changed}
    assert held(rig) == ({"repayment: mapping_changes_much": params} if changed else {})


def test_a_draft_that_kiva_has_does_not_count(rig: Rig) -> None:
    owe(rig, "L1")
    deliver(rig, "L1", "loan_draft")
    notice(rig, edited())
    assert held(rig) == {}


# ---------------------------------------------------------------- an upgrade of the package


def packaged(folder: Path, text: str) -> Document:
    """An edited mapping that extends a ready-made one, in which the package says `text`."""
    base = SourceFile(folder / "mappings" / "fineract" / "journal.yaml", text)
    return replace(edited(number=len(text)), sources=Sources((base,)))


@pytest.mark.parametrize(
    ("versions", "texts", "named"),
    [
        (("0.1.0", "0.2.0"), ("a", "ab"), ("0.1.0", "0.2.0")),
        (("0.1.0", "0.2.0", "0.3.0"), ("a", "a", "ab"), ("0.2.0", "0.3.0")),
        (("0.1.0", "0.1.0"), ("a", "ab"), None),
        (("0.1.0", "0.2.0"), ("a", "a"), None),
    ],
)
def test_an_upgrade_is_named_with_the_versions_before_and_after(
    rig: Rig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    versions: tuple[str, ...],
    texts: tuple[str, ...],
    named: tuple[str, str] | None,
) -> None:
    monkeypatch.setattr(shipped, "folder", lambda _: tmp_path / "mappings")
    upgrade = None
    for version, text in zip(versions, texts, strict=True):
        monkeypatch.setattr(revision, "__version__", version)
        with rig.outbox.begin() as tx:
            upgrade = revision._upgrade(tx, packaged(tmp_path, text))
    assert (None if upgrade is None else (upgrade.before, upgrade.now)) == named


def test_a_position_that_kiva_has_and_that_stays_as_it_is_does_not_count(rig: Rig) -> None:
    """Also the newest entry of all, which stands exactly where the edit began."""
    owe(rig, "L1", "repayment", period="2026-10")
    deliver(rig, "L1", "repayment")
    notice(rig, edited("repayment"))
    finish(rig, edited("repayment"))
    assert held(rig) == {}
