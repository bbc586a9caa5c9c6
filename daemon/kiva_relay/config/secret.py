"""Passwords and the like: the configuration holds where they are, not what they are."""

from __future__ import annotations

import errno
import os
import re
import shlex
import stat
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import GetCoreSchemaHandler, ValidationInfo
from pydantic_core import core_schema

from kiva_relay.config import concealed, partner
from kiva_relay.config.mismatch import Mismatch, Whole
from kiva_relay.errors import RelayError, UsageError, counted, nearest
from kiva_relay.terminal import to_type

_FOLDER = partner.secrets(partner.HOME)
WAYS = ("credential", "file", "env")
"""How a reference says where a secret is."""

_PASSES = frozenset(
    {errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.EINTR, errno.ESTALE, errno.ETIMEDOUT}
)
"""What says nothing of the configuration: systemd never starts the relay again after a wrong one (exit code 2)."""

_LOOK_AT_DISK = "Look at the machine: sudo dmesg | tail; ulimit -n"
_SPELLINGS = "{credential: NAME}, {file: /PATH} or {env: NAME}"
_QUOTES = "if this is the secret itself, write it between quotes"
_CREDENTIAL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*", re.ASCII)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


@dataclass(frozen=True, repr=False)
class Secret:
    """A reference to a secret, read only when it is needed, and never printed.

    `way` is how it is found, `name` the credential's name, the file's path or the variable's name; of a
    literal secret it is the secret itself. `setting` is the key that holds it, as `mis.password`; `folder` is where
    systemd takes a credential from.
    """

    way: Literal["credential", "file", "env", "literal"]
    name: str
    setting: str = ""
    folder: Path = _FOLDER

    @property
    def literal(self) -> bool:
        """Whether the secret itself stands in the configuration."""
        return self.way == "literal"

    def __repr__(self) -> str:
        return "Secret(literal)" if self.literal else f"Secret({self})"

    def __str__(self) -> str:
        """Where the secret is; of a literal one, nothing but that."""
        if self.literal:
            return "(a literal secret)"
        # A file was there when the reference was read; another name may be the secret, written in the wrong place.
        return f"{{{self.way}: {self.name if self.way == 'file' else concealed.name(self.way, self.name)}}}"

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)

    def reveal(self, environ: Mapping[str, str] | None = None) -> str:
        """The secret itself, without the line end that editors leave behind it.

        Raises:
            UsageError: it is not where the reference points, cannot be read, or is empty.
            RelayError: the machine is in trouble, and it may be read again soon.
        """
        environ = os.environ if environ is None else environ
        match self.way:
            case "literal":
                return self.name
            case "env":
                secret = environ.get(self.name, "")
            case "file":
                secret = self._read(Path(self.name))
            case "credential":
                secret = self._read(self._credentials(environ) / self.name)
        secret = secret.rstrip("\r\n")
        if not secret:
            raise UsageError(f"{self._what} {self._where_empty}.", hint=self._remedy_when_empty)
        return secret

    @property
    def _what(self) -> str:
        return f"{self.setting or 'A secret'} is {self}"

    @property
    def _where_empty(self) -> str:
        return {
            "env": "and this environment variable is not set",
            "file": "and this file is empty",
            "credential": "and this credential is empty",
        }[self.way]

    @property
    def _remedy_when_empty(self) -> str:
        return {
            "env": f"export {concealed.name(self.way, self.name)}=…",
            "file": f"sudoedit {shlex.quote(self.name)}",
            "credential": f"sudoedit {self.folder}/{self.name} && sudo systemctl restart kiva-relay",
        }[self.way]

    def _credentials(self, environ: Mapping[str, str]) -> Path:
        """The folder that systemd made for the service; a command run with sudo reads where systemd takes it from."""
        folder = environ.get("CREDENTIALS_DIRECTORY")
        if folder:
            return Path(folder)
        if os.geteuid() == 0:
            return self.folder
        command = to_type.again()
        raise UsageError(f"{self._what}. Credentials of systemd exist inside the service only.", hint=command)

    def _read(self, file: Path) -> str:
        try:
            return file.read_text("utf-8-sig")  # Windows begins a text file with a mark
        except FileNotFoundError:
            gone = str(file) if self.way == "file" else "this credential"
            raise UsageError(f"{self._what}, and {gone} does not exist.", hint=self._remedy_when_gone(file)) from None
        except PermissionError:
            command = to_type.again()
            raise UsageError(f"{self._what}, and your user cannot read this file.", hint=command) from None
        except OSError as error:
            what = f"{self._what}, and this file cannot be read: {error.strerror}."
            raise RelayError(what, hint=_LOOK_AT_DISK) if error.errno in _PASSES else UsageError(what) from None
        except UnicodeDecodeError:
            name, copy = shlex.quote(str(file)), shlex.quote(f"{file}.utf-8")
            raise UsageError(
                f"{self._what}, and this file is no text in UTF-8; Windows may have written it as UTF-16.",
                hint=f"sudo iconv -f utf-16 -t utf-8 -o {copy} {name} && sudo cp {copy} {name} && sudo rm {copy}",
            ) from None

    def _remedy_when_gone(self, file: Path) -> str:
        if self.way == "file":
            return _making(str(file))
        load = f"[Service] LoadCredential=NAME:{self.folder}/NAME"
        known = ", ".join(sorted(each.name for each in _files(file.parent))) or "none"
        return f"There are: {known}. To make one: sudo systemctl edit kiva-relay, and write: {load}"

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        """Let pydantic make a secret of what the configuration holds."""
        del source, handler
        return core_schema.with_info_plain_validator_function(_validate)


def _validate(written: object, info: ValidationInfo) -> Secret:
    context = info.context or {}
    home = context.get("folder", Path())
    secret = parse(written, folder=home)
    if secret.way == "file":
        _look_at(Path(secret.name), home)
    return secret


def parse(written: object, *, folder: Path = Path()) -> Secret:
    """Read a reference, or a literal secret; a relative file is taken from `folder`.

    Raises:
        Mismatch: it is neither.
    """
    if isinstance(written, Secret):
        return written
    if isinstance(written, Whole):
        return Secret("literal", written.source)
    if isinstance(written, str) and written:
        return Secret("literal", written)
    if not isinstance(written, dict):
        remedy = _QUOTES if isinstance(written, bool) else ""
        raise Mismatch(f"expected {_SPELLINGS}, found {concealed.found(written)}", remedy=remedy)
    if len(written) != 1:
        raise Mismatch(f"expected one of {_SPELLINGS}, found {counted(len(written), 'key')}")
    ((way, name),) = written.items()
    if way not in WAYS:
        close = nearest(str(way), WAYS, limit=1)
        raise Mismatch(f"expected {_SPELLINGS}, found another key", remedy=f"did you mean: {close[0]}" if close else "")
    return _reference(way, name.source if isinstance(name, Whole) else name, folder=folder)


def _reference(way: Literal["credential", "file", "env"], name: object, *, folder: Path) -> Secret:
    if not isinstance(name, str) or not name:
        raise Mismatch(f"expected the name of the {way}, found {concealed.found(name)}", at=(way,))
    if way == "credential" and not _CREDENTIAL.fullmatch(name):
        raise Mismatch(f"expected the name of a credential, found {concealed.found(name)}", at=(way,))
    if way == "env" and not _VARIABLE.fullmatch(name):
        remedy = "only the name, as {env: KIVA_SECRET}, without $"
        raise Mismatch(f"expected the name of a variable, found {concealed.found(name)}", remedy=remedy, at=(way,))
    return Secret(way, str(folder / name) if way == "file" else name)


def named(secret: Secret, setting: str, *, folder: Path = _FOLDER) -> Secret:
    """The same secret, knowing which setting holds it, for its messages, and where systemd takes it from."""
    return replace(secret, setting=setting, folder=folder)


def _shown(file: Path, home: Path) -> str:
    """The path of a file that does not exist, where it is surely one: its folder is there, and was written out.

    Else a message does not repeat it. It may be the secret itself, pasted where the path belongs.
    """
    written_out = file.parent not in {Path("/"), Path(), home} and file.parent.is_dir()
    return str(file) if written_out else ""


def _making(file: str) -> str:
    quoted = shlex.quote(file)
    return f"sudo install -m 640 -g kiva-relay /dev/null {quoted}, then sudoedit {quoted}"


def _files(folder: Path) -> list[Path]:
    try:
        return [each for each in folder.iterdir() if each.is_file()]
    except OSError:
        return []


def _look_at(file: Path, home: Path) -> None:
    """Refuse a file that cannot be read, or that everybody can read."""
    quoted = shlex.quote(str(file))
    try:
        status = file.stat()
    except FileNotFoundError:
        shown = _shown(file, home)
        said = f"the file {shown} does not exist" if shown else "there is no such file"
        raise Mismatch(said, remedy=_making(shown or f"{partner.secrets(home)}/NAME"), at=("file",)) from None
    except (OSError, ValueError) as error:  # a name that is too long, or holds a NUL
        if isinstance(error, OSError) and error.errno in _PASSES:
            said = f"The secret file {file} cannot be read: {error.strerror}."
            raise RelayError(said, hint=_LOOK_AT_DISK) from None
        why = getattr(error, "strerror", "no path")
        raise Mismatch(f"this file cannot be read: {why}", at=("file",)) from None
    if stat.S_ISDIR(status.st_mode):
        inside = sorted(_files(file)) or [file / "NAME"]
        raise Mismatch(
            f"expected a file, and {file} is a folder", remedy=f"a file in it, as {{file: {inside[0]}}}", at=("file",)
        )
    mode = stat.S_IMODE(status.st_mode)
    if mode & 0o007:
        raise Mismatch(
            f"the file {file} can be read by everybody (mode {mode:o})"
            if mode & 0o004
            else f"the file {file} is open to everybody (mode {mode:o})",
            remedy=f"sudo chmod o= {quoted}",
            at=("file",),
        )
    if not os.access(file, os.R_OK):
        raise Mismatch(
            f"the file {file} cannot be read by this user (mode {mode:o})",
            remedy=f"use sudo; for the service: sudo chgrp kiva-relay {quoted}; sudo chmod 640 {quoted}",
            at=("file",),
        )
