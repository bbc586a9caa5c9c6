"""What `check` says about the machine around the relay: backups, certificates that end, the unit of systemd."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from kiva_relay.cli import figure
from kiva_relay.cli.check_finding import CheckFinding
from kiva_relay.cli.outbox_backup import BACKUPS, NAMED
from kiva_relay.config import loader, partner
from kiva_relay.config.settings import Settings
from kiva_relay.errors import nearest
from kiva_relay.outbox import lease
from kiva_relay.words import spoken
from kiva_relay.words.spoken import tr

_TIMER = "kiva-relay-backup.timer"
_SYSTEMD = Path("/run/systemd/system")
_ASKED = ("LoadState", "ActiveState", "UnitFileState", "Result", "NRestarts")
_OLD = timedelta(hours=36)
"""A nightly backup that is older was left out once."""

_ENDS_SOON = timedelta(days=30)
_MANY_RESTARTS = 10
_LONGEST = 10.0


def backups(settings: Settings, *, now: datetime, folder: Path = BACKUPS) -> Iterator[CheckFinding]:
    """How old the newest copy of the outbox is; only of the service's own, once it holds something."""
    file = settings.outbox.file
    if file is None:
        yield CheckFinding(
            "off", "backup", tr("The outbox is in PostgreSQL: it is in the backup of that server, or in none.")
        )
        return
    if settings.file != loader.USUAL_PLACE or not file.exists():
        return
    try:
        copies = [one.stat().st_mtime for one in folder.glob(NAMED)]
    except OSError as error:
        yield CheckFinding("warning", "backup", _unreadable(folder, error) + f"\nsudo ls -l {folder}")
        return
    remedy = f"sudo systemctl enable --now {_TIMER}"
    if not copies:
        text = tr("There is no copy of the outbox in {folder}.", folder=folder)
        yield CheckFinding("warning", "backup", f"{text}\n{remedy}")
        return
    age = now - datetime.fromtimestamp(max(copies), UTC)
    text = tr(
        "the newest of {number} in {folder} is {age} old", number=len(copies), folder=folder, age=figure.length(age)
    )
    if age > _OLD:
        yield CheckFinding("warning", "backup", f"{text}\n{remedy}\nsystemctl status kiva-relay-backup.service")
    else:
        yield CheckFinding("ok", "backup", text)


def certificates(settings: Settings, *, now: datetime) -> Iterator[CheckFinding]:
    """When the certificates end that the configuration names."""
    groups = {"page": settings.page, "mis.tls": settings.mis.tls, "kiva": settings.kiva}
    for group, name in (("page", "certificate"), ("mis.tls", "cert"), ("mis.tls", "ca"), ("kiva", "ca")):
        file = getattr(groups[group], name)
        if file is not None:
            yield _certificate(f"{group}.{name}", file, now)


def _certificate(key: str, file: Path, now: datetime) -> CheckFinding:
    from cryptography import x509  # noqa: PLC0415 - only where a certificate is named

    try:
        found = x509.load_pem_x509_certificates(file.read_bytes())
    except OSError as error:
        return CheckFinding("error", "certificates", f"{key}: {_unreadable(file, error)}\nls -l {file}")
    except ValueError:
        text = tr("{key}: {file} holds no certificate in PEM.", key=key, file=file)
        return CheckFinding("error", "certificates", f"{text}\nopenssl x509 -in {file} -noout -text")
    # Of many authorities one may be over; of our own certificate the first counts.
    ends = found[0].not_valid_after_utc if len(found) == 1 or key.endswith(("cert", "certificate")) else None
    if ends is None:
        text = tr("{key}: {n} authority", "{key}: {n} authorities", n=len(found), key=key)
        return CheckFinding("ok", "certificates", text)
    day = f"{ends:%Y-%m-%d}"
    look = f"openssl x509 -in {file} -noout -enddate"
    if ends <= now:
        text = tr("{key}: {file} ends on {day}: it is over.", key=key, file=file, day=day)
        return CheckFinding("error", "certificates", f"{text}\n{look}")
    if ends - now < _ENDS_SOON:
        left = figure.length(ends - now)
        text = tr("{key}: {file} ends on {day}, in {left}", key=key, file=file, day=day, left=left)
        return CheckFinding("warning", "certificates", f"{text}\n{look}")
    return CheckFinding("ok", "certificates", tr("{key}: {file} ends on {day}", key=key, file=file, day=day))


def _unreadable(place: Path, error: OSError) -> str:
    return tr("{place} cannot be read: {why}.", place=place, why=error.strerror)


def unit(settings: Settings) -> Iterator[CheckFinding]:
    """The unit, as systemd knows it; only for the service's own configuration, where systemd runs."""
    name = partner.unit(settings.file)
    if not name:
        return
    if not _SYSTEMD.is_dir() or shutil.which("systemctl") is None:
        yield CheckFinding("off", "unit", tr("systemd does not run here: nothing starts the relay by itself."))
        return
    command = ["systemctl", "show", f"{name}.service", "--property", ",".join(_ASKED)]
    try:
        asked = subprocess.run(  # noqa: S603 - a constant, and a name of letters, digits and strokes
            command, capture_output=True, text=True, check=False, timeout=_LONGEST
        )
    except (OSError, subprocess.TimeoutExpired):
        yield CheckFinding("warning", "unit", f"{tr('systemd did not answer.')}\nsystemctl status {name}.service")
        return
    said = dict(line.split("=", 1) for line in asked.stdout.splitlines() if "=" in line)
    yield about_unit(said, name)


def preferred(settings: Settings) -> Iterator[CheckFinding]:
    """Where this machine stands in `lease.prefer`, if that is set; a name that was misspelled prefers nobody."""
    machines, own = settings.lease.prefer, lease.this_machine()
    if not machines:
        return
    if own in machines:
        text = tr("this machine, {own}, is number {number} of lease.prefer", own=own, number=machines.index(own) + 1)
        yield CheckFinding("ok", "lease", text)
        return
    text = tr(
        "lease.prefer names {machines}, and not this machine, {own}: the others are preferred to it.",
        machines=spoken.joined([*machines]),
        own=own,
    )
    close = nearest(own, machines, limit=1)
    remedy = f"\nlease: {{prefer: [{', '.join(own if one in close else one for one in machines)}]}}" if close else ""
    yield CheckFinding("warning", "lease", text + remedy)


def about_unit(said: Mapping[str, str], name: str = partner.UNIT) -> CheckFinding:
    """What `systemctl show` said of a unit, judged; `name` is without its `.service`."""
    if said.get("LoadState") != "loaded":
        text = tr("systemd does not know {unit} ({state}).", unit=f"{name}.service", state=said.get("LoadState", "?"))
        return CheckFinding("error", "unit", f"{text}\nsudo systemctl daemon-reload")
    state, result = said.get("ActiveState", "?"), said.get("Result", "?")
    if state == "failed":
        text = tr("It ended by itself ({result}), and is not started again.", result=result)
        return CheckFinding("error", "unit", f"{text}\njournalctl -u {name} -n 50")
    restarts = int(said.get("NRestarts") or 0)
    text = f"{state}, {said.get('UnitFileState') or tr('not installed')}"
    if said.get("UnitFileState") not in ("enabled", "enabled-runtime"):
        text = tr("{state}: it is not started when the machine starts.", state=text)
        return CheckFinding("warning", "unit", f"{text}\nsudo systemctl enable {name}")
    if restarts > _MANY_RESTARTS:
        text = tr("{state}; systemd started it again {number} times.", state=text, number=restarts)
        return CheckFinding("warning", "unit", f"{text}\njournalctl -u {name} -n 50")
    return CheckFinding("ok", "unit", text)
