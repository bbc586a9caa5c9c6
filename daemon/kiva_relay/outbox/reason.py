"""Why something can be held: one table with all that is known of each reason.

Whoever puts a hold names a code of this table; whoever shows one, or releases it, asks this table. A reason that is
not in it cannot be given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from typing import Any

from kiva_relay.frozen import dataclass


class Lifter(StrEnum):
    """Who takes a hold away, and when."""

    PERSON = "a person, with `release`"
    KIVA = "the relay itself, once Kiva agrees"
    LIST = "the relay itself, once Kiva's list can be read"
    CLOCK = "the relay itself, once the clocks agree"
    COMPARISON = "the relay itself, once all rows were compared"


@dataclass(frozen=True)
class HoldReason:
    """What a person has to know about one reason.

    `words` complete the sentence "Loan drafts are held: …". `known` are paragraphs in which `{name}` is a parameter of
    the hold; one whose parameter is missing is left out. `look` is what to type before deciding: what it shows, and
    the command. `release` says what the command is for that releases it, `released` what else follows from that.
    `grave`: the relay may be wrong about what is at Kiva, and whoever releases without looking may send twice.
    `few_first`: a few of what waits show whether the rest is right. `adopted_too`: it matters how many are not sent
    because Kiva has them. `by_witness`: the witness showed it, and `outbox recover` says what stays open.
    """

    words: str
    lifter: Lifter = Lifter.PERSON
    grave: bool = False
    few_first: bool = False
    adopted_too: bool = False
    by_witness: bool = False
    known: tuple[str, ...] = ()
    look: tuple[tuple[str, str], ...] = ()
    release: str = "Send all of it"
    released: str = ""

    @property
    def lifts_itself(self) -> bool:
        """Does the relay lift it? Then nobody is to be advised to release it."""
        return self.lifter is not Lifter.PERSON

    def paragraphs(self, params: Mapping[str, Any], say: Callable[..., str] = str.format) -> Iterator[str]:
        """What is known of one hold: the paragraphs whose parameters are all there; `say` fills in a sentence's."""
        given = {name: str(value) for name, value in params.items() if value is not None}
        for one in self.known:
            try:
                yield say(one, **given)
            except KeyError:
                continue


_UPGRADED = "Not edited here: the ready-made {base} changed with the upgrade from version {before} to {now}."

REASONS: Mapping[str, HoldReason] = {
    "first_start": HoldReason(
        "this is the first start with this Kiva",
        few_first=True,
        adopted_too=True,
        known=("A draft that somebody typed into PA2 and did not publish is not seen at Kiva: it may be among them.",),
    ),
    "first_report": HoldReason(
        "the first report of this relay is not sent by itself",
        known=("Compare some amounts with last month's report before you release it.",),
    ),
    "basis_changed": HoldReason(
        "repayments.basis was changed: what an amount means is another thing now",
        known=(
            "It was {was}, and is {is} now. A wrong basis is a wrong invoice: was it agreed with Kiva?",
            "Compare some amounts with last month's report before you release it.",
        ),
    ),
    "restored_outbox": HoldReason(
        "the outbox may be older than what was sent",
        grave=True,
        by_witness=True,
        known=(
            "Last attempt in the outbox: {outbox}; in the witness: {witness}. Was a backup put back?",
            "Taken from the witness: {delivered} delivered; {in_doubt} in doubt, for a person.",
            "Positions that are sent again, which does no harm: {positions}.",
            "Its PostgreSQL is another one: {is} now, {was} before. It may lack what {machines} sent last.",
            "As soon as the relay runs there again, it tells what it sent, and this ends by itself: {machines}.",
            "Is it dead? The witness of {machines}, copied here:   kiva-relay outbox recover --witness FILE",
            "What persons decided since then may be lost: it has to be decided again.",
        ),
        look=(("What stays open", "kiva-relay outbox recover"),),
    ),
    "witness_missing": HoldReason(
        "the file that remembers outside the outbox what was sent is missing or incomplete",
        grave=True,
        by_witness=True,
        known=(
            "It was {file}. Without it, nobody would notice that an older outbox was put back.",
            "Was it moved, or outbox.witness changed? Then put it back, and:   sudo systemctl restart kiva-relay",
            "Put back whole, it needs no release: the relay goes on by itself.",
            "Was the outbox restored on a new machine? Then only PA2 knows what it lacks.",
        ),
        look=(
            ("Drafts in PA2", 'kiva-relay outbox adopt --csv in-pa2.csv --note "seen in PA2"'),
            ("What stays open", "kiva-relay outbox recover"),
        ),
    ),
    "mis_went_back": HoldReason(
        "the MIS looks older than it was",
        grave=True,
        known=(
            "{stream}: its highest key was {was}, and is {highest} now.",
            "{stream}: the row with key {key} is another one than before.",
            "It was the database {was}, and is {is} now.",
            "Was a backup of the MIS restored? Its next loan numbers may go to other borrowers.",
            "It is being read again. When it is complete, read all of it once more.",
        ),
        look=(
            ("How far that is", "kiva-relay watermark show"),
            ("Lost in the MIS", "kiva-relay review"),
            ("When complete", 'kiva-relay watermark set --note "complete"'),
        ),
    ),
    "mapping_examined": HoldReason(
        "an edited mapping is being compared with what waits",
        lifter=Lifter.COMPARISON,
        known=(
            _UPGRADED,
            "Every row that it covers is read again. If much changes, a person is asked before anything is sent.",
        ),
    ),
    "mapping_changes_much": HoldReason(
        "an edited mapping changes much of what waits",
        few_first=True,
        known=("{mapping}: {changed} of the {waiting} that waited are different now.", _UPGRADED),
    ),
    "many_in_doubt": HoldReason(
        "too many answers were lost in a row",
        look=(("Settle these first", "kiva-relay outbox list --state in_doubt"),),
    ),
    "many_refusals": HoldReason(
        "Kiva refused ten times in a row",
        look=(("What Kiva said", "kiva-relay outbox list --state refused"),),
    ),
    "brake": HoldReason(
        "more became owed within an hour than delivery.brake allows",
        few_first=True,
        known=(
            "{number} became owed within {within}; delivery.brake is {brake}.",
            "Was it an import, or a mistake in the MIS?",
        ),
    ),
    "many_left": HoldReason(
        "many of its rows are not in the MIS any more, or out of scope",
        known=(
            "{stream}: {number} of the {of} rows in scope left within a day. Nothing was withdrawn for them.",
            "Are they hidden (row level security, a right, a status renamed)? Put it right, and:   kiva-relay sweep",
            "When a sweep has met all of them, the relay lifts this by itself.",
            "Did they really leave? Then release it: what was not sent of them is withdrawn.",
        ),
        look=(("What the relay sees", "kiva-relay check"),),
        release="They really left",
        released=(
            "What is not there any more counts as gone then: what was not sent of it is withdrawn; what is at Kiva"
            " stands in `review`."
        ),
    ),
    "values_vanished": HoldReason(
        "a field that was always filled is suddenly empty",
        known=(
            "Always filled until now, and empty in {empty} of the last {of} rows: {columns}.",
            "Was the MIS upgraded, or a form changed? Correct the mapping, or the rows; what waits follows by itself.",
            "Is it as it should be? Then release it: the relay learns from then on what is usual.",
        ),
        look=(("See one of them", "kiva-relay mapping preview"),),
    ),
    "destination_fault": HoldReason(
        "Kiva refuses the relay itself, not what it sends",
        lifter=Lifter.KIVA,
        known=(
            "Kiva answered {status} to {path}, and processed nothing. Look at kiva.partner_id and kiva.environment.",
            "{said}",
            "{hint}",
        ),
        look=(("Look closer", "kiva-relay check"),),
    ),
    "scope_missing": HoldReason(
        "Kiva's token does not grant this permission",
        lifter=Lifter.KIVA,
        known=("Kiva has to grant: {scope}. Ask partner support.",),
        look=(("Look closer", "kiva-relay check"),),
    ),
    "another_partner": HoldReason(
        "Kiva's token is for another partner",
        lifter=Lifter.KIVA,
        known=("{said}", "{hint}"),
        look=(("Look closer", "kiva-relay check"),),
    ),
    "clock": HoldReason(
        "clocks differ on which report it is time for, and Kiva does not say the hour",
        lifter=Lifter.CLOCK,
        known=(
            "By one clock or another it would be: {said}. Kiva books what it gets in the month in which it gets it.",
            "Asked were this machine's clock, now and before it was set, the MIS's, and the dates of Kiva's answers.",
        ),
        look=(("Which is wrong", "timedatectl"), ("Look closer", "kiva-relay check")),
    ),
    "list_unreadable": HoldReason(
        "Kiva lists a loan whose loan id cannot be read: it may be one of these",
        lifter=Lifter.LIST,
        known=(
            "{number} in Kiva's list cannot be read: {which}. PA2 shows them; correct their loan id there.",
            "What Kiva lists readably is adopted meanwhile; positions and journals go on.",
        ),
    ),
    "asked": HoldReason(
        "a person asked for it",
        known=("{held_by} held it: “{note}”",),
    ),
}
"""Every reason code."""
