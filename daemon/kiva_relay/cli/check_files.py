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
from kiva_relay.config.secret import Secret
from kiva_relay.config.settings import Settings
from kiva_relay.outbox import own_file

_NAMED = 3
_MARKS = ('"', "'", "\u201c", "\u2018", "`")


def witness(settings: Settings) -> Iterator[CheckFinding]:
    """There or not yet; one that cannot be read or written ends the relay at its start."""
    file = settings.outbox.witness
    if not file.parent.is_dir():
        made = f"sudo install -d -o kiva-relay -m 0700 {_word(file.parent)}"
        yield CheckFinding("error", "witness", f"The folder {file.parent} does not exist.\n{made}")
    elif not _may(file.parent, os.W_OK | os.X_OK):
        yield CheckFinding("error", "witness", f"{file.parent} cannot be written by this user.\n{frame.with_sudo()}")
    elif file.is_dir():
        text = f"{file} is a folder; outbox.witness names a file. As one in it:"
        yield CheckFinding("error", "witness", f"{text}\nwitness: {file / 'witness.log'}")
    elif remedy := own_file.foreign(file):
        text = f"{file} belongs to another user: the service cannot write it."
        yield CheckFinding("error", "witness", f"{text}\n{remedy}")
    elif file.exists() and not _may(file, os.R_OK | os.W_OK):
        text = f"{file} cannot be read and written by its own user."
        yield CheckFinding("error", "witness", f"{text}\nsudo chmod 600 {_word(file)}")
    else:
        yield CheckFinding("ok", "witness", str(file))


def open_to_all(settings: Settings) -> Iterator[CheckFinding]:
    """Files by which anybody on this machine could change what is sent, and where."""
    places = [settings.file, *settings.mapping_folders]
    places += [file for folder in settings.mapping_folders for file in sorted(folder.rglob("*.*"))]
    found = [place for place in places if _is_open(place)]
    if found:
        what = ", ".join(map(str, found[:_NAMED])) + (f" and {more} more" if (more := len(found) - _NAMED) > 0 else "")
        text = f"Everybody on this machine can change {what}, and with it what is sent to Kiva."
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
            yield CheckFinding("warning", "secrets", f"{one.setting} is {one}, and {said}\n{_mending(one)}")


def _odd(text: str) -> str:
    if len(text) > 1 and text[0] in _MARKS and text[0] == text[-1]:
        return "quotation marks stand around it: they count as a part of it."
    if text != text.strip():
        return "a blank stands before or behind it: it counts as a part of it."
    if len(text.splitlines()) > 1:
        return "it has more than one line: all of them count."
    return ""


def _mending(one: Secret) -> str:
    if one.way != "file":
        return "Write it without."
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


def _may(place: Path, how: int) -> bool:
    return os.access(place, how, effective_ids=True)


def _word(path: Path) -> str:
    return shlex.quote(str(path))
