"""What `check` sees of files: the witness, secrets as they were written, who may change what is sent."""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Iterator
from pathlib import Path

from kiva_relay import errors
from kiva_relay.cli import frame
from kiva_relay.cli.check_finding import CheckFinding
from kiva_relay.config import partner
from kiva_relay.config.database import WITNESS
from kiva_relay.config.secret import Secret
from kiva_relay.config.settings import Settings
from kiva_relay.outbox import own_file
from kiva_relay.words.spoken import marked, tr

_NAMED = 3
_QUOTED = marked("Quotation marks stand around it: they count as a part of it.")
_BLANK = marked("A blank stands before or behind it: it counts as a part of it.")
_LINES = marked("It has more than one line: all of them count.")
_MARKS = ('"', "'", "\u201c", "\u2018", "`")


def witness(settings: Settings) -> Iterator[CheckFinding]:
    """There or not yet; one that cannot be read or written ends the relay at its start."""
    file = settings.outbox.witness
    if _makes_its_folder(settings):
        yield CheckFinding("ok", "witness", tr("{file}; its unit makes the folder when it starts", file=str(file)))
    elif not _is_there(file.parent):
        made = f"sudo install -d -o kiva-relay -m 0700 {_word(file.parent)}"
        yield CheckFinding(
            "error", "witness", f"{tr('The folder {folder} does not exist.', folder=str(file.parent))}\n{made}"
        )
    elif not _may(file.parent, os.W_OK | os.X_OK):
        text = tr("{folder} cannot be written by this user.", folder=str(file.parent))
        yield CheckFinding("error", "witness", f"{text}\n{frame.with_sudo()}")
    elif file.is_dir():
        text = tr("{file} is a folder; outbox.witness names a file. As one in it:", file=str(file))
        yield CheckFinding("error", "witness", f"{text}\nwitness: {file / 'witness.log'}")
    elif remedy := own_file.foreign(file):
        text = tr("{file} belongs to another user: the service cannot write it.", file=str(file))
        yield CheckFinding("error", "witness", f"{text}\n{remedy}")
    elif file.exists() and not _may(file, os.R_OK | os.W_OK):
        text = tr("{file} cannot be read and written by its own user.", file=str(file))
        yield CheckFinding("error", "witness", f"{text}\nsudo chmod 600 {_word(file)}")
    else:
        yield CheckFinding("ok", "witness", str(file))


def _makes_its_folder(settings: Settings) -> bool:
    """Has the unit of a partner never started? Then the folder of its witness is not there yet."""
    folder, name = settings.outbox.witness.parent, partner.of(settings.file)
    return bool(name) and folder == WITNESS / name and not _is_there(folder)


def open_to_all(settings: Settings) -> Iterator[CheckFinding]:
    """Files by which anybody on this machine could change what is sent, and where."""
    places = [settings.file, *settings.mapping_folders]
    places += [file for folder in settings.mapping_folders for file in sorted(folder.rglob("*.*"))]
    found = [place for place in places if _is_open(place)]
    if found:
        what, more = ", ".join(map(str, found[:_NAMED])), len(found) - _NAMED
        what = tr("{places} and {number} more", places=what, number=more) if more > 0 else what
        text = tr("Everybody on this machine can change {what}, and with it what is sent to Kiva.", what=what)
        command = " ".join(["sudo chmod o-w", *map(_word, found)])
        yield CheckFinding("warning", "configuration", f"{text}\n{command}")


def secrets(settings: Settings) -> Iterator[CheckFinding]:
    """Secrets that were written as they are not meant: nothing of them is shown."""
    held = (settings.kiva.client_secret, settings.mis.password, settings.outbox.password)
    for one in held:
        if one is None:
            continue
        try:
            text = one.reveal()
        except errors.RelayError:
            continue  # said where it is used
        if said := _odd(text):
            text = tr("{setting} is {secret}.", setting=str(one.setting), secret=str(one))
            yield CheckFinding("warning", "secrets", f"{text} {tr(*said)}\n{_mending(one)}")


def _odd(text: str) -> tuple[str, ...]:
    if len(text) > 1 and text[0] in _MARKS and text[0] == text[-1]:
        return _QUOTED
    if text != text.strip():
        return _BLANK
    return _LINES if len(text.splitlines()) > 1 else ()


def _mending(one: Secret) -> str:
    if one.way != "file":
        return tr("Write it without.")
    # Its first line, without what stands around it.
    file = _word(Path(one.name))
    return rf"""sudo sed -i -e '2,$d' -e 's/^[[:space:]"'\''`]*//' -e 's/[[:space:]"'\''`]*$//' {file}"""


def _is_open(place: Path) -> bool:
    try:
        found = place.stat()
    except OSError:
        return False
    sticky = stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX
    return bool(found.st_mode & stat.S_IWOTH) and not sticky


def _is_there(folder: Path) -> bool:
    return os.path.isdir(folder)  # noqa: PTH112 - pathlib's raises where a folder cannot be looked into


def _may(place: Path, how: int) -> bool:
    return os.access(place, how, effective_ids=True)


def _word(path: Path) -> str:
    return shlex.quote(str(path))
