"""`kiva-relay status`: one word, what differs from normal, what to type; then the small table."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, assert_never

from kiva_relay.account import deadline, finding, health, standing
from kiva_relay.account.deadline import Deadline, PublishBy, ReportCloses
from kiva_relay.account.finding import HealthFinding, Verdict
from kiva_relay.account.line import AccountLine, LineKind
from kiva_relay.account.standing import Standing
from kiva_relay.cli import figure, frame, health_words, scan_words, words
from kiva_relay.outbox import catalogue
from kiva_relay.outbox.heartbeat import Heartbeat
from kiva_relay.outbox.state import FINAL, State
from kiva_relay.words import spoken
from kiva_relay.words.spoken import marked, tr

_GOES = {
    LineKind.DELIVERED: marked("delivered"),
    LineKind.ADOPTED: marked("adopted"),
    LineKind.ON_ITS_WAY: marked("on its way"),
    LineKind.WAITING: marked("waiting"),
    LineKind.LEFT_OUT: marked("left out"),
}
_DOES_NOT_GO = {
    LineKind.DECIDE: marked("to decide"),
    LineKind.REFUSED: marked("refused"),
    LineKind.IN_DOUBT: marked("in doubt"),
    LineKind.HELD: marked("held"),
    LineKind.MISSING: marked("missing"),
    LineKind.NOT_LOOKED_AT_YET: marked("not read yet"),
}
"""The account in two tables, for together they are wider than 80 columns."""

_ABOUT = 16
_PINNED = 600.0
"""Seconds from which on an open transaction of the MIS is worth a line."""


def command(config: frame.Config = None, *, lang: frame.Lang = None, as_json: frame.AsJson = False) -> int:
    """Is it working? The first word says it: OK, NOTE, WAITING, HELD or STOPPED.

    Exit code: 0 for OK and NOTE; 1 when a person has to act (HELD, STOPPED); 3 while a server does not answer.
    """
    settings = frame.load_to_look(config)
    with frame.outbox(settings) as outbox:
        with outbox.read() as tx:
            facts = standing.gather(tx, settings, now=frame.now())
        size = outbox.size()
    found = health.findings(facts)
    if as_json:
        frame.print_json(_json(facts, found))
    else:
        frame.header(settings)
        with spoken.speaks(frame.language(lang, settings)):
            _show(facts, found, size=size)
    return health.EXIT_CODES[health.verdict(found)]


def _show(facts: Standing, found: Sequence[HealthFinding], *, size: int | None) -> None:
    for one in found:
        sentence, further = health_words.said(one, facts)
        frame.verdict(one.verdict.name, "\n".join([sentence, *further]))
    frame.say()
    _account(facts)
    deadlines = [health_words.deadline(one, facts) for one in deadline.deadlines(facts)]
    for name, lines in ((tr("Deadlines"), deadlines), (tr("MIS"), [*_mis(facts)]), ("Kiva", [*_kiva(facts)])):
        for number, line in enumerate(lines):
            frame.say(f"  {name if number == 0 else '':<{_ABOUT}}{line}")
    if facts.settings.mail.is_on:
        frame.say(f"  {tr('Mail'):<{_ABOUT}}{_mail(facts)}")
    if facts.running is not None:
        age = figure.length(facts.now - facts.running.started_at)
        where = facts.machine or "?"
        runs = tr("running for {age} on {machine}, process {pid}", age=age, machine=where, pid=str(facts.running.pid))
        frame.say(f"  {tr('Relay'):<{_ABOUT}}{runs}")
    place = facts.settings.outbox.url if size is None else f"{figure.megabytes(size)}, {facts.settings.outbox.file}"
    frame.say(f"  {tr('Outbox'):<{_ABOUT}}{place}")


def _account(facts: Standing) -> None:
    """Where everything stands that should be at Kiva, a row a resource; what does not go, only where there is some."""
    account, resources = facts.account, facts.settings.resources
    columns = ("", tr("expected"), *(tr(*one) for one in _GOES.values()))
    rows = [
        [resource, account.number(resource), *(account.number(resource, kind) for kind in _GOES)]
        for resource in resources
    ]
    frame.table(columns, rows, right=columns[1:])
    frame.say()
    if account.numbers(*_DOES_NOT_GO):
        columns = ("", *(tr(*one) for one in _DOES_NOT_GO.values()))
        rows = [[resource, *(account.number(resource, kind) for kind in _DOES_NOT_GO)] for resource in resources]
        frame.table(columns, rows, right=columns[1:])
        frame.say()
    today = tr("today: {what}", what=words.counted(facts.delivered_today))
    month = tr("this month: {what}", what=words.counted(facts.delivered_this_month))
    frame.say(f"  {tr('Delivered'):<{_ABOUT}}{today}")
    frame.say(f"  {'':<{_ABOUT}}{month}")


def _mis(facts: Standing) -> Iterator[str]:
    last = facts.heartbeat
    modes = _modes(last) if last is not None else ""
    yield f"{_read(facts)}{modes}"
    if last is not None and last.replication is not None and last.replication.live:
        kept = figure.megabytes(last.replication.kept)
        yield tr("its stream is followed; it keeps {size} of its log for the relay", size=kept)
        if set(last.modes.values()) - {"replication"}:
            yield tr("also polled, until the transactions that were open before the stream was followed have ended")
    if last is not None and last.horizon_age > _PINNED:
        who = last.pinned_by or tr("to see whose, grant what this prints: kiva-relay check --grants")
        age = figure.length(timedelta(seconds=last.horizon_age))
        yield tr("a transaction of the MIS has been open for {age} ({who}); nothing is lost by it", age=age, who=who)
    for mark in facts.marks.values():
        if mark.scan is not None:
            progress = facts.scans.get(mark.stream)
            how_far = "" if progress is None else f"{spoken.colon()} {scan_words.under_way(progress)}"
            if mark.scan_started_at is None:
                yield tr("{scan} of {name} under way", scan=mark.scan, name=mark.stream) + how_far
            else:
                since = _moment(facts, mark.scan_started_at)
                told = tr("{scan} of {name} under way, since {since}", scan=mark.scan, name=mark.stream, since=since)
                yield told + how_far


def _read(facts: Standing) -> str:
    if facts.heartbeat is not None and facts.heartbeat.mis.last_good is not None:
        return tr("read {age} ago", age=figure.length(facts.now - facts.heartbeat.mis.last_good))
    moved = [mark.moved_at for mark in facts.marks.values() if mark.moved_at]
    return tr("last change read {moment}", moment=_moment(facts, max(moved))) if moved else tr("not read yet")


def _modes(last: Heartbeat) -> str:
    """In which way each mapping notices changes: `, watched by xmin: a b, watched by sweep: c`."""
    kinds: dict[str, list[str]] = {}
    for stream in sorted(last.modes):
        kinds.setdefault(last.modes[stream], []).append(stream)
    return "".join(tr(", watched by {kind}: {names}", kind=kind, names=" ".join(kinds[kind])) for kind in sorted(kinds))


def _kiva(facts: Standing) -> Iterator[str]:
    if facts.refresh is None:
        yield tr("its list of loans has not been read completely yet")
        return
    age = figure.length(facts.now - facts.refresh.started_at)
    yield tr("its list of loans was read completely {age} ago", age=age)
    if facts.lists_read is None:
        kinds = ", ".join(catalogue.KINDS)
        yield tr("its lists ({kinds}) have not been given yet: drafts that need them wait", kinds=kinds)


def _mail(facts: Standing) -> str:
    mail = facts.settings.mail
    number = len({one.address for one in mail.recipients})
    sent = facts.mail.sent_at
    last = tr("none was sent yet") if sent is None else tr("last sent {moment}", moment=_moment(facts, sent))
    return tr(
        "{last}; each morning at {time}, to {n} address",
        "{last}; each morning at {time}, to {n} addresses",
        n=number,
        last=last,
        time=f"{mail.at:%H:%M}",
    )


def _moment(facts: Standing, when: datetime) -> str:
    return figure.moment(when, facts.settings, at=facts.now)


def _json(facts: Standing, found: Sequence[HealthFinding]) -> dict[str, Any]:
    return {
        "verdict": health.verdict(found).name,
        "findings": [_finding_json(one) for one in found if one.verdict is not Verdict.OK],
        "environment": facts.settings.kiva.environment,
        "partner_id": facts.settings.kiva.partner_id,
        "at": facts.now,
        "running": facts.running is not None,
        "machine": facts.machine,
        "balances": facts.account.balances,
        "heartbeat": facts.heartbeat,
        "resources": {
            resource: {
                "expected": facts.account.number(resource),
                "lines": [_line_json(one) for one in facts.account.lines[resource]],
                "states": {state.value: facts.unsettled[resource][state] for state in State if state not in FINAL},
                "held": facts.held.get(resource, 0),
                "adopted": facts.adopted.get(resource, 0),
                "delivered_today": facts.delivered_today.get(resource, 0),
                "delivered_this_month": facts.delivered_this_month.get(resource, 0),
            }
            for resource in facts.settings.resources
        },
        "holds": [
            {
                "what": kept.hold.what,
                "reason": kept.hold.reason,
                "params": kept.hold.params,
                "since": kept.hold.since,
                "held_by": kept.hold.held_by,
                "note": kept.hold.note,
                "allowance": kept.hold.allowance,
                "lifts_itself": kept.hold.why.lifts_itself,
                "ready": kept.ready,
            }
            for kept in facts.kept
        ],
        "in_doubt": [entry.id for entry in facts.doubts],
        "deadlines": [_deadline_json(one) for one in deadline.deadlines(facts)],
        "report": {"period": facts.report.period, "open": facts.report.is_open, "closes": facts.report.closes},
        "mirror_read_at": None if facts.refresh is None else facts.refresh.started_at,
        "streams": {
            name: {
                "mode": mark.mode,
                "moved_at": mark.moved_at,
                "scan": mark.scan,
                "progress": facts.scans.get(name),
            }
            for name, mark in facts.marks.items()
        },
    }


def _line_json(one: AccountLine) -> dict[str, Any]:
    """A line of the account. `until`: when the last of them goes, if nothing is in its way."""
    return {
        "line": one.kind,
        "number": one.number,
        "cause": one.cause,
        "overdue": one.overdue,
        "until": one.until,
        "ok": one.is_ok,
    }


def _finding_json(one: HealthFinding) -> dict[str, Any]:
    return {"code": one.code, "verdict": one.verdict.name, "params": finding.params(one)}


def _deadline_json(one: Deadline) -> dict[str, Any]:
    """A deadline; `at` is a day where there is no hour."""
    match one:
        case PublishBy():
            drafts = [
                {"entry": entry.id, "loan": entry.loan_id, "publish_by": entry.publish_by} for entry in one.entries
            ]
            return {"code": "publish_by", "at": one.day, "drafts": drafts}
        case ReportCloses():
            return {"code": "report_closes", "at": one.at, "positions": one.positions}
    assert_never(one)
