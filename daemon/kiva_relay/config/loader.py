"""From a file, the environment and the command line to settings; or to every mistake in them at once.

Built-in default < file < KIVA_RELAY_* < command line; KIVA_RELAY_MIS__POLL_EVERY=5s sets mis.poll_every.
"""

from __future__ import annotations

import shlex
import stat
import sys
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from kiva_relay.config import secret, settings, tree
from kiva_relay.config.mismatch import Mismatch, found
from kiva_relay.config.secret import Secret
from kiva_relay.config.settings import Settings
from kiva_relay.config.tree import ConfigTree, Origin, Steps
from kiva_relay.errors import ConfigurationError, Mistake, UsageError, nearest

USUAL_PLACE = Path("/etc/kiva-relay/config.yaml")
VARIABLE = "KIVA_RELAY_CONFIG"
PREFIX = "KIVA_RELAY_"


def load(
    file: Path | None = None,
    *,
    environ: Mapping[str, str],
    overrides: Mapping[str, str] = types.MappingProxyType({}),
) -> Settings:
    """Read and check the settings.

    Args:
        file: the configuration; without it KIVA_RELAY_CONFIG names it, else it is the one in /etc/kiva-relay.
        environ: the environment.
        overrides: what the command line sets, by key: `{"mis.poll_every": "5s"}`.

    Raises:
        UsageError: there is no configuration, or it cannot be read.
        ConfigurationError: it holds mistakes; all of them are told.
    """
    file = find(file, environ=environ)
    written = tree.read(_text(file), file)
    if written.data is None:
        raise ConfigurationError(written.mistakes)
    if not isinstance(written.data, dict):
        remedy = "write keys and values, as in: kiva-relay config sample"
        raise ConfigurationError(
            [
                *written.mistakes,
                Mistake(file, 1, 1, "config", f"expected settings, found {found(written.data)}", remedy),
            ]
        )
    _lay_over(written, environ=environ, overrides=overrides)
    _open_sections(Settings, written.data)
    mistakes = list(written.mistakes)
    try:
        read = Settings.model_validate(written.data, context={"folder": file.parent.absolute()})
    except ValidationError as error:
        mistakes += [_mistake(detail, written) for detail in error.errors(include_url=False)]
    if mistakes:
        raise ConfigurationError(mistakes)
    return _finish(read, written)


def find(file: Path | None = None, *, environ: Mapping[str, str]) -> Path:
    """Which file is read.

    Raises:
        UsageError: it does not exist; names the places looked in.
    """
    named = file or (Path(environ[VARIABLE]) if environ.get(VARIABLE) else None)
    chosen = named or USUAL_PLACE
    try:
        if stat.S_ISDIR(chosen.stat().st_mode):
            raise UsageError(
                f"{chosen} is a folder.",
                hint=f"kiva-relay --config {shlex.quote(str(chosen / 'config.yaml'))}",
            )
    except (FileNotFoundError, NotADirectoryError):
        sample = f"kiva-relay config sample > {shlex.quote(str(chosen))}"
        if named:
            by = "--config" if file else VARIABLE
            raise UsageError(f"There is no configuration {chosen} ({by}).", hint=sample) from None
        raise UsageError(
            f"There is no configuration. Looked at: --config (not given), {VARIABLE} (not set), "
            f"{USUAL_PLACE} (not there).",
            hint=sample,
        ) from None
    except PermissionError:
        raise _forbidden(chosen) from None
    return chosen


def _text(file: Path) -> str:
    try:
        return file.read_bytes().decode("utf-8-sig")
    except PermissionError:
        raise _forbidden(file) from None
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError as error:
        before = error.object[: error.start]
        line, column = before.count(b"\n") + 1, error.start - before.rfind(b"\n")
        message = f"expected text in UTF-8, found the byte {error.object[error.start]:#04x}"
        remedy = f"iconv -f latin1 -t utf-8 {shlex.quote(str(file))} > config.utf-8.yaml"
        raise ConfigurationError([Mistake(file, line, column, "encoding", message, remedy)]) from None


def _forbidden(file: Path) -> UsageError:
    return UsageError(
        f"The configuration {file} belongs to the service and cannot be read by your user.",
        hint=shlex.join(["sudo", "kiva-relay", *sys.argv[1:]]),
    )


def _lay_over(written: ConfigTree, *, environ: Mapping[str, str], overrides: Mapping[str, str]) -> None:
    """Lay the environment, then the command line, over what the file says."""
    named_by_secrets = set(_variables(written.data))
    for variable in sorted(environ):
        if not variable.startswith(PREFIX) or variable == VARIABLE or variable in named_by_secrets:
            continue
        path = tuple(variable.removeprefix(PREFIX).lower().split("__"))
        origin = Origin(Path(f"environment variable {variable}"))
        written.place(path, _value(path, environ[variable]), origin)
    for key, text in overrides.items():
        path = tuple(key.split("."))
        written.place(path, _value(path, text), Origin(Path("command line")))


def _variables(data: object) -> Iterator[str]:
    """Names of the variables that secrets point to: those are no settings."""
    if isinstance(data, dict):
        if isinstance(data.get("env"), str):
            yield data["env"]
        for inner in data.values():
            yield from _variables(inner)


def _value(path: tuple[str, ...], text: str) -> Any:
    """A value given outside of the file: as it stands where text is expected, else read as YAML."""
    field = _field(path)
    kinds = get_args(field.annotation) or (field.annotation,) if field else ()
    if Secret in kinds and not text.lstrip().startswith("{"):
        return text
    if str in kinds or Path in kinds:
        return text
    return tree.scalar(text)


def _open_sections(model: type[BaseModel], data: dict[str, Any]) -> None:
    """Make every missing or empty group an empty one, so that each key missing in it is told by its name."""
    for name, field in model.model_fields.items():
        inner = settings.section_of(field)
        if inner is None:
            continue
        if data.get(name) is None:
            data[name] = {}
        if isinstance(data[name], dict):
            _open_sections(inner, data[name])


def _mistake(detail: ErrorDetails, written: ConfigTree) -> Mistake:
    path = detail["loc"]
    unknown = detail["type"] == "extra_forbidden"
    message, remedy = _sentences(detail)
    error = detail.get("ctx", {}).get("error")
    inner = (*path, *error.at) if isinstance(error, Mismatch) else path
    place = written.origin(inner, key=unknown)
    # `mappings[2]`, and `kiva.client_secret` rather than its `file`
    named = (*path, *(part for part in inner[len(path) :] if isinstance(part, int)))
    return Mistake(place.file, place.line, place.column, tree.dotted(named), message, remedy)


def _sentences(detail: ErrorDetails) -> tuple[str, str]:
    """What is wrong, and what to write instead."""
    path, value = detail["loc"], detail["input"]
    match detail["type"]:
        case "extra_forbidden":
            return "no such setting", _meant(path)
        case "missing":
            return "required, and not there", _example(path)
        case "literal_error":
            return _choice(path, value)
        case "value_error" if isinstance(wrong := detail["ctx"]["error"], Mismatch):
            return str(wrong), wrong.remedy or _where(path)
    names = list((_model(path) or Settings).model_fields)
    return f"expected settings, found {found(value)}", f"known here: {', '.join(names)}"


def _choice(path: Steps, value: object) -> tuple[str, str]:
    """A value that is none of the few that are possible."""
    field = _field(path)
    choices = [str(choice) for choice in _literals(field.annotation)] if field else []
    expected = " or ".join(filter(None, [", ".join(choices[:-1]), choices[-1]]))
    close = nearest(value, choices, limit=1) if isinstance(value, str) else []
    return f"expected {expected}, found {found(value)}", f"did you mean: {close[0]}" if close else _where(path)


def _literals(annotation: Any) -> Iterator[object]:
    if get_origin(annotation) is Literal:
        yield from get_args(annotation)
    else:
        for inner in get_args(annotation):
            yield from _literals(inner)


def _meant(path: Steps) -> str:
    """The setting that an unknown key was meant to be."""
    name, around = str(path[-1]), path[:-1]
    siblings = list((_model(around) or Settings).model_fields)
    close = nearest(name, siblings)
    if close:
        return f"did you mean: {', '.join(close)}"
    everywhere = [key for key, _ in settings.every()]
    elsewhere = [key for key in everywhere if key == name or key.rpartition(".")[2] == name]
    if elsewhere:
        above, _, key = elsewhere[0].rpartition(".")
        return f"{key} belongs under {above}:" if above else f"{key} belongs at the left margin, under nothing"
    return f"known here: {', '.join(siblings)}"


def _example(path: Steps) -> str:
    field = _field(path)
    example = _extra(field, "example")
    around = tree.dotted(path[:-1])
    line = f"{path[-1]}: {example or '…'}"
    where = _where(path)
    return (f"write under {around}:  " if around else "write  ") + line + (f"   ({where})" if where else "")


def _where(path: Steps) -> str:
    return _extra(_field(path), "where")


def _extra(field: FieldInfo | None, name: str) -> str:
    extra = field.json_schema_extra if field else None
    return str(extra.get(name, "")) if isinstance(extra, dict) else ""


def _model(path: Steps) -> type[BaseModel] | None:
    """The group of settings at a path."""
    model: type[BaseModel] = Settings
    for part in path:
        field = model.model_fields.get(str(part))
        kind = field.annotation if field else None
        if not isinstance(kind, type) or not issubclass(kind, BaseModel):
            return None
        model = kind
    return model


def _field(path: Steps) -> FieldInfo | None:
    model = _model(path[:-1]) if path else None
    return model.model_fields.get(str(path[-1])) if model else None


def _finish(read: Settings, written: ConfigTree) -> Settings:
    """Tell each secret which setting holds it, and note what works but should be better."""
    warnings = []
    groups = {}
    for group, name in _SECRETS:
        held: Secret | None = getattr(getattr(read, group), name)
        if held is None:
            continue
        groups[group] = getattr(read, group).model_copy(update={name: secret.named(held, f"{group}.{name}")})
        warning = _literal(group, name, written) if held.literal else None
        warnings += [warning] if warning else []
    finished = read.model_copy(update=groups)
    finished._file = written.file  # noqa: SLF001 - which file it was is no setting, and only the loader knows it
    finished._warnings = tuple(sorted(warnings))  # noqa: SLF001 - as above
    return finished


_SECRETS = tuple(
    (key.split(".")[0], key.split(".")[1])
    for key, field in settings.every()
    if Secret in (get_args(field.annotation) or (field.annotation,))
)


def _literal(group: str, name: str, written: ConfigTree) -> Mistake | None:
    """Warn of a secret that stands in the file; one that the environment gave stands in none."""
    path = (group, name) if (group, name) in written.values else (group, "url")
    place = written.origin(path)
    remedy = f"{name}: {{file: /etc/kiva-relay/secret/{group}}}"
    if not place.line:
        return None
    everybody = place.file.stat().st_mode & stat.S_IROTH
    message = "the secret itself stands here" + (", in a file that everybody can read" if everybody else "")
    return Mistake(place.file, place.line, place.column, ".".join(path), message, remedy, "warning")
