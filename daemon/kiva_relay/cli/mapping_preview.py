"""`kiva-relay mapping preview`: what would be sent for one loan, and where each value comes from. Nothing is sent."""

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import typer

from kiva_relay.capture.context import mapper_context
from kiva_relay.cli import figure, frame, mappings, position_preview
from kiva_relay.clock import SystemClock
from kiva_relay.config.settings import Settings
from kiva_relay.delivery import batch
from kiva_relay.errors import RelayError, UsageError, counted
from kiva_relay.frozen import dataclass
from kiva_relay.mapping import lookup, mapper
from kiva_relay.mapping.document import Document
from kiva_relay.mapping.mapper import Mapped
from kiva_relay.resource import body as bodies
from kiva_relay.resource import loan_draft, refusal, window
from kiva_relay.resource import loan_id as spelled
from kiva_relay.service import opening
from kiva_relay.source.mis import Mis
from kiva_relay.source.reader import Content
from kiva_relay.terminal import visible

PERSONAL = ("first_name", "last_name", "group_name", "description", "loanuse", "subject", "body", "image_encoded")
"""Fields that hold names, stories and photos: shown only when asked for."""

_PAGE = 200
_SHOWN_OF_A_LIST = 2
_WIDEST = 60


@dataclass(frozen=True)
class _Shown:
    """One mapped key: by which mapping, whether it is in scope, and what became of it."""

    document: Document
    content: Content
    mapped: Mapped


def command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A mapping, or a resource: all its mappings are tried.")],
    key: Annotated[str | None, typer.Argument(metavar="[KEY]", help="The database key, in place of --loan.")] = None,
    config: frame.Config = None,
    *,
    loan: frame.Loan = None,
    show_names: Annotated[bool, typer.Option("--show-names", help="Show names and stories, too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print only the body, exactly as it would be sent.")] = False,
) -> int:
    """Show what would be sent for one loan, and where each value comes from. Nothing is sent.

    Without --loan or a key, the first one in scope is shown. Exit code 1 when it would be refused.
    """
    if loan is not None and key is not None:
        raise UsageError("A key and --loan were given; one is enough.")
    settings = frame.load(config)
    chosen = mappings.named(name, mappings.load(settings))
    shown = _look_up(settings, chosen, _context(settings, quiet=as_json), loan=loan, key=key)
    if not shown:
        what = f"loan {loan}" if loan is not None else f"key {key}" if key is not None else "row in scope"
        raise UsageError(
            f"{', '.join(document.name for document in chosen)}: there is no {what} in the MIS.",
            hint="kiva-relay mapping list      shows what each mapping reads",
        )
    if as_json:
        for one in shown:
            if one.mapped.body is not None:
                frame.print_file(visible.json(bodies.encode(one.mapped.body).decode()))
    else:
        frame.header(settings)
        for one in shown:
            _show(settings, one, show_names=show_names)
            frame.say("  Nothing was sent.")
            frame.say()
    return 0 if all(one.mapped.body is not None for one in shown) else 1


# ---------------------------------------------------------------- looking up


def rows(
    settings: Settings, chosen: Sequence[Document], context: mapper.Context, *, loan: str
) -> list[tuple[Document, Content]]:
    """The live rows of a loan, each with the mapping that would send it."""
    return [(one.document, one.content) for one in _look_up(settings, chosen, context, loan=loan, key=None)]


def _look_up(
    settings: Settings, chosen: Sequence[Document], context: mapper.Context, *, loan: str | None, key: str | None
) -> list[_Shown]:
    mis = opening.open_mis(settings, clock=SystemClock())
    try:
        with frame.working("reading the MIS"):
            found = [one for document in chosen for one in _of(mis, document, context, loan=loan, key=key)]
    finally:
        mis.close()
    # A loan that two mappings read is shown by the one that would send it.
    in_scope = [one for one in found if one.content.in_scope]
    found = in_scope or found
    return found[:1] if loan is None and key is None else found


def _context(settings: Settings, *, quiet: bool) -> mapper.Context:
    now = frame.now()
    try:
        lists = mappings.lists(settings)
    except RelayError as error:
        lists = lookup.Lists()
        if not quiet:
            frame.notice(f"Kiva's lists are not known: {error}")
    today = now.astimezone(ZoneInfo(settings.mis.timezone)).date()
    return mapper_context(settings, lists=lists, today=today, cutoff=window.report(settings, now).cutoff)


def _of(
    mis: Mis, document: Document, context: mapper.Context, *, loan: str | None, key: str | None
) -> Iterator[_Shown]:
    stream = document.stream
    if loan is None:
        keys = [key] if key is not None else mis.scan(stream, after=None, limit=1)
        yield from _mapped(mis, document, context, keys)
        return
    keys = _by_identity(mis, document, loan)
    found = [one for one in _mapped(mis, document, context, keys) if _is(one.mapped, loan)]
    yield from found or _by_scanning(mis, document, context, loan)


def _is(mapped: Mapped, loan: str) -> bool:
    return spelled.key(loan) in (spelled.key(mapped.loan_id), mapped.identity)


def _by_identity(mis: Mis, document: Document, loan: str) -> list[str]:
    """Keys whose root row has the loan id in a column that the identity is made of."""
    references = document.identity.references
    columns = dict.fromkeys(reference.path[-1] for reference in references if reference.path[:-1] in ((), ("root",)))
    return list(dict.fromkeys(key for column in columns for key in mis.find(document.stream, column, [loan])))


def _by_scanning(mis: Mis, document: Document, context: mapper.Context, loan: str) -> Iterator[_Shown]:
    """Every key in scope, until one is of that loan: where a mapping finds the loan id in another table."""
    after = None
    while keys := mis.scan(document.stream, after=after, limit=_PAGE):
        found = [one for one in _mapped(mis, document, context, keys) if one.mapped.loan_id == loan]
        if found:
            yield from found
            return
        after = keys[-1]


def _mapped(mis: Mis, document: Document, context: mapper.Context, keys: Sequence[str]) -> Iterator[_Shown]:
    if not keys:
        return
    for content in mis.read(document.stream, keys, cutoff=context.cutoff):
        if content.root is not None:
            yield _Shown(document, content, mapper.apply(document, content, context=context, origins=True))


# ---------------------------------------------------------------- showing


def _show(settings: Settings, one: _Shown, *, show_names: bool) -> None:
    mapped, document = one.mapped, one.document
    frame.say(f"{document.name}, loan {mapped.loan_id or '?'}", style="bold")
    if not one.content.in_scope:
        frame.say(f"  not in scope, so nothing would be sent. source.where: {document.stream.where}")
    if mapped.body is None:
        _show_why_not(mapped)
        return
    frame.say(f"  would be sent to  POST {settings.kiva.api_url}{batch.path(document.resource, settings.kiva)}")
    rows = [
        (path, _value(path, value, show_names=show_names), _origin(mapped, path, show_names=show_names))
        for path, value in _flat(mapped.body)
    ]
    frame.table(("field", "value", "from"), rows)
    for path in _left_out(mapped):
        frame.say(f"  left out: {path}, because it is empty ({mapped.origins[path]})")
    hidden = not show_names and any("…" in value for _, value, _ in rows)
    if hidden:
        frame.say("  (names and stories: --show-names)")
    by = loan_draft.publish_by(mapped.body) if document.resource == "loan_draft" else None
    if by is not None:
        frame.say(f"  publish in PA2 by {figure.day(by)}")
    for warning in mapped.warnings:
        frame.verdict("warning", f"{refusal.sentence(warning)}\n→ {refusal.remedy(warning)}")
    if document.left_to_the_coordinator:
        frame.say(f"  left to the coordinator: {', '.join(document.left_to_the_coordinator)}")
    for line in _asked(settings, one):
        frame.say(f"  {line}")


def _asked(settings: Settings, one: _Shown) -> Sequence[str]:
    """Of a position, whether it would be sent, or waits for a person: that depends on Kiva's list and on the outbox."""
    if one.document.resource != "repayment" or not one.content.in_scope:
        return ()
    try:
        with frame.outbox(settings) as outbox, outbox.read() as tx:
            return position_preview.lines(tx, settings, one.document, one.content.key, one.mapped, now=frame.now())
    except UsageError:
        return ["whether a person is asked is known once the relay has run: there is no outbox yet."]


def _show_why_not(mapped: Mapped) -> None:
    if mapped.waiting == "incomplete":
        frame.say("  it would wait: `when:` of the mapping says that it is not complete yet.")
    elif mapped.waiting == "lists_unknown":
        frame.say("  it would wait: Kiva's lists were never read.")
    for reason in mapped.refusals:
        frame.verdict("error", f"{refusal.sentence(reason)}\n→ {refusal.remedy(reason)}")


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every value with its place; of a long list of objects only the first ones."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _flat(inner, f"{path}.{name}" if path else name)
    elif isinstance(value, list) and value and isinstance(value[0], Mapping):
        shown = value if path == "entreps" else value[:_SHOWN_OF_A_LIST]
        for number, item in enumerate(shown):
            yield from _flat(item, f"{path}[{number}]")
        if len(value) > len(shown):
            yield f"{path}[…]", _More(len(value) - len(shown))
    else:
        yield path, value


def _origin(mapped: mapper.Mapped, path: str, *, show_names: bool) -> str:
    """Where a value came from, with what stood there and what the functions on the way made of it."""
    parts = mapped.origins.get(path, "").split(" → ")
    if _name(path) == "image_encoded" or (_name(path) in PERSONAL and not show_names):
        return " → ".join(parts)
    sent = dict(_flat(mapped.body)).get(path)
    for number, value in enumerate(mapped.stages.get(path, ())):
        # What the last function made of it stands beside it as the value itself.
        if isinstance(value, str | int | Decimal) and value != sent and number < len(parts):
            parts[number] += f" {_value(path, value, show_names=show_names)}"
    return " → ".join(parts)


def _left_out(mapped: mapper.Mapped) -> list[str]:
    """Fields that the mapping has and the body lacks; those of an instalment are refused when they are empty."""
    sent = dict(_flat(mapped.body))
    return [path for path in mapped.origins if path not in sent and not path.startswith("schedule")]


class _More(int):
    """So many items that are not shown."""


def _name(path: str) -> str:
    return path.rpartition(".")[2].partition("[")[0]


def _value(path: str, value: Any, *, show_names: bool) -> str:
    if isinstance(value, _More):
        return f"and {counted(value, 'item')} more"
    name = _name(path)
    text = bodies.encode({"": value}).decode()[len('{"":') : -1]
    if name == "image_encoded":
        return f"a photo, {len(text) * 3 // 4 // 1024:,} kB"
    if name in PERSONAL and not show_names:
        return '"…"'
    return text if len(text) <= _WIDEST else f"{text[: _WIDEST - 1]}…"
