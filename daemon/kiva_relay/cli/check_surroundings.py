"""What `check` looks at: each part of the relay's surroundings, and what it finds there. It changes nothing."""

import os
import shutil
from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from pathlib import Path

import sqlalchemy as sa

from kiva_relay import errors
from kiva_relay.cli import check_changes, figure, frame, mappings, nameless_words
from kiva_relay.cli.check_finding import CheckFinding, failed
from kiva_relay.clock import SystemClock
from kiva_relay.config.database import OutboxSettings
from kiva_relay.config.settings import Settings
from kiva_relay.delivery import mirror
from kiva_relay.delivery.client import Client
from kiva_relay.delivery.kiva_time import KivaTime
from kiva_relay.delivery.token import SCOPES, AnotherPartner, Token, Tokens
from kiva_relay.mapping import example
from kiva_relay.mapping.document import Document
from kiva_relay.mapping.tables import read_by
from kiva_relay.outbox import binding, heartbeat, meta, migration, own_file, table, watermark
from kiva_relay.outbox.catalogue import KINDS
from kiva_relay.outbox.database import FREE_BYTES, Outbox
from kiva_relay.outbox.mirror import EXPECTED
from kiva_relay.service import opening
from kiva_relay.source.mis import Mis

_NOT_FOUND = 404
_NO_TLS = "WRONG_VERSION_NUMBER"
_CLOCKS_DIFFER = timedelta(seconds=5)
_MOST_AHEAD = timedelta(days=31)
_LITTLE_SPACE = 1 << 30
_POSTGRESQL = 5432
_SERVICE = "kiva-relay"
_SHOWN = 4
_GRANTS = "What it needs, as SQL:     kiva-relay check --grants"


# ---------------------------------------------------------------- configuration and mappings


def configuration(settings: Settings) -> Iterator[CheckFinding]:
    """What the loader warned of; that there are no mistakes is known when there are settings."""
    yield CheckFinding("ok", "configuration", "no mistakes")
    today = SystemClock().now().date()
    for key, since in (("loan_drafts", settings.loan_drafts.since), ("journals", settings.journals.since)):
        if isinstance(since, date) and since > today + _MOST_AHEAD:
            text = f"{key}.since is {since}, {(since - today).days:,} days from now: until then nothing of it is owed."
            text += "\nIt is the first day whose loans nobody posted by hand. From the first start on:"
            yield CheckFinding("error", "configuration", f"{text}\n{key}: {{since: first_start}}")
    for warning in settings.warnings:
        yield CheckFinding("warning", "secrets", f"{warning.path}: {warning.message}\n{warning.remedy}")
    for secret in (
        settings.kiva.client_secret,
        settings.mis.password,
        settings.outbox.password,
        settings.mail.password,
    ):
        try:
            if secret is not None:
                secret.reveal()
        except errors.RelayError as error:
            yield failed("secrets", error)


def documents(found: Sequence[Document]) -> Iterator[CheckFinding]:
    """The mappings and the examples beside them."""
    if not found:
        yield CheckFinding(
            "error", "mappings", "There are none: nothing would be sent.\nLook at `mappings:` and `resources:`."
        )
        return
    warnings = [warning for mapping in found for warning in mapping.warnings]
    passed, failures = 0, []
    for mapping in found:
        try:
            results = example.run(mapping)
        except errors.ConfigurationError as error:
            yield failed("examples", error)
            continue
        passed += sum(result.passed for result in results)
        failures += [f"{mapping.examples.name}:{result.line}  {result.name}" for result in results if not result.passed]
    yield CheckFinding("ok", "mappings", ", ".join(mapping.name for mapping in found))
    for warning in warnings:
        text = f"{warning.file}:{warning.line}: {warning.path}: {warning.message}\n{warning.remedy}".rstrip()
        yield CheckFinding("warning", "mappings", text)
    if failures:
        lines = "\n".join(failures)
        yield CheckFinding(
            "error", "examples", f"{len(failures)} do not pass, {passed} do\n{lines}\nkiva-relay mapping test"
        )
    elif passed:
        yield CheckFinding("ok", "examples", f"{errors.counted(passed, 'example')} pass")
    else:
        yield CheckFinding("off", "examples", "There are none beside the mappings.")


# ---------------------------------------------------------------- the MIS


def mis(settings: Settings, found: Sequence[Document]) -> Iterator[CheckFinding]:
    """The MIS: reached, read, not written; its clock; how changes are noticed; the mappings against its columns."""
    opened = None
    try:
        opened = opening.open_mis(settings, clock=SystemClock())
        tables = read_by(found, dialect=opened.dialect.name).tables
        yield _reached(settings, opened, [*tables])
        yield _writes(settings, opened, [*tables])
        yield _clocks(settings, opened)
        if unreadable := opened.unreadable(tables):
            yield _unreadable(settings, unreadable, [*tables])
        else:
            yield from _mappings_fit(settings, opened, found)
    except errors.RelayError as error:
        yield failed("MIS", error)
    finally:
        if opened is not None:
            opened.close()


def _reached(settings: Settings, opened: Mis, tables: Sequence[str]) -> CheckFinding:
    url = sa.make_url(settings.mis.url)
    reads_ = errors.counted(len(tables), "table")
    return CheckFinding(
        "ok", "MIS", f"{opened.server()}, {url.database}, as {url.username or 'its file'}; reads {reads_}"
    )


def _writes(settings: Settings, opened: Mis, tables: Sequence[str]) -> CheckFinding:
    writable = opened.can_write()
    if not writable:
        return CheckFinding("ok", "grants", "cannot write to the MIS")
    shown = _some([*(one for one in writable if one in tables), *(one for one in writable if one not in tables)])
    text = f"This role could write to {shown}. The relay never does; SELECT is enough, for a role of its own."
    if not settings.mis.url.startswith("sqlite:"):
        text += f"\n{_GRANTS}"
    return CheckFinding("warning", "grants", text)


def _unreadable(settings: Settings, refused: Sequence[str], tables: Sequence[str]) -> CheckFinding:
    role = sa.make_url(settings.mis.url).username
    text = f"{role} may not read {len(refused)} of the {errors.counted(len(tables), 'table')} that the mappings name:"
    return CheckFinding("error", "grants", f"{text} {_some(refused)}.\n{_GRANTS}")


def _some(tables: Sequence[str]) -> str:
    more = len(tables) - _SHOWN
    return ", ".join(tables[:_SHOWN]) + (f" and {more:,} more" if more > 0 else "")


def _clocks(settings: Settings, opened: Mis) -> CheckFinding:
    clock = SystemClock()
    horizon = opened.horizon()
    difference = abs(horizon.moment + horizon.age - clock.now())
    text = f"MIS and this machine differ by {figure.length(difference)}; time zone of the data: {settings.mis.timezone}"
    if difference > meta.MOST_OFF:
        return CheckFinding("error", "clocks", f"{text}\nWhich one is wrong? On both:\ntimedatectl")
    if difference > _CLOCKS_DIFFER:
        return CheckFinding(
            "warning", "clocks", f"{text}\nNothing is lost by it, but times in lists will look wrong.\ntimedatectl"
        )
    return CheckFinding("ok", "clocks", text)


def _mappings_fit(settings: Settings, opened: Mis, found: Sequence[Document]) -> Iterator[CheckFinding]:
    wrong = mappings.verified(found, opened)
    if wrong is not None:
        severe = any(mistake.severity == "error" for mistake in wrong.mistakes)
        yield CheckFinding("error" if severe else "warning", "columns", f"{wrong}\nkiva-relay mapping check")
        if severe:
            return
    streams = [mapping.stream for mapping in found]
    if not streams:
        return
    yield from check_changes.changes(settings, opened, streams)


# ---------------------------------------------------------------- Kiva


def kiva(settings: Settings) -> Iterator[CheckFinding]:
    """Kiva: the token, its scopes, the partner, its lists. Only harmless requests."""
    chosen = settings.kiva
    clock = SystemClock()
    kiva_time = KivaTime(clock)
    try:
        client = Client(chosen, heard=kiva_time.hear)
    except errors.UsageError as error:
        yield failed("Kiva", error)
        return
    try:
        token = Tokens(client, chosen, clock=SystemClock()).current()
        yield _token(settings, token)
        yield _partner(settings, client, token)
        yield from _clock_at_kiva(kiva_time.now() - clock.now())
    except AnotherPartner as error:
        yield failed("Kiva", error)
        yield _partner(settings, client, error.token)
    except errors.RelayError as error:
        if chosen.environment == "sandbox" and isinstance(error, errors.Unreachable) and "answered" not in str(error):
            error.hint = "kiva-relay sandbox      starts the stand-in for Kiva on this machine"
        yield failed("Kiva", error)
    finally:
        client.close()
    if not chosen.send:
        yield CheckFinding(
            "off", "sending", "kiva.send is false: everything is captured, mapped and shown, nothing is sent."
        )


def _clock_at_kiva(behind: timedelta) -> Iterator[CheckFinding]:
    if abs(behind) > meta.MOST_OFF:
        way = "behind" if behind > timedelta(0) else "ahead of"
        text = f"The clock of this machine is {figure.length(behind)} {way} Kiva's."
        yield CheckFinding("error", "clocks", f"{text}\nsudo timedatectl set-ntp true")


def _token(settings: Settings, token: Token) -> CheckFinding:
    chosen = settings.kiva
    missing = [scope for scope in SCOPES if scope not in token.scopes]
    if missing:
        return CheckFinding(
            "error",
            "Kiva",
            f"token: {len(SCOPES) - len(missing)} of {len(SCOPES)} scopes; missing: {', '.join(missing)}"
            "\nAsk Kiva to grant them to this client id. What needs them is held until then.",
        )
    return CheckFinding("ok", "Kiva", f"{chosen.api_url}; token, {len(SCOPES)} of {len(SCOPES)} scopes")


def _partner(settings: Settings, client: Client, token: Token) -> CheckFinding:
    chosen = settings.kiva
    ask = mirror.once(client, chosen, token)
    try:
        mirror.total(ask, EXPECTED[0])
    except mirror.NotGiven as error:
        if error.answer.status == _NOT_FOUND:
            return CheckFinding(
                "error",
                "Kiva",
                f"Kiva knows no partner {chosen.partner_id} at {chosen.api_url} (404)."
                "\nPA2 → Account → Profile shows the number: kiva.partner_id",
            )
        if _NO_TLS in str(error):
            plain = f"api_url: {chosen.api_url.replace('https://', 'http://', 1)}"
            return CheckFinding(
                "error", "Kiva", f"What answers at {chosen.api_url} speaks no TLS. A stand-in of your own:\n{plain}"
            )
        return CheckFinding("error", "Kiva", f"{error}", unreachable=error.answer.status is None)
    try:
        lists = [mirror.one_list(ask, kind) for kind in KINDS]
    except mirror.NotGiven as error:
        return failed("Kiva", error)
    counted = ", ".join(f"{len(each.items)} {each.kind}" for each in lists)
    odd = sum(each.left_out for each in lists)
    text = f"partner {chosen.partner_id}; lists: {counted}"
    if odd:
        return CheckFinding(
            "warning", "Kiva", f"{text}\n{errors.counted(odd, 'item')} of them made no sense: left out."
        )
    return CheckFinding("ok", "Kiva", text)


# ---------------------------------------------------------------- the outbox


def outbox(settings: Settings) -> Iterator[CheckFinding]:
    """The outbox: there or not yet, whose it is, and room to grow."""
    file = settings.outbox.file
    if is_the_mis(settings):
        yield CheckFinding(
            "error",
            "outbox",
            "outbox.url is the database of the MIS: the relay never writes there. Give the outbox one of its own:\n"
            f"outbox: {{url: {OutboxSettings.model_fields['url'].default}}}",
        )
        return
    if remedy := own_file.foreign(file) if file is not None else "":
        yield CheckFinding("error", "outbox", f"{file} belongs to another user: the service cannot write it.\n{remedy}")
        return
    try:
        if file is not None and not _present(file):
            yield _new_file(file)
        else:
            yield from _opened(settings)
    except errors.RelayError as error:
        yield failed("outbox", error)


def is_the_mis(settings: Settings) -> bool:
    """Whether both URLs lead to one database."""
    mis, ours = sa.make_url(settings.mis.url), sa.make_url(settings.outbox.url)
    if mis.get_backend_name() != ours.get_backend_name():
        return False
    if settings.outbox.file is not None:
        return Path(mis.database or "").resolve() == settings.outbox.file.resolve()
    return _address(mis) == _address(ours)


def _address(url: sa.URL) -> tuple[str, int, str | None]:
    host = url.host or str(url.query.get("host", ""))
    alone = host in ("", "localhost", "127.0.0.1", "::1") or host.startswith("/")
    return "" if alone else host.lower(), url.port or _POSTGRESQL, url.database


def _present(file: Path) -> bool:
    try:
        return file.exists()
    except PermissionError:
        raise errors.UsageError(
            f"The outbox {file} belongs to the service and cannot be read by your user.", hint=frame.with_sudo()
        ) from None


def _new_file(file: Path) -> CheckFinding:
    if not file.parent.is_dir():
        return CheckFinding("error", "outbox", f"The folder {file.parent} does not exist.\n{_make(file.parent)}")
    if not _writable(file.parent):
        return CheckFinding("error", "outbox", f"{file.parent} cannot be written by this user.\n{frame.with_sudo()}")
    return _with_space(file, f"new, will be {file}")


def _opened(settings: Settings) -> Iterator[CheckFinding]:
    opened = Outbox(settings.outbox.url, password=settings.outbox.password)
    try:
        with opened.read() as tx:
            schema = migration.present(tx)
        if schema is None:
            yield CheckFinding("ok", "outbox", f"{settings.outbox.url}: empty, `run` makes its tables")
            return
        if schema != migration.revisions()[-1] and schema in migration.revisions():
            how = "`run` brings it up to date, after a copy" if opened.is_file else migration.how(opened)
            yield CheckFinding(
                "warning", "outbox", f"schema {schema}, this version needs {migration.revisions()[-1]}\n{how}"
            )
            return
        migration.check(opened)
        with opened.read() as tx:
            binding.check_destination(tx, settings)
            entries = tx.execute(sa.select(sa.func.count()).select_from(table.entry)).scalar_one()
            beat = heartbeat.read(tx)
            nameless = nameless_words.known(tx, watermark.watermarks(tx))
        text = f"{settings.outbox.file or settings.outbox.url}: {errors.counted(entries, 'entry')}"
        yield CheckFinding("ok", "outbox", text) if not opened.is_file else _with_space(opened.path, text)
        for name, why in {} if beat is None else beat.stopped_streams.items():
            text = f"The running relay does not read the mapping {name}: {why}\nkiva-relay mapping check"
            yield CheckFinding("error", "relay", text)
        for name, found in nameless.items():
            text = "\n".join([nameless_words.sentence(name, found), *nameless_words.lines(found)])
            yield CheckFinding("error", "relay", text)
    finally:
        opened.close()


def _with_space(file: Path, text: str) -> CheckFinding:
    free = shutil.disk_usage(file.parent).free
    if free < FREE_BYTES:
        return CheckFinding(
            "error",
            "outbox",
            f"{text}; {free / (1 << 20):,.1f} MB free, and below {FREE_BYTES >> 20} MB nothing is sent"
            f"\ndf -h {file.parent}",
        )
    if free < _LITTLE_SPACE:
        return CheckFinding("warning", "outbox", f"{text}; only {free / (1 << 20):,.0f} MB free\ndf -h {file.parent}")
    return CheckFinding("ok", "outbox", f"{text}; {free / (1 << 30):,.0f} GB free")


def _writable(folder: Path) -> bool:
    return os.access(folder, os.W_OK | os.X_OK, effective_ids=True)


def _make(folder: Path) -> str:
    return f"sudo install -d -o {_SERVICE} -m 0700 {folder}"
