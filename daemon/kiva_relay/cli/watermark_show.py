"""`kiva-relay watermark show`: how far each mapping has read the MIS."""

from datetime import datetime

from kiva_relay.cli import figure, frame
from kiva_relay.config.settings import Settings
from kiva_relay.outbox import watermark
from kiva_relay.outbox.watermark import Watermark
from kiva_relay.source import position

_COLUMNS = ("mapping", "read until", "how", "reads again from", "generation", "rows known", "reading all of it")
_SCANS = {"backfill": "for the first time", "sweep": "again", "leaving": "again, its last part"}


def command(config: frame.Config = None, *, as_json: frame.AsJson = False) -> None:
    """Show how far each mapping has read the MIS, and in which generation."""
    settings = frame.load(config)
    with frame.outbox(settings) as outbox, outbox.read() as tx:
        marks = watermark.watermarks(tx)
        known = watermark.counted(tx)
    if as_json:
        frame.print_json([vars(mark) | {"rows": known.get(name, 0)} for name, mark in sorted(marks.items())])
        return
    frame.header(settings)
    now = frame.now()
    rows = [_row(marks[name], known.get(name, 0), settings, now=now) for name in sorted(marks)]
    frame.table(_COLUMNS, rows, right=("generation", "rows known"))
    if not rows:
        frame.say("  Nothing has been read yet.")
    frame.say()
    frame.say('Read all of it again, from the beginning:   kiva-relay watermark set --note "…"')


def _row(mark: Watermark, known: int, settings: Settings, *, now: datetime) -> tuple[object, ...]:
    until = (
        "the beginning" if mark.w is None or mark.moved_at is None else figure.moment(mark.moved_at, settings, at=now)
    )
    scan = "" if mark.scan is None else _SCANS[mark.scan]
    if mark.scan_after is not None:
        scan += f", after key {mark.scan_after}"
    return mark.stream, until, mark.mode, _again_from(mark, settings, now=now), mark.generation, known, scan


def _again_from(mark: Watermark, settings: Settings, *, now: datetime) -> str:
    """Where the next look begins: what was open at the last one may have ended since."""
    if mark.w is None or mark.mode == "compare":
        return ""
    place = position.parse(mark.w)
    by_id = place.xid is not None and mark.mode in ("xmin", "replication")
    return f"transaction {place.xid}" if by_id else figure.moment(place.moment, settings, at=now)
