"""`kiva-relay page user add|remove|list`: who may open the coordinator's page."""

import getpass
import secrets
import sys
from typing import Annotated

import typer

from kiva_relay import errors
from kiva_relay.cli import figure, frame
from kiva_relay.config.settings import Settings
from kiva_relay.outbox import act, person
from kiva_relay.outbox.person import Person
from kiva_relay.words import language

_MOST = 100
_WAYS = ("add", "remove", "list")

What = Annotated[str, typer.Argument(metavar="add|remove|list", help="What to do.")]
Name = Annotated[
    str | None, typer.Argument(metavar="[NAME]", help="As it is typed to log in, and written beside what is done.")
]
Role = Annotated[
    str, typer.Option("--role", help="coordinator: decides what is hers; administrator: also discards what waits.")
]
Generate = Annotated[bool, typer.Option("--generate", help="Make a password and print it, instead of asking for one.")]


def command(
    what: What,
    name: Name = None,
    config: frame.Config = None,
    *,
    role: Role = "coordinator",
    lang: frame.Lang = None,
    generate: Generate = False,
    as_json: frame.AsJson = False,
) -> None:
    """Let a person open the coordinator's page, give one a new password, take one off, or show all of them.

    The password is asked for, or read from a pipe. Who gets a new one, or is taken off, is logged out at once.
    """
    if what not in _WAYS:
        raise errors.UsageError(f"Expected {', '.join(_WAYS)}; found {what}.", hint="kiva-relay page user list")
    settings = frame.load_to_look(config)
    if what == "list":
        _list(settings, as_json=as_json)
    elif what == "remove":
        _remove(settings, _named(name, what))
    else:
        spoken = language.of(lang or settings.language).name
        _add(settings, Person(_named(name, what), role, spoken), generate=generate)


def _named(name: str | None, what: str) -> str:
    given = (name or "").strip()
    if not given or len(given) > _MOST or not given.isprintable():
        raise errors.UsageError(f"Expected a name of at most {_MOST} letters.", hint=f"kiva-relay page user {what} awa")
    return given


def _add(settings: Settings, one: Person, *, generate: bool) -> None:
    from kiva_relay.page import password  # noqa: PLC0415 - argon2, which no other command needs

    if one.role not in person.ROLES:
        raise errors.UsageError(
            f"There is no role {one.role}: expected {' or '.join(person.ROLES)}.",
            hint=f"kiva-relay page user add {one.name} --role coordinator",
        )
    chosen = secrets.token_urlsafe(12) if generate else _asked()
    if len(chosen) < password.SHORTEST:
        raise errors.UsageError(
            f"A password has at least {password.SHORTEST} letters. Nothing was changed.",
            hint=f"kiva-relay page user add {one.name} --generate",
        )
    by, now = frame.person(), frame.now()
    with frame.outbox(settings) as outbox, outbox.begin() as tx:
        new = person.put(tx, one, password=password.made(chosen), by=by, now=now)
        about = {"what": one.name, "role": one.role, "new": new}
        act.record(tx, by=by, verb="page user add", about=about, note="", now=now)
    frame.header(settings)
    frame.say(f"{one.name} may open the page as {one.role}{'' if new else ', with the new password'}.")
    if generate:
        frame.say(f"Password: {chosen}")


def _asked() -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    first = getpass.getpass("Password: ")
    if getpass.getpass("Once more: ") != first:
        raise errors.UsageError("These are two different passwords. Nothing was changed.")
    return first


def _remove(settings: Settings, name: str) -> None:
    by, now = frame.person(), frame.now()
    with frame.outbox(settings) as outbox, outbox.begin() as tx:
        if not person.remove(tx, name):
            near = errors.nearest(name, [one.name for one, _ in person.everybody(tx)])
            raise errors.UsageError(
                f"Nobody on the page is called {name}.",
                hint=f"kiva-relay page user remove {near[0]}" if near else "kiva-relay page user list",
            )
        act.record(tx, by=by, verb="page user remove", about={"what": name}, note="", now=now)
    frame.header(settings)
    frame.say(f"{name} can no longer open the page. What was done stays written down.")


def _list(settings: Settings, *, as_json: bool) -> None:
    with frame.outbox(settings) as outbox, outbox.read() as tx:
        found = person.everybody(tx)
    if as_json:
        frame.print_json([vars(one) | {"seen_at": seen} for one, seen in found])
        return
    frame.header(settings)
    now = frame.now()
    rows = [
        (one.name, one.role, one.language, None if seen is None else figure.moment(seen, settings, at=now))
        for one, seen in found
    ]
    frame.table(("name", "role", "language", "last there"), rows)
    if not rows:
        frame.say("  Nobody yet:   kiva-relay page user add NAME --role coordinator")
