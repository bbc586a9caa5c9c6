"""Notes down the mail that is due, and gives it to the server: once to each recipient, whatever happens in between.

Before a mail is given away, the attempt is committed by the holder of the lease; afterwards, what became of it. Who is
killed in between gives it again, with the same Message-ID.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from email.message import EmailMessage

from sqlalchemy.engine import Connection

from kiva_relay import errors, log, meter
from kiva_relay.account import letter, standing, task
from kiva_relay.account.letter import LetterKind
from kiva_relay.account.standing import Standing
from kiva_relay.clock import Clock
from kiva_relay.config.mail import Recipient
from kiva_relay.config.settings import Settings
from kiva_relay.frozen import dataclass
from kiva_relay.mail import message, smtp
from kiva_relay.mail.smtp import MailFailure
from kiva_relay.outbox import mail, report
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.mail import KeptMail, MailKey
from kiva_relay.outbox.report import Report
from kiva_relay.report import month
from kiva_relay.report.month import Month
from kiva_relay.words import language
from kiva_relay.words import letter as words
from kiva_relay.words.letter import LetterFacts

_REPORTS = 2
_SOON = timedelta(seconds=5)
_READS_WITHIN = timedelta(minutes=10)
_ABOUT_A_MONTH = (LetterKind.OPENED, LetterKind.CLOSES, LetterKind.CLOSED)
_log = log.get("mail")


@dataclass(frozen=True)
class Round:
    """What one round did. `next_at`: when something is due for which nobody knocks; None: nothing is.

    `is_well`: is no mail kept from going?
    """

    sent: int
    next_at: datetime | None
    is_well: bool


class Postman:
    """Goes his rounds. `at` is called with the name of each step; tests end the process there."""

    def __init__(self, outbox: Outbox, *, clock: Clock, at: Callable[[str], None] = lambda _name: None) -> None:
        self._outbox, self._clock, self._at = outbox, clock, at
        self._well_since: datetime | None = None

    def round(self, settings: Settings) -> Round:
        """Note down what is due by now, and send what waits and whose hour has come.

        Raises:
            Stolen: another relay took over.
            OutboxAway: the outbox does not answer.
        """
        now = self._clock.now()
        with self._outbox.read() as tx:
            facts = standing.gather(tx, settings, now=now)
            told = mail.last_about(tx, LetterKind.HEALTH)
            reports, well = _reports(tx), self._well(facts)
            due = letter.due(facts, reports, told=told, well_since=well)
        if not _knows(facts):
            return Round(0, now + _SOON, is_well=False)
        self._note_down(facts, due)
        sent = self._deliver(facts)
        return self._told(sent, letter.next_at(facts, reports, told, well))

    # ---------------------------------------------------------------- what is due

    def _well(self, facts: Standing) -> datetime | None:
        if facts.running is None or letter.is_grave(facts):
            self._well_since = None
        elif self._well_since is None:
            self._well_since = facts.now
        return self._well_since

    def _note_down(self, facts: Standing, due: Sequence[letter.Letter]) -> None:
        of, domain = facts.settings.mail, facts.settings.mail.sender.rpartition("@")[2]
        with self._outbox.read() as tx:
            known = mail.known(tx, [(one.kind, one.about) for one in due])
        wanted = {
            one: [
                key for who in of.of_role(one.role) if (key := MailKey(one.kind, one.about, who.address)) not in known
            ]
            for one in due
        }
        if not any(wanted.values()):
            return
        with self._outbox.begin() as tx:
            for one, keys in wanted.items():
                mail.add(tx, keys, until=one.until, domain=domain, now=facts.now)
        self._at("noted")

    # ---------------------------------------------------------------- on its way

    def _deliver(self, facts: Standing) -> int:
        """Send what waits; how many were taken."""
        self._give_up(facts)
        with self._outbox.read() as tx:
            waits = [one for one in mail.due(tx) if one.due_at <= facts.now]
            made = {} if not waits else self._made(tx, facts, waits)
        sent = 0
        for place, one in enumerate(waits):
            if one.id not in made:
                self._not_taken(one, MailFailure(smtp.Fault.LATER, "it could not be written; the log says why"))
                continue
            try:
                self._send(facts.settings, one, made[one.id])
                sent += 1
            except MailFailure as failure:
                if failure.fault in smtp.OF_THE_SERVER:
                    self._failed(waits[place + 1 :], failure)
                    break
        return sent

    def _give_up(self, facts: Standing) -> None:
        """What is worth nothing any more: its time is over, a newer one says otherwise, nobody gets it any more."""
        with self._outbox.read() as tx:
            waits, latest = mail.due(tx), mail.last_about(tx, LetterKind.HEALTH)
        gets = {one.address for one in facts.settings.mail.recipients}
        over = [
            one
            for one in waits
            if one.until <= facts.now
            or one.address not in gets
            or (one.kind == LetterKind.HEALTH and one.about != latest)
        ]
        if over:
            with self._outbox.begin() as tx:
                for one in over:
                    mail.missed(tx, one, now=facts.now)
            meter.mail_attempts.labels("missed").inc(len(over))

    def _made(self, tx: Connection, facts: Standing, waits: Sequence[KeptMail]) -> Mapping[int, EmailMessage]:
        """Each of them as it travels."""
        tasks = task.tasks(tx, facts)
        months = {period: _month(tx, facts, period) for period in {_period(one) for one in waits}}
        made = {}
        for one in waits:
            found = LetterFacts(facts, tasks, months[_period(one)])
            try:
                made[one.id] = self._written(one, found)
            except Exception:  # noqa: BLE001 - whatever is odd in it costs this mail, and no other
                _log.exception("A mail could not be written", kind=one.kind, about=one.about)
        return made

    def _written(self, one: KeptMail, found: LetterFacts) -> EmailMessage:
        spoken = language.of(_recipient(found.settings, one).language)
        return message.message(
            words.said(LetterKind(one.kind), one.about, found, spoken),
            sender=found.settings.mail.sender,
            to=one.address,
            message_id=one.message_id,
            now=self._clock.now(),
        )

    def _send(self, settings: Settings, one: KeptMail, made: EmailMessage) -> None:
        with self._outbox.begin() as tx:
            mail.begun(tx, one, now=self._clock.now())
        self._at("begun")
        try:
            said = smtp.send(settings.mail, made, to=one.address)
        except errors.RelayError as error:
            failure = MailFailure(smtp.Fault.LOGIN_REFUSED, str(error))
            self._not_taken(one, failure)
            raise failure from None
        except MailFailure as failure:
            self._not_taken(one, failure)
            raise
        self._at("taken")
        with self._outbox.begin() as tx:
            mail.sent(tx, one, words=said, now=self._clock.now())
        meter.mail_attempts.labels("sent").inc()
        _log.info("Mail was sent", kind=one.kind, about=one.about, attempt=one.attempts + 1)

    def _not_taken(self, one: KeptMail, failure: MailFailure) -> None:
        """For ever, of this address alone; or now, and it is tried again."""
        now = self._clock.now()
        with self._outbox.begin() as tx:
            if failure.fault in (smtp.Fault.RECIPIENT_REFUSED, smtp.Fault.CONTENT_REFUSED):
                mail.refused(tx, one, words=failure.words, now=now)
                outcome = "refused"
            else:
                mail.failed(tx, [one], words=failure.words, now=now)
                outcome = "failed"
        meter.mail_attempts.labels(outcome).inc()
        _log.warning("A mail was not taken", kind=one.kind, fault=failure.fault, attempt=one.attempts + 1)

    def _failed(self, others: Sequence[KeptMail], failure: MailFailure) -> None:
        """The server takes nothing at present: the others are not tried in vain."""
        if others:
            with self._outbox.begin() as tx:
                mail.failed(tx, others, words=failure.words, now=self._clock.now())

    def _told(self, sent: int, by_time: datetime | None) -> Round:
        with self._outbox.read() as tx:
            waits, how = mail.due(tx), mail.standing(tx)
        meter.mail_waiting.set(len(waits))
        if how.sent_at is not None:
            meter.mail_last_success.set(how.sent_at.timestamp())
        again = [*(one.due_at for one in waits), *([by_time] if by_time is not None else [])]
        return Round(sent, min(again, default=None), is_well=not how.waiting)


def _knows(facts: Standing) -> bool:
    """Was the heartbeat of this relay written, and the MIS read since its start, or waited for long enough?

    Else the mail of a relay that has just begun would say that none runs, and that nothing is known of the MIS.
    """
    running = facts.running
    return running is not None and (
        running.mis.last_good is not None or facts.now - running.started_at >= _READS_WITHIN
    )


def _reports(tx: Connection) -> list[Report]:
    return report.every(tx)[-_REPORTS:]


def _month(tx: Connection, facts: Standing, period: str | None) -> Month | None:
    """The report of a period; None: the one that is open, if reports have a window."""
    if "repayment" not in facts.settings.resources or (period is None and not facts.report.is_windowed):
        return None
    return month.read(tx, facts.settings, period, now=facts.now)


def _period(one: KeptMail) -> str | None:
    """Which report a mail is about; None: it is about none."""
    return one.about.partition("/")[0] if one.kind in _ABOUT_A_MONTH else None


def _recipient(settings: Settings, one: KeptMail) -> Recipient:
    role = "administrator" if one.kind == LetterKind.HEALTH else "coordinator"
    same = [who for who in settings.mail.recipients if who.address == one.address]
    return next((who for who in same if who.role == role), same[0])
