"""What `check` looks at: each part of the relay's surroundings, and what it finds there. It changes nothing."""

from collections.abc import Iterator, Sequence
from datetime import date, timedelta

from kiva_relay import errors
from kiva_relay.cli import check_changes, figure, mappings
from kiva_relay.cli.check_finding import CheckFinding, failed
from kiva_relay.clock import SystemClock
from kiva_relay.config.settings import Settings
from kiva_relay.delivery import mirror
from kiva_relay.delivery.client import Client
from kiva_relay.delivery.kiva_time import KivaTime
from kiva_relay.delivery.token import SCOPES, AnotherPartner, Token, Tokens
from kiva_relay.mapping import example
from kiva_relay.mapping.document import Document
from kiva_relay.mapping.tables import read_by
from kiva_relay.outbox import meta
from kiva_relay.outbox.catalogue import KINDS
from kiva_relay.outbox.mirror import EXPECTED
from kiva_relay.service import opening
from kiva_relay.source.mis import Mis
from kiva_relay.words.spoken import marked, tr

_NOT_FOUND = 404
_NO_TLS = "WRONG_VERSION_NUMBER"
_CLOCKS_DIFFER = timedelta(seconds=5)
_MOST_AHEAD = timedelta(days=31)
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
