"""From a file, the environment and the command line to settings; or to every mistake in them at once.

Built-in default < file < KIVA_RELAY_* < command line; KIVA_RELAY_MIS__POLL_EVERY=5s sets mis.poll_every.
"""

from __future__ import annotations

import os
import re
import shlex
import stat
import types
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from kiva_relay.config import complaint, concealed, partner, secret, settings, written, yaml_reader
from kiva_relay.config.mismatch import found
from kiva_relay.config.mistake_report import MistakeReport, Writing
from kiva_relay.config.secret import Secret
from kiva_relay.config.settings import Settings
from kiva_relay.config.written import Origin, Steps, Written
from kiva_relay.errors import ConfigurationError, Mistake, UsageError, nearest
from kiva_relay.terminal import to_type

USUAL_PLACE = partner.HOME / partner.FILE
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
        file: the configuration, or the name of a partner; without it KIVA_RELAY_CONFIG names it, else it is the one in
            /etc/kiva-relay.
        environ: the environment.
        overrides: what the command line sets, by key: `{"mis.poll_every": "5s"}`.

    Raises:
        UsageError: there is no configuration, or it cannot be read.
        ConfigurationError: it holds mistakes: all of them, at once.
    """
    source, report = _read(file, environ=environ, overrides=overrides)
    mistakes = list(report.mistakes)
    try:
        read = Settings.model_validate(source.data, context={"folder": source.file.parent.absolute()})
    except ValidationError as error:
        mistakes += _beyond(complaint.mistakes(error, source), report)
    else:
        mistakes += _of_a_partner(read, source)
    if mistakes:
        raise ConfigurationError(mistakes)
    return _finish(read, source)


def load_to_look(
    file: Path | None = None, *, environ: Mapping[str, str], needs: str = "outbox"
) -> tuple[Settings, list[Mistake]]:
    """The settings for a command that only looks at the outbox, and the mistakes that do not concern it.

    `needs` is the group of settings that must be right.

    A setting that holds a mistake has its default, one that has none its example: such a command needs to know
    where the outbox is, and little else. So the relay can be watched and held while its file is being edited.

    Raises:
        UsageError: there is no configuration, or it cannot be read.
        ConfigurationError: what it needs holds a mistake; or nothing can be read.
    """
    source, report = _read(file, environ=environ, overrides={})
    mistakes = list(report.mistakes)
    for _ in settings.every():
        try:
            read = Settings.model_validate(source.data, context={"folder": source.file.parent.absolute()})
        except ValidationError as error:
            found = complaint.mistakes(error, source)
            mistakes += [each for each in _beyond(found, report) if each not in mistakes]
            if any(each.path.split(".")[0] == needs for each in [*found, *mistakes]):
                raise ConfigurationError(mistakes or found) from None
            paths = complaint.places(error, source)
            items = {item for path in paths if (item := complaint.in_a_list(path))}
            for path in (path for path in paths if not complaint.in_a_list(path)):
                _leave_out(source.data, path)
            for item in sorted(items, reverse=True):  # the last first, for those behind it move up
                _leave_out_item(source.data, item)
        else:
            theirs = _of_a_partner(read, source)
            if theirs and needs == "outbox":
                raise ConfigurationError([*mistakes, *theirs])
            return _finish(read, source), [*mistakes, *theirs]
    raise ConfigurationError(mistakes)


def _of_a_partner(read: Settings, source: Written) -> list[Mistake]:
    """An outbox in a file, which a partner's unit may not write, and a purge of the package would forget."""
    name, outbox = partner.of(source.file.absolute()), read.outbox.file
    if not name or outbox is None:
        return []
    place = source.origin(("outbox", "url"))
    message = f"expected an outbox on PostgreSQL, as {partner.UNIT}@{name} needs it; found the file {outbox}"
    remedy = "url: postgresql://kiva_relay@HOST/kiva_relay?target_session_attrs=read-write&options=-csearch_path=SCHEMA"
    return [Mistake(place.file, place.line, place.column, "outbox.url", message, remedy)]


def _leave_out_item(data: Any, path: tuple[Any, ...]) -> None:
    """Take one of a list away, as a recipient of mail: the others stay."""
    *around, name = path
    for each in around:
        data = data[each]
    if isinstance(data, list):
        del data[name]
    else:  # it stands alone, without a list
        data.clear()


def _leave_out(data: dict[str, Any], path: Steps) -> None:
    """Take a wrong value away; what is required, and not there, gets the example of its documentation.

    Where a default is wrong beside what is written, the group goes as a whole.
    """
    whole = data
    names = [part for part in path if isinstance(part, str)]
    while names and complaint.field_at(tuple(names)) is None and complaint.field_at(tuple(names[:-1])) is not None:
        names = names[:-1]  # one of the parameters
    *around, name = names
    for each in around:
        if not isinstance(data.get(each), dict):
            data[each] = {}
        data = data[each]
    known = name in data
    data.pop(name, None)
    field = complaint.field_at(tuple(names))
    is_default = field is not None and not known and not field.is_required()
    if is_default and not Settings.model_fields[names[0]].is_required():
        whole.pop(names[0], None)
        return
    if field is None or (known and not field.is_required()):
        return
    extra = field.json_schema_extra
    tree = yaml_reader.scalar(str(extra.get("example", ""))) if isinstance(extra, dict) else None
    if tree is not None:
        data[name] = written.plain(tree)


def _read(
    file: Path | None, *, environ: Mapping[str, str], overrides: Mapping[str, str]
) -> tuple[Written, MistakeReport]:
    """What is written in the file, and laid over it; the mistakes of YAML are in the report."""
    file = find(file, environ=environ)
    if not os.access(file, os.R_OK):
        raise _forbidden(file)
    report = MistakeReport(file, Writing(hides=_hides, named=_named))
    tree = yaml_reader.read(file, report)
    if tree is None:
        raise ConfigurationError(report.mistakes)
    if not tree.null and tree.kind != "map":
        remedy = "write keys and values, as in: kiva-relay config sample"
        report.add(tree, "config", f"expected settings, found {found(written.plain(tree))}", remedy=remedy)
        raise ConfigurationError(report.mistakes)
    source = written.of(tree, report)
    _lay_over(source, environ=environ, overrides=overrides)
    _open_sections(Settings, source.data)
    return source, report


def _beyond(mistakes: list[Mistake], report: MistakeReport) -> Iterator[Mistake]:
    """The mistakes that do not come of a line that YAML could not read: what it meant is not known."""
    for each in mistakes:
        if not report.broken or (each.line not in report.broken and each.message != complaint.MISSING):
            yield each


def _hides(keys: tuple[str, ...], value: str) -> bool:
    """Whether a value may be a secret: all but what is known to be none."""
    if not _CLOSED.isdisjoint(keys):
        return keys[-1] not in _CLOSED or not concealed.is_reference(value)
    inside = _KEYS.findall(value) if value.startswith("{") else keys[-1:]
    return keys[:1] != ("parameters",) and (not inside or not _OPEN.issuperset(inside))


def _named(keys: Sequence[str]) -> str:
    """The key that a message names: nothing below a setting that may be a secret, and no key that may be one."""
    for number, key in enumerate(keys, start=1):
        if key.partition(":")[0] in _CLOSED:
            return key.partition(":")[0]
        if number == len(keys):
            return concealed.key(key)
    return ""


def _inside(folder: Path) -> str:
    """What to type where a folder was named."""
    file = folder / USUAL_PLACE.name
    named = shlex.quote(str(file))
    return f"kiva-relay check --config {named}" if file.is_file() else f"kiva-relay config sample > {named}"


def find(file: Path | None = None, *, environ: Mapping[str, str]) -> Path:
    """Which file is read.

    Raises:
        UsageError: it does not exist; names the places looked in.
    """
    named = file or (Path(environ[VARIABLE]) if environ.get(VARIABLE) else None)
    chosen = meant(named) if named else USUAL_PLACE
    try:
        if stat.S_ISDIR(chosen.stat().st_mode):
            raise UsageError(
                f"{chosen} is a folder.",
                hint=_inside(chosen),
            )
    except (FileNotFoundError, NotADirectoryError):
        sample = f"kiva-relay config sample > {shlex.quote(str(chosen))}"
        if named:
            by = "--config" if file else VARIABLE
            name = partner.of(chosen)
            close = nearest(name, partner.every())
            made = f"sudo kiva-relay init --config {name}" if name else sample
            hint = f"Did you mean: {', '.join(close)}" if close else made
            raise UsageError(f"There is no configuration {chosen} ({by}).", hint=hint) from None
        raise UsageError(
            f"There is no configuration. Looked at: --config (not given), {VARIABLE} (not set), "
            f"{USUAL_PLACE} (not there).",
            hint=sample,
        ) from None
    except PermissionError:
        raise _forbidden(chosen) from None
    return chosen


def meant(named: Path) -> Path:
    """The file that is meant by what was named: `north`, where that is no file, is the partner of this name."""
    name = str(named)
    theirs = partner.file(name)
    is_theirs = partner.is_name(name) and (os.path.exists(theirs) or not os.path.exists(named))  # noqa: PTH110 - pathlib's raises where a folder cannot be looked into
    return theirs if is_theirs else named


def _forbidden(file: Path) -> UsageError:
    return UsageError(
        f"The configuration {file} belongs to the service and cannot be read by your user.",
        hint=to_type.again(),
    )


def _lay_over(source: Written, *, environ: Mapping[str, str], overrides: Mapping[str, str]) -> None:
    """Lay the environment, then the command line, over what the file says."""
    named_by_secrets = set(_variables(source.data))
    for variable in sorted(environ):
        if not variable.startswith(PREFIX) or variable == VARIABLE or variable in named_by_secrets:
            continue
        path = tuple(variable.removeprefix(PREFIX).lower().split("__"))
        origin = Origin(Path(f"environment variable {variable}"))
        source.place(path, _value(path, environ[variable]), origin)
    for key, text in overrides.items():
        path = tuple(key.split("."))
        source.place(path, _value(path, text), Origin(Path("command line")))


def _variables(data: object) -> Iterator[str]:
    """Names of the variables that secrets point to: those are no settings."""
    if isinstance(data, dict):
        if isinstance(data.get("env"), str):
            yield data["env"]
        for inner in data.values():
            yield from _variables(inner)


def _value(path: tuple[str, ...], text: str) -> Any:
    """A value given outside of the file: as it stands where text is expected, else read as YAML."""
    kinds = complaint.kinds(complaint.field_at(path))
    if Secret in kinds and not text.lstrip().startswith("{"):
        return text
    if str in kinds or Path in kinds:
        return text
    tree = yaml_reader.scalar(text)
    return text if tree is None else written.plain(tree)


def _open_sections(model: type[BaseModel], data: dict[str, Any]) -> None:
    """Make every missing or empty group an empty one, so that each key missing in it is named."""
    for name, field in model.model_fields.items():
        inner = settings.section_of(field)
        if inner is None:
            continue
        if data.get(name) is None:
            data[name] = {}
        if isinstance(data[name], dict):
            _open_sections(inner, data[name])


def _finish(read: Settings, source: Written) -> Settings:
    """Tell each secret which setting holds it, and note what works but should be better."""
    warnings = []
    groups = {}
    for group, name in _SECRETS:
        held: Secret | None = getattr(getattr(read, group), name)
        if held is None:
            continue
        known = secret.named(held, f"{group}.{name}", folder=partner.secrets(source.file.parent.absolute()))
        groups[group] = getattr(read, group).model_copy(update={name: known})
        warning = _literal(group, name, source) if held.literal else None
        warnings += [warning] if warning else []
    finished = read.model_copy(update=groups)
    finished._file = source.file  # noqa: SLF001 - which file it was is no setting, and only the loader knows it
    finished._warnings = tuple(sorted(warnings))  # noqa: SLF001 - as above
    return finished


_SECRETS = tuple(
    (key.split(".")[0], key.split(".")[1]) for key, field in settings.every() if Secret in complaint.kinds(field)
)
# Keys of settings whose value may be a secret, and those whose value no message has to hide.
_CLOSED = frozenset(
    key.rpartition(".")[2] for key, _ in settings.every() if complaint.concealed_at(tuple(key.split(".")))
)
_OPEN = ({"day", "at", *secret.WAYS} | {key.rpartition(".")[2] for key, _ in settings.every()}) - _CLOSED
_KEYS = re.compile(r"[A-Za-z_][\w.\-]*(?=:)")


def _literal(group: str, name: str, source: Written) -> Mistake | None:
    """Warn of a secret that stands in the file; one that the environment gave stands in none."""
    path = (group, name) if (group, name) in source.values else (group, "url")
    place = source.origin(path)
    remedy = f"{name}: {{file: {partner.secrets(source.file.parent.absolute())}/{group}}}"
    if not place.line:
        return None
    everybody = place.file.stat().st_mode & stat.S_IROTH
    message = "the secret itself stands here" + (", in a file that everybody can read" if everybody else "")
    return Mistake(place.file, place.line, place.column, ".".join(path), message, remedy, "warning")
