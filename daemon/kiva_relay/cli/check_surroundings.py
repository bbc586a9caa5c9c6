"""What `check` looks at: each part of the relay's surroundings, and what it finds there. It changes nothing."""

import os
import shutil
from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from pathlib import Path

import sqlalchemy as sa

from kiva_relay import errors
from kiva_relay.cli import check_changes, check_replicas, figure, frame, mappings, nameless_words
from kiva_relay.cli.check_finding import CheckFinding, failed
from kiva_relay.clock import SystemClock
from kiva_relay.config import hosts
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
from kiva_relay.words.spoken import marked, tr

_NOT_FOUND = 404
_NO_TLS = "WRONG_VERSION_NUMBER"
_CLOCKS_DIFFER = timedelta(seconds=5)
_MOST_AHEAD = timedelta(days=31)
_LITTLE_SPACE = 1 << 30
_POSTGRESQL = 5432
_SERVICE = "kiva-relay"
_SHOWN = 4
_GRANTS = marked("What it needs, as SQL:")
_TO_GRANT = "kiva-relay check --grants"


# ---------------------------------------------------------------- configuration and mappings


def configuration(settings: Settings) -> Iterator[CheckFinding]:
    """What the loader warned of; that there are no mistakes is known when there are settings."""
    yield CheckFinding("ok", "configuration", tr("no mistakes"))
    today = SystemClock().now().date()
    for key, since in (("loan_drafts", settings.loan_drafts.since), ("journals", settings.journals.since)):
        if isinstance(since, date) and since > today + _MOST_AHEAD:
            text = tr(
                "{key}.since is {day}, {number} days from now: until then nothing of it is owed.",
                key=key,
                day=since,
                number=(since - today).days,
            )
            text += "\n" + tr("It is the first day whose loans nobody posted by hand. From the first start on:")
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
        text = f"{tr('There are none: nothing would be sent.')}\n{tr('Look at `mappings:` and `resources:`.')}"
        yield CheckFinding("error", "mappings", text)
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
        text = tr("{failed} do not pass, {passed} do", failed=len(failures), passed=passed)
        yield CheckFinding("error", "examples", f"{text}\n{lines}\nkiva-relay mapping test")
    elif passed:
        yield CheckFinding("ok", "examples", tr("{n} example passes", "{n} examples pass", n=passed))
    else:
        yield CheckFinding("off", "examples", tr("There are none beside the mappings."))


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
    url = opening.mis_url(settings)
    text = tr(
        "{server}, {database}, as {user}; reads {n} table",
        "{server}, {database}, as {user}; reads {n} tables",
        n=len(tables),
        server=opened.server(),
        database=url.database,
        user=url.username or tr("its file"),
    )
    return CheckFinding("ok", "MIS", text)


def _writes(settings: Settings, opened: Mis, tables: Sequence[str]) -> CheckFinding:
    writable = opened.can_write()
    if not writable:
        return CheckFinding("ok", "grants", tr("cannot write to the MIS"))
    shown = _some([*(one for one in writable if one in tables), *(one for one in writable if one not in tables)])
    text = tr(
        "This role could write to {tables}. The relay never does; SELECT is enough, for a role of its own.",
        tables=shown,
    )
    if not settings.mis.url.startswith("sqlite:"):
        text += f"\n{tr(*_GRANTS)}     {_TO_GRANT}"
    return CheckFinding("warning", "grants", text)


def _unreadable(settings: Settings, refused: Sequence[str], tables: Sequence[str]) -> CheckFinding:
    role = opening.mis_url(settings).username
    text = tr(
        "{role} may not read {number} of the {n} table that the mappings name: {tables}.",
        "{role} may not read {number} of the {n} tables that the mappings name: {tables}.",
        n=len(tables),
        number=len(refused),
        role=role,
        tables=_some(refused),
    )
    return CheckFinding("error", "grants", f"{text}\n{tr(*_GRANTS)}     {_TO_GRANT}")


def _some(tables: Sequence[str]) -> str:
    more = len(tables) - _SHOWN
    some = ", ".join(tables[:_SHOWN])
    return tr("{some} and {n} more", "{some} and {n} more", n=more, some=some) if more > 0 else some


def _clocks(settings: Settings, opened: Mis) -> CheckFinding:
    clock = SystemClock()
    horizon = opened.horizon()
    difference = abs(horizon.moment + horizon.age - clock.now())
    text = tr(
        "MIS and this machine differ by {by}; time zone of the data: {zone}",
        by=figure.length(difference),
        zone=settings.mis.timezone,
    )
    if difference > meta.MOST_OFF:
        return CheckFinding("error", "clocks", f"{text}\n{tr('Which one is wrong? On both:')}\ntimedatectl")
    if difference > _CLOCKS_DIFFER:
        follows = tr("Nothing is lost by it, but times in lists will look wrong.")
        return CheckFinding("warning", "clocks", f"{text}\n{follows}\ntimedatectl")
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
            error.hint = f"kiva-relay sandbox      {tr('starts the stand-in for Kiva on this machine')}"
        yield failed("Kiva", error)
    finally:
        client.close()
    if not chosen.send:
        text = tr("kiva.send is false: everything is captured, mapped and shown, nothing is sent.")
        yield CheckFinding("off", "sending", text)


def _clock_at_kiva(behind: timedelta) -> Iterator[CheckFinding]:
    if abs(behind) > meta.MOST_OFF:
        by = figure.length(behind)
        if behind > timedelta(0):
            text = tr("The clock of this machine is {by} behind Kiva's.", by=by)
        else:
            text = tr("The clock of this machine is {by} ahead of Kiva's.", by=by)
        yield CheckFinding("error", "clocks", f"{text}\nsudo timedatectl set-ntp true")


def _token(settings: Settings, token: Token) -> CheckFinding:
    chosen = settings.kiva
    missing = [scope for scope in SCOPES if scope not in token.scopes]
    if missing:
        text = tr(
            "token: {has} of {all} scopes; missing: {missing}",
            has=len(SCOPES) - len(missing),
            all=len(SCOPES),
            missing=", ".join(missing),
        )
        ask = tr("Ask Kiva to grant them to this client id. What needs them is held until then.")
        return CheckFinding("error", "Kiva", f"{text}\n{ask}")
    text = tr("{url}; token, {has} of {all} scopes", url=chosen.api_url, has=len(SCOPES), all=len(SCOPES))
    return CheckFinding("ok", "Kiva", text)


def _partner(settings: Settings, client: Client, token: Token) -> CheckFinding:
    chosen = settings.kiva
    ask = mirror.once(client, chosen, token)
    try:
        mirror.total(ask, EXPECTED[0])
    except mirror.NotGiven as error:
        if error.answer.status == _NOT_FOUND:
            text = tr(
                "Kiva knows no partner {partner} at {url} (404).", partner=str(chosen.partner_id), url=chosen.api_url
            )
            look = tr("PA2 → Account → Profile shows the number: kiva.partner_id")
            return CheckFinding("error", "Kiva", f"{text}\n{look}")
        if _NO_TLS in str(error):
            plain = f"api_url: {chosen.api_url.replace('https://', 'http://', 1)}"
            text = tr("What answers at {url} speaks no TLS. A stand-in of your own:", url=chosen.api_url)
            return CheckFinding("error", "Kiva", f"{text}\n{plain}")
        return CheckFinding("error", "Kiva", f"{error}", unreachable=error.answer.status is None)
    try:
        lists = [mirror.one_list(ask, kind) for kind in KINDS]
    except mirror.NotGiven as error:
        return failed("Kiva", error)
    counted = ", ".join(f"{len(each.items)} {each.kind}" for each in lists)
    odd = sum(each.left_out for each in lists)
    text = tr("partner {partner}; lists: {counted}", partner=str(chosen.partner_id), counted=counted)
    if odd:
        left_out = tr("{n} item of them made no sense: left out.", "{n} items of them made no sense: left out.", n=odd)
        return CheckFinding("warning", "Kiva", f"{text}\n{left_out}")
    return CheckFinding("ok", "Kiva", text)


# ---------------------------------------------------------------- the outbox


def outbox(settings: Settings) -> Iterator[CheckFinding]:
    """The outbox: there or not yet, whose it is, and room to grow."""
    file = settings.outbox.file
    if is_the_mis(settings):
        text = tr(
            "outbox.url is the database of the MIS: the relay never writes there. Give the outbox one of its own:"
        )
        own = f"outbox: {{url: {OutboxSettings.model_fields['url'].default}}}"
        yield CheckFinding("error", "outbox", f"{text}\n{own}")
        return
    if remedy := own_file.foreign(file) if file is not None else "":
        text = tr("{file} belongs to another user: the service cannot write it.", file=file)
        yield CheckFinding("error", "outbox", f"{text}\n{remedy}")
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
    mis, ours = opening.mis_url(settings), hosts.made(settings.outbox.url, target="read-write")
    if mis.get_backend_name() != ours.get_backend_name():
        return False
    if settings.outbox.file is not None:
        return Path(mis.database or "").resolve() == settings.outbox.file.resolve()
    return mis.database == ours.database and not _addresses(settings.mis.url).isdisjoint(
        _addresses(settings.outbox.url)
    )


def _addresses(url: str) -> set[tuple[str, int]]:
    """Each of its servers, under one name where it is this machine."""
    one = sa.make_url(hosts.single(url))
    found = hosts.of(url) or [(one.host or str(one.query.get("host", "")), str(one.port or ""))]
    return {(_named(host), int(port or _POSTGRESQL)) for host, port in found}


def _named(host: str) -> str:
    alone = host in ("", "localhost", "127.0.0.1", "::1") or host.startswith("/")
    return "" if alone else host.lower()


def _present(file: Path) -> bool:
    try:
        return file.exists()
    except PermissionError:
        raise errors.UsageError(
            f"The outbox {file} belongs to the service and cannot be read by your user.", hint=frame.with_sudo()
        ) from None


def _new_file(file: Path) -> CheckFinding:
    if not file.parent.is_dir():
        return CheckFinding("error", "outbox", f"{_absent(file.parent)}\n{_make(file.parent)}")
    if not _writable(file.parent):
        return CheckFinding("error", "outbox", f"{_closed(file.parent)}\n{frame.with_sudo()}")
    return _with_space(file, tr("new, will be {file}", file=file))


def _absent(folder: Path) -> str:
    return tr("The folder {folder} does not exist.", folder=folder)


def _closed(folder: Path) -> str:
    return tr("{folder} cannot be written by this user.", folder=folder)


def _opened(settings: Settings) -> Iterator[CheckFinding]:
    opened = Outbox(settings.outbox.url, password=settings.outbox.password)
    try:
        with opened.read() as tx:
            schema = migration.present(tx)
        if schema is None:
            yield CheckFinding("ok", "outbox", tr("{url}: empty, `run` makes its tables", url=settings.outbox.url))
            yield from check_replicas.replicas(opened, settings)
            return
        if schema != migration.revisions()[-1] and schema in migration.revisions():
            newest = migration.revisions()[-1]
            how = tr("`run` brings it up to date, after a copy") if opened.is_file else migration.how(opened)
            text = tr("schema {schema}, this version needs {newest}", schema=schema, newest=newest)
            yield CheckFinding("warning", "outbox", f"{text}\n{how}")
            return
        migration.check(opened)
        with opened.read() as tx:
            binding.check_destination(tx, settings)
            entries = tx.execute(sa.select(sa.func.count()).select_from(table.entry)).scalar_one()
            beat = heartbeat.read(tx)
            nameless = nameless_words.known(tx, watermark.watermarks(tx))
        place = settings.outbox.file or settings.outbox.url
        text = tr("{place}: {n} entry", "{place}: {n} entries", n=entries, place=place)
        yield CheckFinding("ok", "outbox", text) if not opened.is_file else _with_space(opened.path, text)
        yield from check_replicas.replicas(opened, settings)
        for name, why in {} if beat is None else beat.stopped_streams.items():
            text = tr("The running relay does not read the mapping {name}: {why}", name=name, why=why)
            yield CheckFinding("error", "relay", f"{text}\nkiva-relay mapping check")
        for name, found in nameless.items():
            text = "\n".join([nameless_words.sentence(name, found), *nameless_words.lines(found)])
            yield CheckFinding("error", "relay", text)
    finally:
        opened.close()


def _with_space(file: Path, text: str) -> CheckFinding:
    free = shutil.disk_usage(file.parent).free
    if free < FREE_BYTES:
        left = f"{free / (1 << 20):,.1f}"
        told = tr(
            "{text}; {free} MB free, and below {least} MB nothing is sent", text=text, free=left, least=FREE_BYTES >> 20
        )
        return CheckFinding("error", "outbox", f"{told}\ndf -h {file.parent}")
    if free < _LITTLE_SPACE:
        told = tr("{text}; only {free} MB free", text=text, free=round(free / (1 << 20)))
        return CheckFinding("warning", "outbox", f"{told}\ndf -h {file.parent}")
    return CheckFinding("ok", "outbox", tr("{text}; {free} GB free", text=text, free=round(free / (1 << 30))))


def _writable(folder: Path) -> bool:
    return os.access(folder, os.W_OK | os.X_OK, effective_ids=True)


def _make(folder: Path) -> str:
    return f"sudo install -d -o {_SERVICE} -m 0700 {folder}"
