"""Jinja2, made small: its compiler with our operators, rows of a database in place of Python's objects.

Its own filters, tests and globals are gone. What an expression may consist of is decided before, in `expression`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

import jinja2
import jinja2.runtime
from jinja2 import nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.parser import Parser

from kiva_relay.mapping import function, operation
from kiva_relay.mapping.function import FUNCTIONS, Refused, Run

# A column may be called `self`.
_SELF = "kr_self"


class _Environment(jinja2.Environment):
    """Jinja's, with rows of a database in place of Python's objects."""

    def getattr(self, obj: Any, attribute: str) -> Any:
        """A column of a row. Columns only: `client.items` is a column or an error, never a method."""
        return self.getitem(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """A column of a row; NULL of a row that is not there."""
        if _defined(obj) is None:
            return None
        if isinstance(obj, dict):
            return obj[argument] if argument in obj else self.undefined(f"there is no column {argument}")
        raise Refused("wrong_type", expected="a row", found=function.kind_of(obj))

    @staticmethod
    def joined(*parts: Any) -> Any:
        """`a ~ b`."""
        return operation.joined([_defined(part) for part in parts])

    @staticmethod
    def added(left: Any, right: Any) -> Any:
        """`a + b`, of numbers."""
        left, right = _defined(left), _defined(right)
        return None if left is None or right is None else function.number(left) + function.number(right)

    @staticmethod
    def taken(left: Any, right: Any) -> Any:
        """`a - b`, of numbers."""
        left, right = _defined(left), _defined(right)
        return None if left is None or right is None else function.number(left) - function.number(right)

    @staticmethod
    def negated(value: Any) -> Any:
        """`-a`, of a number."""
        return None if _defined(value) is None else -function.number(value)

    @staticmethod
    def compared(left: Any, operator: str, right: Any) -> Any:
        """`a < b` and its like."""
        return operation.compared(_defined(left), operator, _defined(right))

    @staticmethod
    def decimal(digits: str) -> Decimal:
        """A number that was written with a point."""
        return Decimal(digits)


def _defined(value: Any) -> Any:
    if isinstance(value, jinja2.Undefined):
        raise Refused("expression_failed", reason=value._undefined_message)  # noqa: SLF001 - it has no public name
    return value


class _Generator(CodeGenerator):
    """Writes our operators where Jinja would write Python's."""

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:  # noqa: N802 - Jinja's name
        self._call("joined", node.nodes, frame)

    def visit_Add(self, node: nodes.BinExpr, frame: Frame) -> None:  # noqa: N802 - Jinja's name
        self._call("added", [node.left, node.right], frame)

    def visit_Sub(self, node: nodes.BinExpr, frame: Frame) -> None:  # noqa: N802 - Jinja's name
        self._call("taken", [node.left, node.right], frame)

    def visit_Neg(self, node: nodes.UnaryExpr, frame: Frame) -> None:  # noqa: N802 - Jinja's name
        self._call("negated", [node.node], frame)

    def visit_Compare(self, node: nodes.Compare, frame: Frame) -> None:  # noqa: N802 - Jinja's name
        operand = node.ops[0]
        self._call("compared", [node.expr, nodes.Const(operand.op), operand.expr], frame)

    def visit_Const(self, node: nodes.Const, frame: Frame) -> None:  # noqa: N802 - Jinja's name
        if isinstance(node.value, float):
            self.write(f"environment.decimal({str(node.value)!r})")
        else:
            super().visit_Const(node, frame)

    def _call(self, name: str, parts: list[Any], frame: Frame) -> None:
        self.write(f"environment.{name}(")
        for part in parts:
            self.visit(part, frame)
            self.write(", ")
        self.write(")")


class _Context(jinja2.runtime.Context):
    """Jinja's, around the names as they are: one is made for every value of every body, so nothing is copied."""

    def __init__(self, names: Mapping[str, Any], run: Run) -> None:
        if "self" in names:  # Jinja's own word for a template
            names = {**names, _SELF: names["self"]}
        self.parent = names  # type: ignore[assignment]  # it is only read
        self.vars = {}
        self.environment = ENVIRONMENT
        self.eval_ctx = _EVALUATION
        self.exported_vars = set()
        self.name = None
        self.globals_keys = set()
        self.blocks = {}
        self.run = run


def compiled(source: str) -> jinja2.Template:
    """The expression as Jinja compiles it: a template that assigns it to `result`."""
    parser = Parser(ENVIRONMENT, source, state="variable")
    expression = parser.parse_expression()
    assignment = nodes.Assign(nodes.Name("result", "store"), expression, lineno=1)
    body = nodes.Template([assignment], lineno=1)
    for name in body.find_all(nodes.Name):
        if name.name == "self":
            name.name = _SELF
    body.set_environment(ENVIRONMENT)
    return ENVIRONMENT.from_string(body)


def run(template: jinja2.Template, names: Mapping[str, Any], run: Run) -> Any:
    """What a compiled expression says for these names."""
    context = _Context(names, run)
    for _ in template.root_render_func(context):
        pass  # it renders nothing, and leaves its result in the context
    return context.vars["result"]


def _as_filter(name: str) -> Callable[..., Any]:
    @jinja2.pass_context
    def compute(context: _Context, value: Any, *arguments: Any) -> Any:
        return function.call(name, context.run, _defined(value), *(_defined(argument) for argument in arguments))

    return compute


def _environment() -> _Environment:
    environment = _Environment(undefined=jinja2.StrictUndefined, optimized=False, autoescape=False)
    environment.code_generator_class = _Generator
    environment.globals.clear()
    environment.tests.clear()
    environment.filters.clear()
    environment.filters.update({name: _as_filter(name) for name in FUNCTIONS})
    return environment


ENVIRONMENT = _environment()
_EVALUATION = nodes.EvalContext(ENVIRONMENT)
