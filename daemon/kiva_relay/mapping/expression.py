"""One expression of a mapping: Jinja2's language, made small and exact.

Jinja2 parses and compiles; what it may parse is an allow-list over its nodes, what its operators do is ours: NULL
goes through as NULL, numbers are Decimal, an unknown name is an error. Its own filters, tests and globals are gone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import field
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.parser import Parser

from kiva_relay import errors
from kiva_relay.frozen import dataclass
from kiva_relay.mapping import engine, function, moment
from kiva_relay.mapping.function import FUNCTIONS, Refused, Run
from kiva_relay.mapping.lookup import REFUSALS

# Nobody writes longer ones; it bounds the depth of the parser too.
LENGTH_LIMIT = 1000

# How a person would write the functions of Jinja's that they may know from elsewhere.
_INSTEAD = {
    "default": "write `or`:  a or b",
    "d": "write `or`:  a or b",
    "int": "numbers need no conversion",
    "float": "amounts are exact; write `money`",
    "round": "write `money(digits)`",
    "string": "write `text`",
    "length": "write `count`",
    "sum": "sum in a relation of your own (sql:)",
    "map": "write `each:` and `do:`",
    "upper": "write it in a relation of your own (sql:), with the database's upper()",
    "lower": "write it in a relation of your own (sql:), with the database's lower()",
    "title": "write `name`: it knows d'Almeida and McDonald",
    "capitalize": "write `name`: it knows d'Almeida and McDonald",
    "join": "write `~`:  a ~ ' ' ~ b",
}


class Wrong(Exception):
    """The expression is none of ours; `remedy` says what to write, `offset` where (letters from its start)."""

    def __init__(self, message: str, *, remedy: str = "", offset: int = 0) -> None:
        super().__init__(message)
        self.remedy = remedy
        self.offset = offset


@dataclass(frozen=True)
class Reference:
    """A name that an expression reads: `("client", "firstname")`, and where it stands.

    A column that a function takes from all rows of a relation is `("loans", "*", "currency_code")`.
    """

    path: tuple[str, ...]
    offset: int = 0


@dataclass(frozen=True)
class Expression:
    """A compiled expression. `references` are the names it reads; `tables` and `lists` those it looks things up in."""

    source: str
    references: tuple[Reference, ...] = ()
    functions: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    lists: tuple[str, ...] = ()
    _template: jinja2.Template | None = field(default=None, repr=False, compare=False)
    _column: tuple[str, ...] | None = field(default=None, repr=False, compare=False)

    def value(self, names: Mapping[str, Any], run: Run) -> Any:
        """What it says for these rows; raises Refused, or lookup.ListsUnknown, and nothing else."""
        try:
            found = self._of_column(names) if self._column else self._computed(names, run)
        except jinja2.UndefinedError as reason:
            raise Refused("expression_failed", reason=str(reason)) from None
        except (TypeError, ValueError, ArithmeticError, KeyError) as reason:
            raise Refused("expression_failed", reason=type(reason).__name__) from None
        if isinstance(found, jinja2.Undefined):
            raise Refused("expression_failed", reason=f"there is no column {self.source}")
        return found

    def _of_column(self, names: Mapping[str, Any]) -> Any:
        """A bare column, as most fields are: without Jinja, ten times faster."""
        first, *rest = self._column or ()
        if first not in names:
            return engine.ENVIRONMENT.undefined(name=first)
        found = names[first]
        for name in rest:
            found = engine.ENVIRONMENT.getitem(found, name)
        return found

    def _computed(self, names: Mapping[str, Any], run: Run) -> Any:
        if self._template is None:
            return None
        return engine.run(self._template, names, run)


def parse(source: str) -> Expression:
    """Compile an expression; raises Wrong with what to write instead."""
    if len(source) > LENGTH_LIMIT:
        raise Wrong(f"an expression has at most {LENGTH_LIMIT} letters, found {len(source)}")
    try:
        parser = Parser(engine.ENVIRONMENT, source, state="variable")
        tree = parser.parse_expression()
        if not parser.stream.eos:
            token = parser.stream.current
            remedy = "two are compared with ==" if token.value == "=" else ""
            if re.match(r"\s*(?:case|select)\b", source, re.IGNORECASE):
                remedy = "a if b else c; SQL stands in a relation of your own (sql:)"
            raise Wrong(
                f"the expression ends before {token.value!r}", remedy=remedy, offset=_first(source, str(token.value))
            )
        used = _Used(source)
        used.walk(tree)
        template = engine.compiled(source)
    except jinja2.TemplateSyntaxError as reason:
        raise Wrong(str(reason.message)) from None
    except (RecursionError, SyntaxError, MemoryError):
        # Jinja's parser bears more levels than Python's, which then compiles what Jinja wrote.
        raise Wrong("the expression is nested too deeply") from None
    return Expression(
        source=source,
        references=tuple(used.references),
        functions=tuple(used.functions),
        tables=tuple(used.tables),
        lists=tuple(used.lists),
        _template=template,
        _column=_path(tree),
    )


def _first(source: str, word: str) -> int:
    found = re.search(rf"(?<![=!<>]){re.escape(word)}(?!=)", source)
    return found.start() if found else 0


# Simple nodes: allowed wherever they stand, their parts are looked at in turn.
_ALLOWED = (
    nodes.Name,
    nodes.Getattr,
    nodes.Getitem,
    nodes.Filter,
    nodes.Compare,
    nodes.Operand,
    nodes.And,
    nodes.Or,
    nodes.Not,
    nodes.CondExpr,
    nodes.Concat,
    nodes.Add,
    nodes.Sub,
    nodes.Neg,
    nodes.Const,
    nodes.List,
    nodes.Tuple,
    nodes.Dict,
    nodes.Pair,
)

_FORBIDDEN: dict[type[nodes.Node], tuple[str, str]] = {
    nodes.Call: ("a function is written after `|`", "value | function(…)"),
    nodes.Test: ("`is` is not known", "compare with none:  x == none"),
    nodes.Mul: ("`*` is not known", "compute it in a relation of your own (sql:)"),
    nodes.Div: ("`/` is not known", "compute it in a relation of your own (sql:), or write share"),
    nodes.Slice: ("a part of a text is not known", "write `after`, or a relation of your own (sql:)"),
}


class _Used:
    """Scans over a parsed expression: refuses what is not allowed, and notes names and functions."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.references: list[Reference] = []
        self.functions: list[str] = []
        self.tables: list[str] = []
        self.lists: list[str] = []

    def walk(self, node: nodes.Node) -> None:
        """Check `node` and all its parts."""
        path = _path(node)
        if path is not None:
            self._note(path)
            return
        if not isinstance(node, _ALLOWED):
            name = type(node).__name__.lower()
            message, remedy = _FORBIDDEN.get(type(node), (f"`{name}` is not known in a mapping", ""))
            raise Wrong(message, remedy=remedy)
        self._check(node)
        for part in self._parts(node):
            self.walk(part)

    def _check(self, node: nodes.Node) -> None:
        match node:
            case nodes.Getitem():
                raise Wrong("only a column can stand in brackets", remedy="row['Loan Nr']")
            case nodes.CondExpr(expr2=None):
                raise Wrong("`if` needs an `else`", remedy="a if b else none")
            case nodes.Compare() if len(node.ops) > 1:
                raise Wrong("one comparison at a time", remedy="1 < a and a < 3")
            case nodes.Add() | nodes.Sub() if any(_is_text(part) for part in (node.left, node.right)):
                raise Wrong("`+` and `-` are for numbers", remedy="texts are joined with `~`:  a ~ ' ' ~ b")
            case nodes.Filter():
                self._function(node)

    def _parts(self, node: nodes.Node) -> Iterator[nodes.Node]:
        if isinstance(node, nodes.Filter) and FUNCTIONS[node.name].rows and _path(node.node) and node.args:
            return iter(())  # noted as one reference already
        return node.iter_child_nodes()

    def _note(self, path: tuple[str, ...]) -> None:
        found = re.search(r"(?<![\w.'\"])" + re.escape(".".join(part for part in path if part != "*")), self.source)
        self.references.append(Reference(path, found.start() if found else 0))

    def _function(self, node: nodes.Filter) -> None:
        known = FUNCTIONS.get(node.name)
        offset = max(self.source.rfind(node.name), 0)
        if known is None:
            near = errors.nearest(node.name, FUNCTIONS)
            remedy = _INSTEAD.get(node.name) or (f"nearest: {', '.join(near)}" if near else "")
            raise Wrong(f'there is no function "{node.name}"', remedy=remedy, offset=offset)
        if node.kwargs or node.dyn_args or node.dyn_kwargs:
            raise Wrong(f"{node.name} takes its values without names", remedy=known.example, offset=offset)
        if not known.least <= len(node.args) <= known.most:
            expected = f"{known.least}" if known.least == known.most else f"{known.least} to {known.most}"
            message = f"{node.name} takes {expected} values in brackets, found {len(node.args)}"
            raise Wrong(message, remedy=known.example, offset=offset)
        self.functions.append(node.name)
        self._arguments(node, known, offset)

    def _arguments(self, node: nodes.Filter, known: function.Function, offset: int) -> None:
        constants = [arg.value if isinstance(arg, nodes.Const) else None for arg in node.args]
        if node.name in ("lookup", "translate", "only", "first", "after", "refuse") and not isinstance(
            constants[0], str
        ):
            raise Wrong(f"{node.name} takes a text between quotes", remedy=known.example, offset=offset)
        if node.name in ("date", "image") and (mistaken := _mistaken(node.name, constants)):
            raise Wrong(mistaken, remedy=known.example, offset=offset)
        if node.name == "choose" and not isinstance(node.args[0], nodes.Dict):
            raise Wrong("choose takes a list of codes in curly brackets", remedy=known.example, offset=offset)
        if node.name == "lookup":
            if constants[0] not in REFUSALS:
                raise Wrong(
                    f'Kiva has no list "{constants[0]}"',
                    remedy=f"one of: {', '.join(REFUSALS)}",
                    offset=offset,
                )
            self.lists.append(constants[0])
        if node.name == "translate":
            self.tables.append(str(constants[0]))
        rows = _path(node.node) if node.node is not None else None
        if known.rows and node.args:
            if rows is None:
                raise Wrong(f"{node.name} stands behind the name of a relation", remedy=known.example, offset=offset)
            self._note((*rows, "*", str(constants[0])))


def _mistaken(name: str, constants: list[Any]) -> str | None:
    if name == "date":
        return moment.wrong(constants)
    return None if all(isinstance(each, str) for each in constants) else "image takes a folder between quotes"


def _is_text(node: nodes.Node) -> bool:
    return isinstance(node, nodes.Const) and isinstance(node.value, str)


def _path(node: nodes.Node | None) -> tuple[str, ...] | None:
    """`client.gender_cv_id` as a tuple; None when the node is no dotted name."""
    match node:
        case nodes.Name():
            return (node.name,)
        case nodes.Getattr():
            before = _path(node.node)
            return (*before, node.attr) if before else None
        case nodes.Getitem(arg=nodes.Const(value=str() as column)):
            before = _path(node.node)
            return (*before, column) if before else None
        case _:
            return None
