"""What differs from normal, in words: a sentence for each finding, and lines below it: what follows, what to type."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import assert_never

from kiva_relay import errors
from kiva_relay.account import finding
from kiva_relay.account.deadline import Deadline, PublishBy, ReportCloses
from kiva_relay.account.finding import HealthFinding
from kiva_relay.account.standing import Standing
from kiva_relay.cli import figure, hold_words, nameless_words, words
from kiva_relay.outbox import catalogue
from kiva_relay.outbox.entry import Entry

_FEW = 5
_LOOPS: Mapping[str, str] = {
    "capture": "reading the MIS",
    "courier": "sending to Kiva",
    "refresher": "reading Kiva's lists",
    "heartbeat": "writing its heartbeat",
    "audit": "comparing what it counted with what is there",
    "purge": "deleting old bodies",
    "reload": "looking for a reload",
}

Said = tuple[str, Sequence[str]]
"""A sentence, and the lines below it."""


def said(one: HealthFinding, facts: Standing) -> Said:  # noqa: C901, PLR0912 - one case a finding
    """A finding in words."""
    match one:
        case finding.RelayStopped():
            return _relay_stopped(one, facts)
        case finding.RelayMute():
            return _relay_mute(one, facts)
        case finding.DiskFull():
            return _disk_full(one)
        case finding.MappingUnfit():
            return _mapping_unfit(one)
        case finding.RowsNameless():
            return nameless_words.sentence(one.mapping, one.known), tuple(nameless_words.lines(one.known))
        case finding.HeldBack():
            return hold_words.held(one, facts.settings, now=facts.now)
        case finding.KivaAway():
            return _kiva_away(one, facts)
        case finding.MisAway():
            return _mis_away(one, facts)
        case finding.MisNotReadYet():
            return "The MIS is being read for the first time since the start. Nothing needs you.", ()
        case finding.StreamBroken():
            return _stream_broken(one)
        case finding.StreamPiles():
            return _stream_piles(one)
        case finding.ListBeingRead():
            return _list_being_read(one)
        case finding.ListOld():
            return _list_old(one)
        case finding.ListTaken():
            return _list_taken(one, facts)
        case finding.ListsNotGiven():
            return _lists_not_given(one)
        case finding.NotLookedAtYet():
            return _not_looked_at_yet(one)
        case finding.Overdue():
            return _overdue(one)
        case finding.SendingSwitchedOff():
            return _sending_switched_off(facts)
        case finding.LoopStuck():
            return _loop_stuck(one)
        case finding.ClockOff():
            return _clock_off(one)
        case finding.JobLate():
            return _job_late(one, facts)
        case finding.ForPersons():
            return _for_persons(one)
        case finding.SaidDifferently():
            number = errors.counted(sum(one.kinds.values()), "loan")
            text = f"MIS, outbox and Kiva say different things of {number}: {', '.join(sorted(one.kinds))}."
            return text, (words.to_type("See which, and what to do", "kiva-relay reconcile"),)
        case finding.EditedNotInForce():
            text = f"Edited, but not in force: {words.joined(one.files)}. The version before stays in force."
            return text, (words.to_type("Put it in force", "kiva-relay reload"),)
        case finding.MailNotSent():
            return _mail_not_sent(one, facts)
        case finding.AllDelivered():
            return _all_delivered(one, facts)
    assert_never(one)


def deadline(one: Deadline, facts: Standing) -> str:
    """A deadline in words."""
    match one:
        case PublishBy():
            number = errors.counted(len(one.entries), "loan draft")
            day = figure.day(one.day) + (" (the first)" if len(one.entries) > 1 else "")
            return f"{number} not at Kiva yet, to be published in PA2 by {day}: {_loans(one.entries)}"
        case ReportCloses():
            return (
                f"{errors.counted(one.positions, 'position')} not sent yet; the report closes {_moment(facts, one.at)}"
                f" (in {figure.length(one.at - facts.now)}). Kiva bills a loan that is not reported"
                " as if it were repaid on schedule."
            )
    assert_never(one)


def _relay_stopped(one: finding.RelayStopped, facts: Standing) -> Said:
    if one.last is None:
        sentence = "The relay is not running. Nothing is lost, nothing was sent twice."
    else:
        sentence = (
            f"The relay gave its last sign of life {figure.length(facts.now - one.last)} ago"
            f" ({_moment(facts, one.last)}), and did not stop in order. Nothing is lost, nothing was sent twice."
        )
    return sentence, (
        "Until it runs, the MIS is not read and nothing is sent. Then it continues where it was.",
        words.to_type("Start it", "sudo systemctl start kiva-relay"),
        words.to_type("Why it stopped", "sudo journalctl -u kiva-relay -n 50"),
    )


def _relay_mute(one: finding.RelayMute, facts: Standing) -> Said:
    age = figure.length(facts.now - one.last)
    return f"The relay runs (process {one.pid}), and has not been able to write into its outbox for {age}.", (
        "Nothing is sent until it can, and nothing is lost. Its disk fails, is full or read-only, or it hangs.",
        words.to_type("See the disk", f"df -h {_folder(facts)}"),
        words.to_type("What it says", "sudo journalctl -u kiva-relay -n 50"),
    )


def _folder(facts: Standing) -> str:
    file = facts.settings.outbox.file
    return "" if file is None else shlex.quote(str(file.parent))


def _disk_full(one: finding.DiskFull) -> Said:
    return f"The disk is almost full: {one.free}. Nothing is sent until there is room. Nothing is lost.", (
        "What Kiva answers has to be recorded, and there may be no room for it.",
        words.to_type("See the disks", "df -h"),
    )


def _mapping_unfit(one: finding.MappingUnfit) -> Said:
    return f"The mapping {one.mapping} does not fit the MIS, and is not read: {one.mistake}", (
        "Nothing is lost: what it misses now is read when it fits again. The other mappings go on.",
        words.to_type("See all of it", "kiva-relay mapping check"),
        words.to_type("Then", "kiva-relay reload"),
    )


def _kiva_away(one: finding.KivaAway, facts: Standing) -> Said:
    sentence = (
        f"Kiva has not answered since {_moment(facts, one.since)} ({figure.length(facts.now - one.since)})."
        " Nothing is lost, nothing was sent twice."
    )
    further = ["It continues by itself: Kiva is asked again and again, by a harmless request."]
    if one.words:
        further.append(words.to_type("What came back", words.quoted(one.words)))
    if one.corrected or one.cancelled:
        further.append(
            f"Meanwhile corrected in the MIS: {words.counted(one.corrected)} (the new version will be sent);"
            f" cancelled: {words.counted(one.cancelled)} (will not be sent)."
        )
    return sentence, further


def _mis_away(one: finding.MisAway, facts: Standing) -> Said:
    since, length = _moment(facts, one.since), figure.length(facts.now - one.since)
    return f"The MIS has not been readable since {since} ({length}). Nothing is lost.", (
        "It continues by itself, where it was. What was read before is sent meanwhile.",
        words.to_type("What came back", words.quoted(one.words)),
        words.to_type("Look closer", "kiva-relay check"),
    )


def _stream_broken(one: finding.StreamBroken) -> Said:
    return "Changes do not come by the MIS's stream; it is polled instead. Nothing is lost.", (
        words.to_type("Why", words.quoted(one.why)),
        words.to_type("What is missing", "kiva-relay watch setup"),
        words.to_type("No longer wanted", "kiva-relay watch drop"),
    )


def _stream_piles(one: finding.StreamPiles) -> Said:
    return f"The MIS keeps {figure.megabytes(one.kept)} of its log for the relay's slot. Nothing is lost.", (
        "It grows until the relay has read it, or the server drops it; then the whole book is compared.",
        words.to_type("Look closer", "kiva-relay check"),
    )


def _list_being_read(one: finding.ListBeingRead) -> Said:
    if not one.drafts:
        sentence = "Kiva's list of loans has not been read yet. Nothing is lost."
        further = ["Without it nobody knows what Kiva has, and what it expects. It is asked for again and again."]
    else:
        number = errors.counted(one.drafts, "loan draft")
        sentence = f"{number} ready; Kiva's list of loans is being read first. Nothing is lost."
        further = ["That way no loan is posted that Kiva already has. It continues by itself."]
    return sentence, (*further, *_last_time(one.why), *_take_it(one))


def _list_old(one: finding.ListOld) -> Said:
    age = figure.length(one.age)
    return f"Kiva's list of loans was last read completely {age} ago. Nothing is lost.", (
        "That is too old to say what Kiva expects."
        if one.settles
        else "That is too old to settle what is in doubt, and to say what Kiva expects.",
        *_last_time(one.why),
        *_take_it(one),
        words.to_type("Why", "kiva-relay check"),
    )


def _take_it(one: finding.ListBeingRead | finding.ListOld) -> tuple[str, ...]:
    return (words.to_type("If PA2 shows all", 'kiva-relay release mirror --note "…"'),) if one.may_be_taken else ()


def _list_taken(one: finding.ListTaken, facts: Standing) -> Said:
    since = figure.moment(one.since, facts.settings, at=facts.now)
    return f"Kiva's list of loans is not whole: {one.why}. {one.by} takes it as it is, since {since}.", (
        f"The note: “{one.note}”. Drafts go by what it lists; that something is not listed proves nothing.",
        "It is taken so as long as it lacks just that. What is in doubt waits for a person.",
    )


def _last_time(why: str) -> tuple[str, ...]:
    return (words.to_type("The last time", words.quoted(why)),) if why else ()


def _lists_not_given(one: finding.ListsNotGiven) -> Said:
    since = "have not been given yet" if one.age is None else f"were last given {figure.length(one.age)} ago"
    return f"Kiva's lists ({', '.join(catalogue.KINDS)}) {since}. Nothing is lost.", (
        "Drafts that look something up there wait, or go by the old list. They are asked for again by themselves.",
        words.to_type("Why", "kiva-relay check"),
    )


def _not_looked_at_yet(one: finding.NotLookedAtYet) -> Said:
    known = f" ({words.counted(one.things)})" if one.things else ""
    further = []
    for stream, rows in one.unread.items():
        left = "how many rows is not known yet" if rows is None else f"{rows:,} rows left"
        further.append(f"{stream}: the book is being read in; {left}.")
    return f"Not everything that may be owed was looked at yet{known}. Nothing is lost.", (
        *further,
        "It goes on by itself.",
    )


def _overdue(one: finding.Overdue) -> Said:
    further = []
    if one.on_their_way:
        further.append(f"Due for more than an hour, and not at Kiva: {words.counted(one.on_their_way)}.")
    if one.waiting:
        further.append(f"Waiting, and perhaps in vain: {words.counted(one.waiting)}.")
        further.append(words.to_type("Which, and for what", "kiva-relay outbox list --state waiting"))
    return "Something takes longer than it should. Nothing is lost, nothing was sent twice.", further


def _sending_switched_off(facts: Standing) -> Said:
    return "kiva.send is false: everything is read, mapped and shown, and nothing is sent. Nothing is lost.", (
        f"To send, write kiva: {{send: true}} in {facts.settings.file}, then:",
        words.to_type("Restart", "sudo systemctl restart kiva-relay"),
    )


def _loop_stuck(one: finding.LoopStuck) -> Said:
    doing = _LOOPS.get(one.loop, one.loop)
    return f"The relay has not succeeded in {doing} for ten minutes: {one.why}. Nothing is lost.", (
        "It tries again by itself.",
        words.to_type("What happened", "sudo journalctl -u kiva-relay -n 50"),
        words.to_type("Start it again", "sudo systemctl restart kiva-relay"),
    )


def _clock_off(one: finding.ClockOff) -> Said:
    way = "behind" if one.behind > timedelta(0) else "ahead of"
    return f"The clock of this machine is {figure.length(one.behind)} {way} Kiva's. Nothing is lost.", (
        "The days of the report and of publishing go by Kiva's clock. Moments in lists are wrong as long as it is.",
        words.to_type("Look", "timedatectl"),
        words.to_type("Set it by itself", "sudo timedatectl set-ntp true"),
    )


def _job_late(one: finding.JobLate, facts: Standing) -> Said:
    last = "It has not run since the relay started"
    if one.last_run is not None:
        ended = f", and ended with {one.error}" if one.error else ""
        last = f"It last ran at {_moment(facts, one.last_run)}{ended}"
    return f"The job “{one.job}” is {figure.length(one.by)} late. Nothing is lost.", (
        f"{last}. It is tried again by itself.",
        words.to_type("What happened", "sudo journalctl -u kiva-relay -n 50"),
    )


def _for_persons(one: finding.ForPersons) -> Said:
    """What waits for a person, in one line; the list is in `review`."""
    few = ", ".join([*map(words.number, one.doubts[:_FEW]), *(["…"] if len(one.doubts) > _FEW else [])])
    table = (
        (one.in_doubt, f"{one.in_doubt:,} in doubt ({few})"),
        (one.decisions, f"{errors.counted(one.decisions, 'position')} to decide"),
        (one.perhaps, f"{one.perhaps:,} perhaps at Kiva in other letters"),
        (one.duplicates, f"{errors.counted(one.duplicates, 'draft')} that may be owed twice"),
        (one.divergences, f"{errors.counted(one.divergences, 'change')} in the MIS after sending"),
        (one.refused, f"{one.refused:,} refused"),
        (one.warned, f"{errors.counted(one.warned, 'call')} of which Kiva named a problem"),
        (one.closed_unknown, f"{errors.counted(one.closed_unknown, 'position')} unknown when the report closed"),
        (one.missing, f"{errors.counted(one.missing, 'loan')} that Kiva expects and the MIS does not give"),
        (one.left_at_closing, f"{errors.counted(one.left_at_closing, 'position')} not sent before the report closed"),
        (
            one.undecided_at_closing,
            f"{errors.counted(one.undecided_at_closing, 'position')} not decided before the report closed",
        ),
        (one.others, f"{one.others:,} more to look at"),
    )
    parts = [text for number, text in table if number]
    return f"For a person: {words.joined(parts)}. Nothing is lost, nothing was sent twice.", (
        "Nothing of this ends until somebody has looked.",
        words.to_type("The list", "kiva-relay review"),
    )


def _mail_not_sent(one: finding.MailNotSent, facts: Standing) -> Said:
    further = []
    if one.waiting and one.since is not None:
        number = errors.counted(one.waiting, "mail")
        sentence = f"{number} could not be sent, since {_moment(facts, one.since)}. Nothing else waits for it."
        further = [words.to_type("What came back", words.quoted(one.words)), "It is tried again by itself."]
    else:
        sentence = "The mail server does not take mail for everybody. The others get theirs."
    further += [words.to_type(f"To {address}", words.quoted(said)) for address, said in one.refused]
    return sentence, (*further, words.to_type("Look closer", "kiva-relay mail test"))


def _all_delivered(one: finding.AllDelivered, facts: Standing) -> Said:
    delivered = f"Everything that the MIS owed Kiva until {_moment(facts, one.until)} is delivered"
    further = []
    if one.waiting:
        further.append(f"Waiting for what is still to come: {words.counted(one.waiting)}.")
    if not one.under_way:
        return f"{delivered}. Nothing needs you.", further
    if one.due is None:
        return f"{delivered}, except for {words.counted(one.under_way)} being sent now. Nothing needs you.", further
    quiet = figure.length(facts.settings.delivery.hold_for)
    by = f"They go by {_moment(facts, one.due)}: what was typed less than {quiet} ago may still be corrected"
    sentence = f"{delivered}, except for {words.counted(one.under_way)} still to go. Nothing needs you."
    return sentence, (f"{by} (delivery.hold_for).", *further)


def _loans(entries: Sequence[Entry]) -> str:
    more = len(entries) - _FEW
    return " ".join(words.loan(entry) for entry in entries[:_FEW]) + (f" and {more} more" if more > 0 else "")


def _moment(facts: Standing, when: datetime) -> str:
    return figure.moment(when, facts.settings, at=facts.now)
