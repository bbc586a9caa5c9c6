"""What differs from normal, in words: a sentence for each finding, and lines below it: what follows, what to type."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import assert_never

from kiva_relay.account import finding
from kiva_relay.account.deadline import Deadline, PublishBy, ReportCloses
from kiva_relay.account.finding import HealthFinding
from kiva_relay.account.standing import Standing
from kiva_relay.cli import figure, hold_words, list_words, nameless_words, person_words, words
from kiva_relay.outbox.entry import Entry
from kiva_relay.words import spoken
from kiva_relay.words.spoken import marked, tr

_FEW = 5
_LOOPS: Mapping[str, tuple[str, ...]] = {
    "capture": marked("reading the MIS"),
    "courier": marked("sending to Kiva"),
    "refresher": marked("reading Kiva's lists"),
    "heartbeat": marked("writing its heartbeat"),
    "audit": marked("comparing what it counted with what is there"),
    "purge": marked("deleting old bodies"),
    "reload": marked("looking for a reload"),
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
            return tr("The MIS is being read for the first time since the start. Nothing needs you."), ()
        case finding.StreamBroken():
            return _stream_broken(one)
        case finding.StreamPiles():
            return _stream_piles(one)
        case finding.ListBeingRead():
            return list_words.list_being_read(one)
        case finding.ListOld():
            return list_words.list_old(one)
        case finding.ListTaken():
            return list_words.list_taken(one, facts)
        case finding.ListsNotGiven():
            return list_words.lists_not_given(one)
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
            return person_words.for_persons(one)
        case finding.SaidDifferently():
            text = tr(
                "MIS, outbox and Kiva say different things of {n} loan: {kinds}.",
                "MIS, outbox and Kiva say different things of {n} loans: {kinds}.",
                n=sum(one.kinds.values()),
                kinds=", ".join(sorted(one.kinds)),
            )
            return text, (words.to_type(tr("See which, and what to do"), "kiva-relay reconcile"),)
        case finding.EditedNotInForce():
            files = spoken.joined([*one.files])
            text = tr("Edited, but not in force: {files}. The version before stays in force.", files=files)
            return text, (words.to_type(tr("Put it in force"), "kiva-relay reload"),)
        case finding.MailNotSent():
            return _mail_not_sent(one, facts)
        case finding.AllDelivered():
            return _all_delivered(one, facts)
    assert_never(one)


def deadline(one: Deadline, facts: Standing) -> str:
    """A deadline in words."""
    match one:
        case PublishBy():
            return tr(
                "{n} loan draft not at Kiva yet, to be published in PA2 by {day}: {loans}",
                "{n} loan drafts not at Kiva yet, to be published in PA2 by {day} (the first): {loans}",
                n=len(one.entries),
                day=figure.day(one.day),
                loans=_loans(one.entries),
            )
        case ReportCloses():
            return tr(
                "{n} position not sent yet; the report closes {moment} (in {left}). Kiva bills a loan that is not"
                " reported as if it were repaid on schedule.",
                "{n} positions not sent yet; the report closes {moment} (in {left}). Kiva bills a loan that is not"
                " reported as if it were repaid on schedule.",
                n=one.positions,
                moment=_moment(facts, one.at),
                left=figure.length(one.at - facts.now),
            )
    assert_never(one)


def _relay_stopped(one: finding.RelayStopped, facts: Standing) -> Said:
    if one.last is None:
        sentence = tr("The relay is not running. Nothing is lost, nothing was sent twice.")
    else:
        sentence = tr(
            "The relay gave its last sign of life {age} ago ({moment}), and did not stop in order. Nothing is lost,"
            " nothing was sent twice.",
            age=figure.length(facts.now - one.last),
            moment=_moment(facts, one.last),
        )
    return sentence, (
        tr("Until it runs, the MIS is not read and nothing is sent. Then it continues where it was."),
        words.to_type(tr("Start it"), "sudo systemctl start kiva-relay"),
        words.to_type(tr("Why it stopped"), "sudo journalctl -u kiva-relay -n 50"),
    )


def _relay_mute(one: finding.RelayMute, facts: Standing) -> Said:
    sentence = tr(
        "The relay runs (process {pid}), and has not been able to write into its outbox for {age}.",
        pid=str(one.pid),
        age=figure.length(facts.now - one.last),
    )
    return sentence, (
        tr("Nothing is sent until it can, and nothing is lost. Its disk fails, is full or read-only, or it hangs."),
        words.to_type(tr("See the disk"), f"df -h {_folder(facts)}"),
        words.to_type(tr("What it says"), "sudo journalctl -u kiva-relay -n 50"),
    )


def _folder(facts: Standing) -> str:
    file = facts.settings.outbox.file
    return "" if file is None else shlex.quote(str(file.parent))


def _disk_full(one: finding.DiskFull) -> Said:
    sentence = tr(
        "The disk is almost full: {free}. Nothing is sent until there is room. Nothing is lost.", free=one.free
    )
    return sentence, (
        tr("What Kiva answers has to be recorded, and there may be no room for it."),
        words.to_type(tr("See the disks"), "df -h"),
    )


def _mapping_unfit(one: finding.MappingUnfit) -> Said:
    sentence = tr(
        "The mapping {name} does not fit the MIS, and is not read: {mistake}", name=one.mapping, mistake=one.mistake
    )
    return sentence, (
        tr("Nothing is lost: what it misses now is read when it fits again. The other mappings go on."),
        words.to_type(tr("See all of it"), "kiva-relay mapping check"),
        words.to_type(tr("Then"), "kiva-relay reload"),
    )


def _kiva_away(one: finding.KivaAway, facts: Standing) -> Said:
    sentence = tr(
        "Kiva has not answered since {moment} ({age}). Nothing is lost, nothing was sent twice.",
        moment=_moment(facts, one.since),
        age=figure.length(facts.now - one.since),
    )
    further = [tr("It continues by itself: Kiva is asked again and again, by a harmless request.")]
    if one.words:
        further.append(words.to_type(tr("What came back"), words.quoted(one.words)))
    if one.corrected or one.cancelled:
        further.append(
            tr(
                "Meanwhile corrected in the MIS: {corrected} (the new version will be sent); cancelled: {cancelled}"
                " (will not be sent).",
                corrected=words.counted(one.corrected),
                cancelled=words.counted(one.cancelled),
            )
        )
    return sentence, further


def _mis_away(one: finding.MisAway, facts: Standing) -> Said:
    sentence = tr(
        "The MIS has not been readable since {moment} ({age}). Nothing is lost.",
        moment=_moment(facts, one.since),
        age=figure.length(facts.now - one.since),
    )
    return sentence, (
        tr("It continues by itself, where it was. What was read before is sent meanwhile."),
        words.to_type(tr("What came back"), words.quoted(one.words)),
        words.to_type(tr("Look closer"), "kiva-relay check"),
    )


def _stream_broken(one: finding.StreamBroken) -> Said:
    return tr("Changes do not come by the MIS's stream; it is polled instead. Nothing is lost."), (
        words.to_type(tr("Why"), words.quoted(one.why)),
        words.to_type(tr("What is missing"), "kiva-relay watch setup"),
        words.to_type(tr("No longer wanted"), "kiva-relay watch drop"),
    )


def _stream_piles(one: finding.StreamPiles) -> Said:
    kept = figure.megabytes(one.kept)
    return tr("The MIS keeps {size} of its log for the relay's slot. Nothing is lost.", size=kept), (
        tr("It grows until the relay has read it, or the server drops it; then the whole book is compared."),
        words.to_type(tr("Look closer"), "kiva-relay check"),
    )


def _not_looked_at_yet(one: finding.NotLookedAtYet) -> Said:
    known = f" ({words.counted(one.things)})" if one.things else ""
    further = []
    for stream, rows in one.unread.items():
        if rows is None:
            further.append(tr("{name}: the book is being read in; how many rows is not known yet.", name=stream))
        else:
            further.append(
                tr(
                    "{name}: the book is being read in; {n} row left.",
                    "{name}: the book is being read in; {n} rows left.",
                    n=rows,
                    name=stream,
                )
            )
    return tr("Not everything that may be owed was looked at yet{known}. Nothing is lost.", known=known), (
        *further,
        tr("It goes on by itself."),
    )


def _overdue(one: finding.Overdue) -> Said:
    further = []
    if one.on_their_way:
        on_their_way = words.counted(one.on_their_way)
        further.append(tr("Due for more than an hour, and not at Kiva: {what}.", what=on_their_way))
    if one.waiting:
        further.append(tr("Waiting, and perhaps in vain: {what}.", what=words.counted(one.waiting)))
        further.append(words.to_type(tr("Which, and for what"), "kiva-relay outbox list --state waiting"))
    return tr("Something takes longer than it should. Nothing is lost, nothing was sent twice."), further


def _sending_switched_off(facts: Standing) -> Said:
    return tr("kiva.send is false: everything is read, mapped and shown, and nothing is sent. Nothing is lost."), (
        tr("To send, write kiva: {{send: true}} in {file}, then:", file=facts.settings.file),
        words.to_type(tr("Restart"), "sudo systemctl restart kiva-relay"),
    )


def _loop_stuck(one: finding.LoopStuck) -> Said:
    doing = tr(*_LOOPS[one.loop]) if one.loop in _LOOPS else one.loop
    sentence = tr(
        "The relay has not succeeded in {doing} for ten minutes: {why}. Nothing is lost.", doing=doing, why=one.why
    )
    return sentence, (
        tr("It tries again by itself."),
        words.to_type(tr("What happened"), "sudo journalctl -u kiva-relay -n 50"),
        words.to_type(tr("Start it again"), "sudo systemctl restart kiva-relay"),
    )


def _clock_off(one: finding.ClockOff) -> Said:
    by = figure.length(one.behind)
    if one.behind > timedelta(0):
        sentence = tr("The clock of this machine is {by} behind Kiva's. Nothing is lost.", by=by)
    else:
        sentence = tr("The clock of this machine is {by} ahead of Kiva's. Nothing is lost.", by=by)
    return sentence, (
        tr("The days of the report and of publishing go by Kiva's clock. Moments in lists are wrong as long as it is."),
        words.to_type(tr("Look"), "timedatectl"),
        words.to_type(tr("Set it by itself"), "sudo timedatectl set-ntp true"),
    )


def _job_late(one: finding.JobLate, facts: Standing) -> Said:
    if one.last_run is None:
        last = tr("It has not run since the relay started. It is tried again by itself.")
    elif one.error:
        last = tr(
            "It last ran at {moment}, and ended with {error}. It is tried again by itself.",
            moment=_moment(facts, one.last_run),
            error=one.error,
        )
    else:
        last = tr("It last ran at {moment}. It is tried again by itself.", moment=_moment(facts, one.last_run))
    return tr("The job “{job}” is {by} late. Nothing is lost.", job=one.job, by=figure.length(one.by)), (
        last,
        words.to_type(tr("What happened"), "sudo journalctl -u kiva-relay -n 50"),
    )


def _mail_not_sent(one: finding.MailNotSent, facts: Standing) -> Said:
    further = []
    if one.waiting and one.since is not None:
        sentence = tr(
            "{n} mail could not be sent, since {moment}. Nothing else waits for it.",
            "{n} mails could not be sent, since {moment}. Nothing else waits for it.",
            n=one.waiting,
            moment=_moment(facts, one.since),
        )
        further = [words.to_type(tr("What came back"), words.quoted(one.words)), tr("It is tried again by itself.")]
    else:
        sentence = tr("The mail server does not take mail for everybody. The others get theirs.")
    further += [words.to_type(tr("To {address}", address=to), words.quoted(said)) for to, said in one.refused]
    return sentence, (*further, words.to_type(tr("Look closer"), "kiva-relay mail test"))


def _all_delivered(one: finding.AllDelivered, facts: Standing) -> Said:
    moment, what = _moment(facts, one.until), words.counted(one.under_way)
    further = []
    if one.waiting:
        further.append(tr("Waiting for what is still to come: {what}.", what=words.counted(one.waiting)))
    if not one.under_way:
        sentence = tr(
            "Everything that the MIS owed Kiva until {moment} is delivered. Nothing needs you.", moment=moment
        )
        return sentence, further
    if one.due is None:
        sentence = tr(
            "Everything that the MIS owed Kiva until {moment} is delivered, except for {what} being sent now. Nothing"
            " needs you.",
            moment=moment,
            what=what,
        )
        return sentence, further
    sentence = tr(
        "Everything that the MIS owed Kiva until {moment} is delivered, except for {what} still to go. Nothing needs"
        " you.",
        moment=moment,
        what=what,
    )
    by = tr(
        "They go by {moment}: what was typed less than {quiet} ago may still be corrected (delivery.hold_for).",
        moment=_moment(facts, one.due),
        quiet=figure.length(facts.settings.delivery.hold_for),
    )
    return sentence, (by, *further)


def _loans(entries: Sequence[Entry]) -> str:
    more = len(entries) - _FEW
    some = " ".join(words.loan(entry) for entry in entries[:_FEW])
    return tr("{some} and {n} more", "{some} and {n} more", n=more, some=some) if more > 0 else some


def _moment(facts: Standing, when: datetime) -> str:
    return figure.moment(when, facts.settings, at=facts.now)
