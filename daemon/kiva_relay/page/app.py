"""The page's addresses: who may ask, what is read, which template shows it."""

from __future__ import annotations

import hmac
import re
from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import urlencode

from sqlalchemy.engine import Connection
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from kiva_relay import errors, log
from kiva_relay.clock import Clock
from kiva_relay.config.settings import Settings
from kiva_relay.outbox import person as persons
from kiva_relay.outbox.database import Outbox
from kiva_relay.page import act, brake, brought, done, draft, journal, password, report, view, why
from kiva_relay.page.attempts import network
from kiva_relay.page.guard import Guard
from kiva_relay.page.house import House, Visit
from kiva_relay.page.names import MisNames
from kiva_relay.page.place import PagePlace
from kiva_relay.words import catalogue, language
from kiva_relay.words.language import Language

_PLACES = ("report", "drafts", "journals", "loan", "done")  # of the menu, beside the first
_BACK = ("/", "/drafts", "/journals")  # where a button may lead back to
_PERIOD = re.compile(r"\d{4}-(0[1-9]|1[0-2])")
_WANTED = re.compile(r"/(?:report|task|drafts|journals|loan|done)(?:\?[!-~]{1,500})?")
"""Where a log-in may lead, beside the first page: one of ours by name, so that no link leads elsewhere through us."""
_log = log.get("page")

Answer = Callable[["Visit", str], Response]


def create(
    settings: Settings, outbox: Outbox, *, where: PagePlace, clock: Clock, names: MisNames | None = None
) -> ASGIApp:
    """The application, behind its guard. `names` are shown where they are given."""
    house = House(settings, outbox, where=where, clock=clock, names=names)
    routes = [
        Route("/style.css", lambda _request: PlainTextResponse(house.style, media_type="text/css"), name="style"),
        Route("/login", _login_page(house), methods=["GET"]),
        Route("/login", _login(house), methods=["POST"]),
        Route("/logout", _asked(house, _logout), methods=["POST"]),
        Route("/language", _asked(house, _speak), methods=["POST"]),
        Route("/act", _asked(house, _act), methods=["POST"]),
        Route("/decide", _asked(house, _decide), methods=["POST"]),
        Route("/finalised", _asked(house, _finalised), methods=["POST"]),
        Route("/", _asked(house, _today), methods=["GET"]),
        Route("/report", _asked(house, _report), methods=["GET"]),
        Route("/report.csv", _asked(house, _file), methods=["GET"]),
        Route("/task", _asked(house, _task), methods=["GET"]),
        Route("/drafts", _asked(house, _drafts), methods=["GET"]),
        Route("/journals", _asked(house, _journals), methods=["GET"]),
        Route("/loan", _asked(house, _loan), methods=["GET"]),
        Route("/done", _asked(house, _done), methods=["GET"]),
    ]
    inner = Starlette(
        routes=routes, exception_handlers={404: _nothing_here, 405: _nothing_here, Exception: _sorry(house)}
    )
    return Guard(inner, hosts=where.hosts, encrypted=where.encrypted)


# ---------------------------------------------------------------- in and out


def _login_page(house: House) -> Callable[[Request], Response]:
    def answer(request: Request) -> Response:
        spoken = _guessed(request, house.settings)
        said = spoken.say("page.logged_out") if request.query_params.get("said") == "out" else ""
        return house.show("login.html", spoken, said=said, name="", to=_wanted(request.query_params.get("to", "")))

    return answer


def _login(house: House) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        return await run_in_threadpool(_try, house, request, await brought.form(request))

    return answer


def _try(house: House, request: Request, form: Mapping[str, str]) -> Response:
    """A name and a password. A wrong name and a wrong password look alike, and take as long."""
    name, spoken, to = (
        form.get("name", "").strip()[:200],
        _guessed(request, house.settings),
        _wanted(form.get("to", "")),
    )
    who = (f"name {name}", f"address {network(request.client.host) if request.client else ''}")
    if house.attempts.wait(who) > 0 or not house.checks.acquire(blocking=False):
        return house.show("login.html", spoken, status=429, said=spoken.say("page.wait"), name=name, to=to)
    try:
        house.attempts.begun(who)
        token = _session(house, name, form.get("password", "")[:1000])
    finally:
        house.checks.release()
    if token is None:
        _log.warning("A log-in to the page was refused")
        return house.show("login.html", spoken, status=403, said=spoken.say("page.wrong"), name=name, to=to)
    house.attempts.succeeded(who)
    response = RedirectResponse(to, status_code=303)
    response.set_cookie(
        house.cookie, token, httponly=True, samesite="strict", secure=house.where.encrypted, path="/",
        max_age=int(persons.LASTS.total_seconds()),
    )  # fmt: skip
    return response


def _wanted(written: str) -> str:
    """The page that she wanted to see when she was asked who she is; the first where that is none of ours."""
    return written if _WANTED.fullmatch(written) else "/"


def _session(house: House, name: str, written: str) -> str | None:
    """A new session, where this is the password of this name, also still when it was checked; else None."""
    with house.outbox.read() as tx:
        found = persons.find(tx, name)
    if not password.fits(None if found is None else found[1], written):
        return None
    with house.outbox.begin() as tx:
        if persons.find(tx, name) != found:
            return None  # taken off, or given another password, while it was checked
        return persons.begin_session(tx, name, now=house.clock.now())


def _logout(visit: Visit, token: str) -> Response:
    with visit.house.outbox.begin() as tx:
        persons.end_session(tx, token)
    response = RedirectResponse("/login", status_code=303)
    response.delete_cookie(visit.house.cookie, path="/", secure=visit.house.where.encrypted)
    return response


def _speak(visit: Visit, _token: str) -> Response:
    if (chosen := visit.form.get("language", "")) in catalogue.NAMES:
        with visit.house.outbox.begin() as tx:
            persons.speaks(tx, visit.person.name, chosen)
    here = visit.form.get("here", "")
    return RedirectResponse(f"/{here}" if here in _PLACES else "/", status_code=303)


# ---------------------------------------------------------------- pages


def _today(visit: Visit, _token: str) -> Response:
    with visit.house.outbox.read() as tx:
        facts = visit.facts(tx)
        shown = view.today(tx, facts, visit.person, visit.language)
        held = brake.show(tx, facts, visit.person, visit.language)
    loans = [loan for group in shown.groups for card in group.cards for loan in card.loans]
    return visit.show("today.html", here="today", shown=shown, brake=held, said=visit.said, loans=loans)


def _task(visit: Visit, _token: str) -> Response:
    """One task, a page at a time."""
    name = visit.query.get("name", "")
    with visit.house.outbox.read() as tx:
        facts = visit.facts(tx)
        card = view.one(tx, facts, visit.person, visit.language, name=name, page=visit.page)
    if card is None:
        return RedirectResponse("/", status_code=303)
    return visit.show("single.html", here="today", card=card, loans=card.loans)


def _drafts(visit: Visit, _token: str) -> Response:
    with visit.house.outbox.read() as tx:
        facts = visit.facts(tx)
        shown = draft.show(tx, facts, visit.person, visit.language, page=visit.page)
    loans = [one.loan_id for one in (*shown.asked, *shown.drafts)]
    return visit.show("drafts.html", here="drafts", shown=shown, said=visit.said, loans=loans)


def _journals(visit: Visit, _token: str) -> Response:
    with visit.house.outbox.read() as tx:
        facts = visit.facts(tx)
        shown = journal.show(tx, facts, visit.person, visit.language, page=visit.page)
    loans = [loan for archive in shown.archives for loan, _ in archive.loans]
    return visit.show("journals.html", here="journals", shown=shown, said=visit.said, loans=loans)


def _report(visit: Visit, _token: str) -> Response:
    query, settings = visit.query, visit.house.settings
    with visit.house.outbox.read() as tx:
        shown = report.show(
            tx,
            settings,
            visit.language,
            period=_period(query),
            kind=query.get("kind", ""),
            page=visit.page,
            now=visit.now,
        )
        late = report.takes_late(tx, shown.period)
        may_send = visit.person.role == "administrator" and report.is_held(tx)
    loans = [one.loan_id for one in shown.lines]
    return visit.show(
        "report.html", here="report", shown=shown, said=visit.said, late=late, may_send=may_send, loans=loans
    )


def _file(visit: Visit, _token: str) -> Response:
    """The file that PA2 takes by hand."""
    with visit.house.outbox.read() as tx:
        name, text = report.file(tx, visit.house.settings, period=_period(visit.query), now=visit.now)
    named = {"Content-Disposition": f'attachment; filename="{name}"'}
    return PlainTextResponse(text, media_type="text/csv", headers=named)


def _period(query: Mapping[str, str]) -> str | None:
    written = query.get("period", "")
    return written if _PERIOD.fullmatch(written) else None


def _decide(visit: Visit, _token: str) -> Response:
    """An answer to a line of the report."""
    period = _period(visit.form) or ""

    def answer(tx: Connection) -> None:
        report.answer(tx, visit.house.settings, visit.person, visit.form, now=visit.now)

    return _done_or_said(visit, answer, back=f"/report?period={period}")


def _finalised(visit: Visit, _token: str) -> Response:
    """The report is finalised in PA2, is not after all, or is to be sent for the first time."""
    period = _period(visit.form) or ""

    def answer(tx: Connection) -> None:
        report.finalise(tx, visit.house.settings, visit.person, visit.form, now=visit.now)

    return _done_or_said(visit, answer, back=f"/report?period={period}")


def _loan(visit: Visit, _token: str) -> Response:
    wanted = visit.query.get("id", "").strip()[:255]
    with visit.house.outbox.read() as tx:
        shown = done.loan(tx, wanted, visit.house.settings, visit.person, visit.language, now=visit.now)
    loans = [] if shown is None else [shown.loan_id]
    return visit.show("loan.html", here="loan", wanted=wanted, shown=shown, said=visit.said, loans=loans)


def _done(visit: Visit, _token: str) -> Response:
    with visit.house.outbox.read() as tx:
        shown = done.acts(tx, visit.house.settings, visit.language, now=visit.now)
    return visit.show("done.html", here="done", shown=shown)


def _act(visit: Visit, _token: str) -> Response:
    """One button of a task, a draft or a follow-up."""
    verb, _, entries = visit.form.get("do", "").partition(" ")
    back = visit.form.get("back", "/")

    note = visit.form.get("note", "").strip()[: act.LONGEST_NOTE]

    def answer(tx: Connection) -> None:
        if verb in brake.VERBS:
            brake.do(tx, visit.person, verb, entries, note=note, now=visit.now)
        else:
            act.do(tx, visit.person, verb, act.read(entries), note=note, now=visit.now)

    if loan := visit.form.get("loan", "").strip()[:255]:
        return _done_or_said(visit, answer, back=f"/loan?{urlencode({'id': loan})}")
    return _done_or_said(visit, answer, back=back if back in _BACK else "/")


def _done_or_said(visit: Visit, answer: Callable[[Connection], None], *, back: str) -> Response:
    """Do what a button says, whole or not at all. What is no longer as it was seen is said, and nothing is done."""
    told, english = "", ""
    try:
        with visit.house.outbox.begin() as tx:
            answer(tx)
    except act.Changed:
        code, status = "page.changed", 409
    except act.Forbidden:
        code, status = "page.forbidden", 403
    except errors.UsageError as error:
        code, status, told = "page.refused", 409, why.told(error, visit.language)
        english = "" if told else str(error)
    else:
        return RedirectResponse(f"{back}{'&' if '?' in back else '?'}said=did", status_code=303)
    said = " ".join(filter(None, [visit.language.say(code), told]))
    return visit.show("said.html", status=status, here="", said=said, why=english, back=back)


# ---------------------------------------------------------------- around them


def _asked(house: House, answer: Answer) -> Callable[[Request], Awaitable[Response]]:
    """Only for who is logged in; a form has to bring back what only our page knows."""

    async def endpoint(request: Request) -> Response:
        form = await brought.form(request) if request.method == "POST" else {}
        return await run_in_threadpool(_answer, house, answer, request, form)

    return endpoint


def _answer(house: House, answer: Answer, request: Request, form: Mapping[str, str]) -> Response:
    try:
        visit = house.visit(request, form)
        if visit is None:
            # Who answered something hears that it was not heard; who only looked is asked for her name.
            answered = request.method == "POST" and answer is not _logout
            return RedirectResponse(f"/login?{_asked_for(request, answered=answered)}".rstrip("?"), status_code=303)
        brought = form.get("form", "").encode()
        if request.method == "POST" and not hmac.compare_digest(brought, visit.session.form.encode()):
            said = visit.language.say("page.old_form")
            return visit.show("said.html", status=403, here="", said=said, why="", back="/")
        return answer(visit, request.cookies.get(house.cookie, ""))
    except errors.UsageError as error:
        spoken = _guessed(request, house.settings)
        return house.show("away.html", spoken, status=404, said=spoken.say("page.not_there"), why=str(error))
    except errors.OutboxAway:
        spoken = _guessed(request, house.settings)
        return house.show("away.html", spoken, status=503, said=spoken.say("page.away"), why="")


def _asked_for(request: Request, *, answered: bool) -> str:
    """What the log-in is told of a request of nobody."""
    if request.method == "POST":
        return "said=out" if answered else ""
    query = urlencode([(name, text) for name, text in request.query_params.multi_items() if name != "said"])
    to = _wanted(request.url.path + (f"?{query}" if query else ""))
    return urlencode({"to": to}) if to != "/" else ""


def _guessed(request: Request, settings: Settings) -> Language:
    """The language of a browser's first wish that we speak, else that of the settings."""
    for wish in request.headers.get("accept-language", "").split(","):
        name = wish.partition(";")[0].partition("-")[0].strip().lower()
        if name in catalogue.NAMES:
            return language.of(name)
    return language.of(settings.language)


def _nothing_here(_request: Request, _error: Exception) -> Response:
    return RedirectResponse("/", status_code=303)


def _sorry(house: House) -> Callable[[Request, Exception], Response]:
    def answer(request: Request, error: Exception) -> Response:
        _log.error("A page could not be shown", error=type(error).__name__, exc_info=error)
        return PlainTextResponse(_guessed(request, house.settings).say("page.unexpected"), status_code=500)

    return answer
