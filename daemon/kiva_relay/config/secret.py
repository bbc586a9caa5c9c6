"""Passwords and the like: the configuration holds where they are, not what they are."""

from __future__ import annotations

import os
import re
import shlex
import stat
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import GetCoreSchemaHandler, ValidationInfo
from pydantic_core import core_schema

from kiva_relay.config.mismatch import Mismatch, Whole, found
from kiva_relay.errors import UsageError, nearest

_FOLDER = "/etc/kiva-relay/secret"
_WAYS = ("credential", "file", "env")
_SPELLINGS = "{credential: NAME}, {file: /PATH} or {env: NAME}"
_CREDENTIAL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*", re.ASCII)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


@dataclass(frozen=True, repr=False)
class Secret:
    """A reference to a secret, read only when it is needed, and never printed.

    `way` is how it is found, `name` the credential's name, the file's path or the variable's name; of a
    literal secret it is the secret itself. `setting` is the key that holds it, as `mis.password`.
    """

    way: Literal["credential", "file", "env", "literal"]
    name: str
    setting: str = ""

    @property
    def literal(self) -> bool:
        """Whether the secret itself stands in the configuration."""
        return self.way == "literal"

    def __repr__(self) -> str:
        return "Secret(literal)" if self.literal else f"Secret({self})"

    def __str__(self) -> str:
        """Where the secret is; of a literal one, nothing but that."""
        return "(a literal secret)" if self.literal else f"{{{self.way}: {self.name}}}"

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)

    def reveal(self, environ: Mapping[str, str] | None = None) -> str:
        """The secret itself, without the line end that editors leave behind it.

        Raises:
            UsageError: it is not where the reference points, cannot be read, or is empty.
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
            "env": f"export {self.name}=…",
            "file": f"sudoedit {shlex.quote(self.name)}",
            "credential": f"sudoedit {_FOLDER}/{self.name} && sudo systemctl restart kiva-relay",
        }[self.way]

    def _credentials(self, environ: Mapping[str, str]) -> Path:
        """The folder that systemd made for the service; a command run with sudo reads where systemd takes it from."""
        folder = environ.get("CREDENTIALS_DIRECTORY")
        if folder:
            return Path(folder)
        if os.geteuid() == 0:
            return Path(_FOLDER)
        command = shlex.join(["sudo", "kiva-relay", *sys.argv[1:]])
        raise UsageError(f"{self._what}. Credentials of systemd exist inside the service only.", hint=command)

    def _read(self, file: Path) -> str:
        try:
            return file.read_text("utf-8")
        except FileNotFoundError:
            if self.way == "file":
                hint = f"sudo install -m 640 -g kiva-relay /dev/null {file}, then sudoedit {file}"
            else:
                load = f"LoadCredential={self.name}:{_FOLDER}/{self.name}"
                hint = f"sudo systemctl edit kiva-relay, and write: [Service] {load}"
            raise UsageError(f"{self._what}, and {file} does not exist.", hint=hint) from None
        except PermissionError:
            command = shlex.join(["sudo", "kiva-relay", *sys.argv[1:]])
            raise UsageError(f"{self._what}, and your user cannot read {file}.", hint=command) from None
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{self._what}, and {file} cannot be read: {error}.") from None

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        """Let pydantic make a secret of what the configuration holds."""
        del source, handler
        return core_schema.with_info_plain_validator_function(_validate)


def _validate(written: object, info: ValidationInfo) -> Secret:
    context = info.context or {}
    secret = parse(written, folder=context.get("folder", Path()))
    if secret.way == "file":
        _look_at(Path(secret.name))
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
        raise Mismatch(f"expected {_SPELLINGS}, found {found(written)}", remedy=_quoting(written))
    if len(written) != 1:
        names = ", ".join(map(str, written)) or "nothing"
        raise Mismatch(f"expected one of {_SPELLINGS}, found {names}")
    ((way, name),) = written.items()
    if way not in _WAYS:
        close = nearest(str(way), _WAYS, limit=1)
        remedy = f"did you mean: {close[0]}" if close else f"write {_SPELLINGS}"
        raise Mismatch(f'"{way}" is no place for a secret', remedy=remedy, at=(str(way),))
    return _reference(way, name.source if isinstance(name, Whole) else name, folder=folder)


def _reference(way: Literal["credential", "file", "env"], name: object, *, folder: Path) -> Secret:
    if not isinstance(name, str) or not name:
        raise Mismatch(f"expected the name of the {way}, found {found(name)}", at=(way,))
    if way == "credential" and not _CREDENTIAL.fullmatch(name):
        raise Mismatch(f"expected the name of a credential, found {found(name)}", at=(way,))
    if way == "env" and not _VARIABLE.fullmatch(name):
        remedy = "only the name, as {env: KIVA_SECRET}, without $"
        raise Mismatch(f"expected the name of a variable, found {found(name)}", remedy=remedy, at=(way,))
    return Secret(way, str(folder / name) if way == "file" else name)


def named(secret: Secret, setting: str) -> Secret:
    """The same secret, knowing which setting holds it, for its messages."""
    return replace(secret, setting=setting)


def _quoting(written: object) -> str:
    return f'if this is the secret itself, write it in quotes: "{written}"' if isinstance(written, bool) else ""


def _look_at(file: Path) -> None:
    """Refuse a file that cannot be read, or that everybody can read."""
    quoted = shlex.quote(str(file))
    try:
        status = file.stat()
    except FileNotFoundError:
        remedy = f"sudo install -m 640 -g kiva-relay /dev/null {quoted}, then sudoedit {quoted}"
        raise Mismatch(f"the file {file} does not exist", remedy=remedy, at=("file",)) from None
    except OSError as error:
        raise Mismatch(f"the file {file} cannot be read: {error.strerror}", at=("file",)) from None
    if stat.S_ISDIR(status.st_mode):
        raise Mismatch(f"expected a file, and {file} is a folder", at=("file",))
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
