"""A database server that answers, and does not let us in: what it is about, and what to type.

PostgreSQL says it in its own language before a session exists, without a code: the three of this product are known.
Whatever is not recognised counts as a server that is away, which is waited for.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Literal

import sqlalchemy as sa

from kiva_relay import errors

_SQLITE = b"SQLite format 3\0"
"""So its file begins, unless it is empty."""

About = Literal["password", "database"]

_STATES: dict[str, About] = {"28P01": "password", "28000": "password", "3D000": "database"}
_NUMBERS: dict[int, About] = {1045: "password", 1698: "password", 1049: "database", 1044: "database"}
_SAID: tuple[tuple[re.Pattern[str], About], ...] = (
    (
        re.compile(
            r"(password|peer|ident|md5|scram\S*) authentication failed|no password supplied"
            r"|role \S+ does not exist|no pg_hba\.conf entry"
            r"|authentification par mot de passe échouée|authentification peer échouée|le rôle .* n'existe pas"
            r"|autentificación \S+ falló|no existe el rol",
            re.IGNORECASE,
        ),
        "password",
    ),
    (
        re.compile(
            r"database \S+ does not exist|permission denied for database"
            r"|la base de données .* n'existe pas|no existe la base de datos",
            re.IGNORECASE,
        ),
        "database",
    ),
)


def about(error: sa.exc.DBAPIError) -> About | None:
    """What the server refuses us for; None when it does not, or is away."""
    state = getattr(error.orig, "sqlstate", None)
    if state is not None:
        return _STATES.get(state)
    arguments = getattr(error.orig, "args", ())
    if arguments and isinstance(arguments[0], int):
        return _NUMBERS.get(arguments[0])
    if type(error.orig).__module__.partition(".")[0] != "psycopg":
        return None
    said = str(error.orig)
    return next((what for pattern, what in _SAID if pattern.search(said)), None)


def no_file(url: sa.URL) -> errors.Denied | None:
    """Of a MIS in a file: that there is none, or a folder in its place; no server comes back by itself there."""
    if url.get_backend_name() != "sqlite" or not url.database:
        return None
    file = Path(url.database)
    if file.is_dir():
        return errors.Denied(
            f"{file}, which mis.url names, is a folder: a file is expected.", hint=f"ls -l {_word(file)}"
        )
    try:
        with file.open("rb") as content:
            begins = content.read(len(_SQLITE))
        if begins and begins != _SQLITE:
            return errors.Denied(f"{file}, which mis.url names, is no SQLite database.", hint=f"file {_word(file)}")
    except FileNotFoundError:
        # Three strokes of a URL begin a path in the folder of the configuration, four a path from the root.
        ends = [Path("/", *file.parts[at:]) for at in range(2, len(file.parts))]
        meant = next((end for end in ends if end.is_file()), None)
        hint = f"write mis.url with four strokes: sqlite:///{meant}" if meant else f"ls -l {_word(_there(file))}"
        return errors.Denied(f"There is no file {file}, which mis.url names. Nothing is lost.", hint=hint)
    except OSError:
        pass
    return None


def _there(path: Path) -> Path:
    """The nearest folder above that is there."""
    return next(folder for folder in path.parents if folder.is_dir())


def _word(path: Path) -> str:
    return shlex.quote(str(path))


def explained(what: About, url: sa.URL, *, cause: str, where: str) -> errors.Denied:
    """The sentence for it, and what to type next."""
    user = url.username or "(no user)"
    if what == "password":
        message = f"The MIS database {where} answers, and refuses the user {user} of mis.url: {cause}."
        hint = f"Correct mis.password, or the user in mis.url. To try them:\n{_client(url)}"
    else:
        message = (
            f"The MIS database server answers, and does not give {url.database} of mis.url to the user {user}: {cause}."
        )
        hint = f"Correct the name in mis.url. Which there are:\n{_listing(url)}"
        hint += "\nIf the name is right, the user lacks the right:\nkiva-relay check --grants"
    return errors.Denied(f"{message} Nothing is lost.", hint=hint)


def _client(url: sa.URL) -> str:
    """The client program of the server, as a person calls it with the same answers."""
    if url.get_backend_name() == "postgresql":
        return shlex.join(["psql", *_server(url, "-p", "-U"), "-d", url.database or "", "-c", "SELECT 1"])
    return shlex.join(["mariadb", *_server(url, "-P", "-u"), "-p", "-e", "SELECT 1", url.database or ""])


def _listing(url: sa.URL) -> str:
    """What lists the names of its databases."""
    if url.get_backend_name() == "postgresql":
        return shlex.join(["psql", *_server(url, "-p", "-U"), "-d", "postgres", "-l"])
    return shlex.join(["mariadb", *_server(url, "-P", "-u"), "-p", "-e", "SHOW DATABASES"])


def _server(url: sa.URL, port: str, user: str) -> list[str]:
    host, number = url.host or url.query.get("host"), url.port or url.query.get("port")
    named = ["-h", str(host)] if host else []
    return [*named, *([port, str(number)] if number else []), *([user, url.username] if url.username else [])]
