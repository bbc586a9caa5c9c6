"""What is owed for a key, by what was known of it, what it maps to, and what the outbox and Kiva's list say."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from kiva_relay.capture import owed
from kiva_relay.capture.another_row import RowReplaced
from kiva_relay.capture.context import CaptureContext
from kiva_relay.capture.owed import KeyDecision, KeyFacts, MappedKey, Withdrawal
from kiva_relay.outbox.entry import Owed
from kiva_relay.outbox.watermark import Captured
from kiva_relay.resource.refusal import Refusal
from kiva_relay.source.reader import Content
from testbed.rig.capturing import (
    BODIES,
    CLOSED,
    CREATED,
    NOW,
    OPEN,
    entry,
    loan,
    look,
    mapped,
    seen,
    settings,
)

LISTED = {"L1": loan()}
NO_NAME = Refusal("name_empty", "entreps[0].first_name")


def decide(
    resource: str = "loan_draft",
    *,
    at: CaptureContext | None = None,
    known: Captured | None = None,
    facts: KeyFacts | None = None,
    digest: str = "new",
    **changes: Any,
) -> KeyDecision:
    row = MappedKey("1", known, mapped(resource, **changes), digest)
    return owed.decide(at or look(resource), row, facts or KeyFacts())


def result(*args: Any, **more: Any) -> Owed:
    """What is owed, where something is."""
    found = decide(*args, **more).owed
    assert found is not None
    return found


# ---------------------------------------------------------------- a draft


def test_a_draft_that_may_be_owed_twice_waits_for_a_person() -> None:
    twin = KeyFacts(twins=("L7",))
    found = result(facts=twin)
    assert (found.waits, found.body is not None) == ("probable_duplicate", True)
    assert result(facts=replace(twin, perhaps=True)).waits == "perhaps_at_kiva"
    assert result(facts=replace(twin, adopted={"kiva_id": "K1"})).waits is None
    assert result(facts=twin, body=None, refusals=(NO_NAME,)).waits is None
    assert decide(facts=twin).captured.refused, "each sweep asks again"
    assert result().waits is None


def test_a_new_draft_is_owed_with_all_that_is_known_of_it() -> None:
    found = decide()
    assert found.owed is not None
    body = found.owed.body
    assert body is not None
    assert json.loads(body)["entreps"] == [{"loan_id": "L1", "client_id": "C1", "amount": 100.5}]
    assert replace(found.owed, body=None, body_sha256=None) == Owed(
        resource="loan_draft",
        identity="L1",
        stream="loan_draft",
        key="1",
        loan_id="L1",
        client_id="C1",
        amount="100.50",
        currency="XOF",
        fingerprint=look().document.fingerprint,
        origin="poll",
        due_at=NOW + timedelta(minutes=15),
        publish_by=found.owed.publish_by,
    )
    assert found.owed.body_sha256
    assert found.owed.publish_by is not None
    assert found.captured == Captured(
        stream="loan_draft",
        key="1",
        resource="loan_draft",
        identity="L1",
        hash="new",
        in_scope=True,
        baselined=False,
        refused=False,
        again=False,
        created_at=str(CREATED),
        scan_number=0,
        captured_at=NOW,
    )
    assert (found.new, found.changed, found.withdrawals, found.became_another, found.replaced) == (
        True,
        True,
        (),
        False,
        None,
    )


@pytest.mark.parametrize(
    ("resource", "origin", "rests"),
    [
        ("loan_draft", "poll", True),
        ("loan_draft", "sweep", True),
        ("loan_draft", "backfill", False),
        ("journal", "poll", True),
        ("journal", "backfill", False),
        ("repayment", "poll", False),
        ("repayment", "report", False),
    ],
)
def test_what_was_just_typed_rests_for_a_while(resource: str, origin: Any, *, rests: bool) -> None:
    found = result(resource, at=look(resource, origin, settings=all_of_it()), facts=KeyFacts(at_kiva=LISTED))
    assert found.due_at == NOW + (timedelta(minutes=15) if rests else timedelta(0))
    assert found.origin == origin


def all_of_it() -> Any:
    return settings(loan_drafts={"since": "all"}, journals={"since": "all"})


def test_the_amount_of_a_group_is_its_members_together() -> None:
    members = [{"loan_id": "L1", "amount": Decimal("100.50")}, {"loan_id": "L2", "amount": Decimal("0.50")}]
    body = BODIES["loan_draft"] | {"entreps": members}
    assert (result(body=body).amount, result(body=body).currency) == ("101.00", "XOF")


def test_a_journal_has_no_amount_and_a_position_no_currency() -> None:
    facts = KeyFacts(at_kiva=LISTED)
    assert (result("journal", facts=facts).amount, result("journal", facts=facts).currency) == (None, None)
    assert (result("repayment", facts=facts).amount, result("repayment", facts=facts).currency) == ("40.00", None)
    assert result("repayment", facts=facts).publish_by is None


def test_what_the_mapping_refuses_is_refused_and_mapped_again_at_each_scan() -> None:
    found = decide(body=None, refusals=(NO_NAME,))
    assert found.owed is not None
    assert (found.owed.body, found.owed.body_sha256, found.owed.amount, found.owed.currency) == (None,) * 4
    assert (found.owed.refusals, found.owed.publish_by) == ((NO_NAME,), None)
    assert found.captured.refused


def test_what_waits_is_mapped_again_at_each_scan() -> None:
    found = decide(body=None, waiting="incomplete")
    assert found.owed is not None
    assert (found.owed.waits, found.owed.refusals) == ("incomplete", ())
    assert found.captured.refused


def test_a_row_that_nobody_can_name_is_kept_by_its_key() -> None:
    found = decide(identity=None, body=None, refusals=(Refusal("identity_empty", "identity"),), facts=KeyFacts())
    assert found.owed is not None
    assert found.owed.identity == "(1)"
    assert found.captured.identity is None


@pytest.mark.parametrize("body", [BODIES["loan_draft"], None])
def test_what_kiva_has_is_adopted_also_where_it_could_not_be_mapped(body: Any) -> None:
    facts = KeyFacts(adopted={"kiva_id": "K1", "status": "fundRaising"})
    found = decide(facts=facts, body=body, refusals=() if body else (NO_NAME,))
    assert found.owed is not None
    assert found.owed.adopted == {"kiva_id": "K1", "status": "fundRaising"}
    assert not found.captured.refused


def test_only_a_draft_is_adopted() -> None:
    facts = KeyFacts(adopted={"kiva_id": "K1"}, at_kiva=LISTED)
    assert result("journal", facts=facts).adopted is None
    assert result("repayment", facts=facts).adopted is None


# ---------------------------------------------------------------- what is older than `since`

FIRST = datetime(2026, 11, 10, 12, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
DAY = date(2026, 11, 10)


@pytest.mark.parametrize(
    ("since", "origin", "created_at", "older"),
    [
        ("all", "poll", datetime(2001, 1, 1, tzinfo=UTC), False),
        ("all", "backfill", None, False),
        ("first_start", "poll", FIRST - SECOND, True),
        ("first_start", "poll", FIRST, False),
        ("first_start", "poll", DAY - timedelta(days=1), True),
        ("first_start", "poll", DAY, False),
        ("first_start", "poll", None, False),
        ("first_start", "sweep", None, False),
        ("first_start", "backfill", None, True),
        (DAY, "poll", DAY - timedelta(days=1), True),
        (DAY, "poll", DAY, False),
        (DAY, "poll", datetime(2026, 11, 9, 23, 59, tzinfo=UTC), True),
        (DAY, "poll", datetime(2026, 11, 10, 0, 0, tzinfo=UTC), False),
        (DAY, "backfill", None, True),
    ],
)
@pytest.mark.parametrize("resource", ["loan_draft", "journal"])
def test_what_is_older_than_since_is_captured_and_not_owed(
    resource: str, since: Any, origin: Any, created_at: Any, *, older: bool
) -> None:
    other = {"loan_draft": "journals", "journal": "loan_drafts"}[resource]
    mine = {"loan_draft": "loan_drafts", "journal": "journals"}[resource]
    at = look(resource, origin, settings=settings(**{mine: {"since": since}, other: {"since": "all"}}))
    found = decide(resource, at=at, created_at=created_at, facts=KeyFacts(at_kiva=LISTED))
    assert found.captured.baselined is older
    assert (found.owed is None) is older
    assert (found.captured.refused, found.withdrawals) == (False, ())


def test_the_day_of_since_is_the_day_in_the_zone_of_the_mis() -> None:
    chosen = settings(loan_drafts={"since": DAY}, mis={"timezone": "America/Lima"})  # five hours behind
    at = look(settings=chosen)
    assert decide(at=at, created_at=datetime(2026, 11, 10, 4, 59, tzinfo=UTC)).captured.baselined
    assert not decide(at=at, created_at=datetime(2026, 11, 10, 5, 0, tzinfo=UTC)).captured.baselined
    at = look(settings=settings(loan_drafts={"since": "first_start"}, mis={"timezone": "America/Lima"}),
              first_start=datetime(2026, 11, 10, 4, 0, tzinfo=UTC))  # fmt: skip
    assert decide(at=at, created_at=date(2026, 11, 8)).captured.baselined
    assert not decide(at=at, created_at=date(2026, 11, 9)).captured.baselined


def test_a_position_is_never_too_old() -> None:
    found = decide("repayment", created_at=datetime(2001, 1, 1, tzinfo=UTC), facts=KeyFacts(at_kiva=LISTED))
    assert not found.captured.baselined
    assert found.owed is not None


@pytest.mark.parametrize(
    ("origin", "since", "baselined"),
    [
        ("poll", "all", True),  # an edit of it changes nothing
        ("sweep", "all", True),
        ("backfill", "all", False),  # that is what a backfill is for
        ("backfill", "first_start", True),
    ],
)
def test_what_was_too_old_stays_so_until_a_backfill_reaches_further_back(
    origin: Any, since: str, *, baselined: bool
) -> None:
    old = datetime(2026, 1, 1, tzinfo=UTC)
    at = look(origin=origin, settings=settings(loan_drafts={"since": since}))
    found = decide(at=at, known=seen(baselined=True, created_at=str(old)), created_at=old)
    assert found.captured.baselined is baselined
    assert (found.owed is None) is baselined
    assert not found.new


def test_what_was_owed_is_owed_although_it_is_older_than_since() -> None:
    old = datetime(2026, 1, 1, tzinfo=UTC)
    at = look(origin="backfill", settings=settings(loan_drafts={"since": "first_start"}))
    assert decide(at=at, known=seen(created_at=str(old)), created_at=old).owed is not None


# ---------------------------------------------------------------- positions


def position(**more: Any) -> Owed | None:
    return decide("repayment", **more).owed


@pytest.mark.parametrize("status", ["payingBack", "defaulted"])
def test_a_position_is_owed_where_kiva_expects_a_report(status: str) -> None:
    found = decide("repayment", facts=KeyFacts(at_kiva={"L1": loan(status=status)}))
    assert found.owed is not None
    assert (found.owed.period, found.owed.loan_id, found.owed.waits) == ("2026-10", "L1", None)
    assert found.withdrawals == ()
    assert not found.captured.refused


@pytest.mark.parametrize(
    ("at_kiva", "report"), [({}, OPEN), ({"L1": loan(status="ended")}, OPEN), ({"L1": loan()}, CLOSED)]
)
def test_no_position_is_owed_where_no_report_is_expected(at_kiva: Any, report: Any) -> None:
    found = decide("repayment", at=look("repayment", report=report), facts=KeyFacts(at_kiva=at_kiva))
    assert found.owed is None
    assert found.withdrawals == (Withdrawal("L1", "not_expected"),)
    assert not found.captured.refused


def test_a_position_goes_in_the_spelling_of_kiva() -> None:
    body = BODIES["repayment"] | {"client_id": "c1"}
    theirs = KeyFacts(at_kiva={"l-1": loan("l-1", client_id="C-1")})
    found = result("repayment", body=body, facts=theirs)
    assert json.loads(found.body or "") == {"loan_id": "l-1", "client_id": "C-1", "amount": 40}
    assert (found.loan_id, found.identity) == ("l-1", "L1")
    unknown = KeyFacts(at_kiva={"l-1": loan("l-1")})
    assert json.loads(result("repayment", body=body, facts=unknown).body or "")["client_id"] == "c1"
    assert "client_id" not in json.loads(result("repayment", facts=theirs).body or "")


@pytest.mark.parametrize(
    ("own", "other", "chosen"),
    [
        ("payingBack", "payingBack", "L1"),
        ("ended", "payingBack", "typed"),
        ("payingBack", "ended", "L1"),
    ],
)
def test_of_two_loans_at_kiva_the_one_that_is_paid_back_is_meant(own: str, other: str, chosen: str) -> None:
    listed = {"typed": loan("typed", other), "L1": loan("L1", own)}
    assert result("repayment", facts=KeyFacts(at_kiva=listed)).loan_id == chosen


def test_a_position_that_fell_waits_for_a_person() -> None:
    facts = KeyFacts(at_kiva=LISTED, previous=Decimal("40.01"))
    found = decide("repayment", facts=facts)
    assert found.owed is not None
    assert (found.owed.waits, found.owed.refusals) == ("position_fell", ())
    assert found.owed.body is not None
    assert found.captured.refused
    assert result("repayment", facts=replace(facts, previous=Decimal("40.00"))).waits is None


def test_a_position_above_the_principal_waits_for_a_person() -> None:
    found = result("repayment", facts=KeyFacts(at_kiva=LISTED), bounds={"principal": Decimal(39)})
    assert found.waits == "position_exceeds_principal"
    assert result("repayment", facts=KeyFacts(at_kiva=LISTED), bounds={"principal": Decimal(40)}).waits is None


def test_a_position_that_cannot_be_is_refused() -> None:
    found = decide("repayment", body=BODIES["repayment"] | {"amount": Decimal(-1)}, facts=KeyFacts(at_kiva=LISTED))
    assert found.owed is not None
    assert [reason.code for reason in found.owed.refusals] == ["amount_negative"]
    assert (found.owed.body, found.owed.body_sha256, found.owed.waits) == (None, None, None)
    assert found.captured.refused


def test_what_the_mapping_said_of_a_position_stays() -> None:
    refused = result("repayment", body=None, refusals=(NO_NAME,), facts=KeyFacts(at_kiva=LISTED))
    assert (refused.refusals, refused.period, refused.loan_id) == ((NO_NAME,), "2026-10", "L1")
    waits = result("repayment", body=None, waiting="incomplete", facts=KeyFacts(at_kiva=LISTED))
    assert waits.waits == "incomplete"


def test_a_position_is_checked_on_the_basis_that_was_agreed() -> None:
    chosen = settings(repayments={"basis": "principal_outstanding"})
    at = look("repayment", settings=chosen)
    found = result("repayment", at=at, facts=KeyFacts(at_kiva=LISTED), body={"loan_id": "L1"})
    assert [reason.code for reason in found.refusals] == ["principal_unknown"]


# ---------------------------------------------------------------- journals


def test_a_journal_waits_until_kiva_has_its_loan() -> None:
    found = decide("journal")
    assert found.owed is not None
    assert found.owed.waits == "loan_not_at_kiva"
    assert found.owed.body is not None
    assert found.captured.refused
    assert not decide("journal", facts=KeyFacts(at_kiva=LISTED)).captured.refused


@pytest.mark.parametrize("status", ["inactive", "reviewed", "issue", "expired", "refunded", "deleted", "unheard_of"])
def test_a_journal_waits_while_its_loan_takes_none(status: str) -> None:
    found = decide("journal", facts=KeyFacts(at_kiva={"l1": loan("L1", status)}))
    assert found.owed is not None
    assert (found.owed.waits, found.captured.refused) == ("loan_not_eligible", True)


def test_of_two_loans_of_one_id_the_journal_is_for_the_eligible_one() -> None:
    both = {"l1": loan("L1", "expired"), "typed": loan("typed", "payingBack")}
    found = result("journal", facts=KeyFacts(at_kiva=both))
    assert (found.waits, found.loan_id) == (None, "typed")


def test_which_loans_take_journals_is_a_setting() -> None:
    at = look("journal", settings=settings(journals={"since": "all", "statuses": ["expired"]}))
    assert result("journal", at=at, facts=KeyFacts(at_kiva={"l1": loan("L1", "expired")})).waits is None
    assert result("journal", at=at, facts=KeyFacts(at_kiva=LISTED)).waits == "loan_not_eligible"


def test_a_journal_goes_under_the_id_that_kiva_knows() -> None:
    own = result("journal", facts=KeyFacts(at_kiva=LISTED))
    assert (own.loan_id, json.loads(own.body or "")["internal_loan_id"]) == ("L1", "L1")
    typed = result("journal", facts=KeyFacts(at_kiva={"typed": loan("typed")}))
    assert (typed.loan_id, json.loads(typed.body or "")["internal_loan_id"]) == ("typed", "typed")
    assert typed.body_sha256 != own.body_sha256


@pytest.mark.parametrize("listed", [{}, LISTED])
def test_what_the_mapping_said_of_a_journal_stays(listed: Any) -> None:
    facts = KeyFacts(at_kiva=listed)
    assert result("journal", body=None, refusals=(NO_NAME,), facts=facts).waits is None
    assert result("journal", body=None, waiting="incomplete", facts=facts).waits == "incomplete"


# ---------------------------------------------------------------- one number, two rows


def test_an_id_that_two_rows_have_is_never_sent() -> None:
    found = decide(facts=KeyFacts(other_row=("loan_draft", "2"), sent=entry()))
    assert found.owed is not None
    assert found.owed.refusals == (Refusal("id_used_twice", "", {"identity": "L1", "other": "1 and 2"}),)
    assert (found.owed.body, found.owed.body_sha256, found.owed.waits) == (None, None, None)
    assert found.owed.comparable
    assert (found.captured.refused, found.became_another, found.replaced) == (True, False, None)


def test_an_id_that_rows_of_two_mappings_have_is_never_sent_though_their_keys_are_the_same() -> None:
    """Whichever of them is looked at, the reason is the same: else each look would make a new version."""
    found = decide(facts=KeyFacts(other_row=("another", "1")))
    assert found.owed is not None
    assert found.owed.refusals == (
        Refusal("id_used_twice", "", {"identity": "L1", "other": "1 of another and 1 of loan_draft"}),
    )


def test_a_number_that_was_another_rows_is_never_sent_and_a_person_is_asked_once() -> None:
    was = seen(created_at="2026-01-01 08:00:00+00:00")
    sent = entry(key="1")
    found = decide(known=was, facts=KeyFacts(sent=sent))
    assert found.owed is not None
    assert found.owed.refusals == (Refusal("id_used_twice", "", {"identity": "L1", "other": "1"}),)
    assert found.became_another
    assert not found.owed.comparable
    assert found.replaced == RowReplaced(sent, "created 2026-01-01 08:00:00+00:00", f"created {CREATED}")
    # What is known of the old row stays, so that it is another row at the next look, too.
    assert (found.captured.created_at, found.captured.refused, found.captured.baselined) == (
        was.created_at,
        True,
        False,
    )
    again = decide(known=replace(was, refused=True), facts=KeyFacts(sent=sent))
    assert not again.became_another
    assert again.replaced is not None


def test_a_number_of_which_nothing_was_sent_is_simply_another_row() -> None:
    was = seen(created_at="2026-01-01 08:00:00+00:00")
    found = decide(known=was)
    assert found.owed is not None
    assert found.owed.refusals == ()
    assert found.captured.created_at == str(CREATED)
    assert (found.became_another, found.replaced, found.captured.refused) == (True, None, False)


def test_of_a_number_that_was_posted_by_hand_something_may_be_at_kiva() -> None:
    was = seen(created_at="2026-01-01 08:00:00+00:00", baselined=True)
    found = decide(known=was)
    assert found.owed is not None
    assert [reason.code for reason in found.owed.refusals] == ["id_used_twice"]
    assert (found.captured.baselined, found.captured.refused, found.replaced) == (True, True, None)


def test_another_row_that_is_older_than_since_is_not_owed() -> None:
    old = datetime(2026, 1, 1, tzinfo=UTC)
    at = look(settings=settings(loan_drafts={"since": "first_start"}))
    found = decide(at=at, known=seen(), created_at=old, facts=KeyFacts(sent=entry()))
    assert found.owed is None
    assert found.replaced is None
    assert (found.captured.baselined, found.captured.refused) == (False, True)
    assert found.became_another


def test_an_identity_that_changed_is_owed_no_longer() -> None:
    found = decide(known=seen(identity="L9"))
    assert found.withdrawals == (Withdrawal("L9", "left_scope"),)
    assert found.captured.identity == "L1"
    assert decide(known=seen(identity=None)).withdrawals == ()
    unnamed = decide(known=seen(identity="L9"), identity=None, body=None, refusals=(NO_NAME,))
    assert unnamed.withdrawals == ()


# ---------------------------------------------------------------- is there anything to decide


@pytest.mark.parametrize(
    ("known", "unchanged"),
    [
        (None, False),
        (seen(hash="new"), True),
        (seen(hash="old"), False),
        (seen(hash="new", again=True), False),
        (seen(hash="new", in_scope=False), False),
    ],
)
def test_what_is_unchanged(known: Captured | None, *, unchanged: bool) -> None:
    assert owed.is_unchanged(known, "new") is unchanged
    assert decide(known=known).changed is not unchanged
    assert owed.must_be_mapped(look(), known, "new") is not unchanged


@pytest.mark.parametrize(
    ("origin", "known", "mapped_again"),
    [
        ("poll", seen(hash="new", refused=True), False),
        ("sweep", seen(hash="new", refused=True), True),
        ("backfill", seen(hash="new", refused=True), True),
        ("sweep", seen(hash="new", baselined=True), False),
        ("backfill", seen(hash="new", baselined=True), True),
        ("backfill", seen(hash="new"), False),
    ],
)
def test_what_is_mapped_again_although_it_is_unchanged(origin: Any, known: Captured, *, mapped_again: bool) -> None:
    assert owed.must_be_mapped(look(origin=origin), known, "new") is mapped_again


def test_a_scan_remembers_what_it_met() -> None:
    met = owed.met(look(origin="sweep"), seen())
    assert met == KeyDecision(captured=seen(scan_number=7), changed=False)
    assert owed.met(look(origin="sweep"), seen(scan_number=7)) is None
    assert owed.met(look(), seen()) is None


@pytest.mark.parametrize(
    ("origin", "known", "number"), [("poll", None, 0), ("poll", seen(), 3), ("sweep", seen(), 7), ("backfill", None, 7)]
)
def test_which_scan_met_a_key_last(origin: Any, known: Captured | None, number: int) -> None:
    assert decide(at=look(origin=origin), known=known).captured.scan_number == number


@pytest.mark.parametrize(
    ("content", "in_scope"),
    [
        (Content("1", in_scope=True, root={}), True),
        (Content("1", in_scope=False, root={}), False),
        (Content("1", in_scope=True, root=None), False),
    ],
)
def test_what_is_in_scope(content: Content, *, in_scope: bool) -> None:
    assert owed.is_in_scope(content) is in_scope


@pytest.mark.parametrize(("root", "reason"), [({}, "left_scope"), (None, "gone_from_mis")])
def test_what_left_the_scope_is_withdrawn(root: Any, reason: str) -> None:
    content = Content("1", in_scope=False, root=root)
    found = owed.left(look(), content, seen(again=True))
    left = seen(in_scope=False, captured_at=NOW, gone=root is None)
    assert found == KeyDecision(captured=left, withdrawals=(Withdrawal("L1", reason),))
    assert found.changed
    assert not found.new


def test_what_was_not_known_in_scope_cannot_leave_it() -> None:
    content = Content("1", in_scope=False, root={})
    assert owed.left(look(), content, None) is None
    assert owed.left(look(), content, seen(in_scope=False)) is None
    unnamed = owed.left(look(), content, seen(identity=None))
    assert unnamed is not None
    assert unnamed.withdrawals == ()


# ---------------------------------------------------------------- under which ids Kiva may list it


def ids(resource: str = "loan_draft", facts: KeyFacts | None = None, **changes: Any) -> list[str]:
    aliases = changes.pop("aliases", {})
    row = MappedKey("1", changes.pop("known", None), mapped(resource, **changes), "new")
    return owed.ids_to_look_up(look(resource, aliases=aliases), row, facts or KeyFacts())


def test_the_ids_of_a_draft_are_its_own_and_those_of_its_members() -> None:
    members = [{"loan_id": "M1", "amount": "1"}, {"loan_id": "L1", "amount": "1"}]
    body = {"entreps": members, "internal_loan_id": "G1"}
    found = ids(loan_id="L1", body=body)
    assert found[0] == "L1"
    assert sorted(found) == sorted({"L1", "M1", "G1"})
    assert ids(body=None, refusals=(NO_NAME,)) == ["L1"]
    assert ids(loan_id="L1", body=body, facts=KeyFacts(other_row=("loan_draft", "2"))) == ["L1"]


def test_the_ids_of_a_position_and_of_a_journal() -> None:
    assert ids("repayment", identity="L1", loan_id="other") == ["L1"]
    assert ids("repayment", identity=None) == ["(1)"]
    assert ids("journal", loan_id="L1", body={"entreps": [{"loan_id": "no", "amount": "1"}]}) == ["L1"]


def test_ids_that_somebody_typed_at_kiva() -> None:
    assert ids("journal", aliases={"typed": "L1", "other": "L2"}) == ["L1", "typed"]
    # What Kiva has under this very id is another loan of the MIS.
    assert ids("journal", aliases={"L1": "L2"}) == []
    assert ids("journal", aliases={"L1": "L1"}) == ["L1", "L1"]


# ---------------------------------------------------------------- marks, and ids


def test_a_mark_goes_when_its_row_left_the_scope() -> None:
    gone = Content("1", in_scope=False, root=None)
    found = owed.left(look(), gone, seen(in_scope=False, again=True))
    assert found is not None
    assert (found.captured.again, found.captured.in_scope, found.changed, found.withdrawals) == (
        False,
        False,
        False,
        (),
    )
    assert owed.left(look(), gone, seen(in_scope=False)) is None


def test_a_draft_that_kiva_may_have_in_other_letters_waits_for_a_person() -> None:
    found = decide(facts=KeyFacts(perhaps=True))
    assert found.owed is not None
    assert (found.owed.waits, found.owed.body is not None) == ("perhaps_at_kiva", True)
    adopted = decide(facts=KeyFacts(perhaps=True, adopted={"kiva_id": "K1"}))
    assert adopted.owed is not None
    assert adopted.owed.waits is None


def test_a_journal_whose_loan_kiva_may_have_in_other_letters_waits_for_a_person() -> None:
    assert result("journal", facts=KeyFacts(perhaps=True)).waits == "perhaps_at_kiva"


def test_a_journal_goes_under_kivas_spelling_of_the_id() -> None:
    found = result("journal", facts=KeyFacts(at_kiva={"L1": loan("L1 ")}))
    assert found.loan_id == "L1 "
    assert '"internal_loan_id":"L1 "' in (found.body or "")


def test_an_alias_is_the_same_however_it_is_spelled() -> None:
    assert look(aliases={"typed": "L1"}).ids("L1 ") == ["L1 ", "typed"]
    assert look(aliases={"L1": "L2"}).ids(" L1") == []
