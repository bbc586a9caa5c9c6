"""All mutants of one file: each is one small change to its text."""

from __future__ import annotations

import ast
import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

_COMPARISONS: dict[type[ast.cmpop], tuple[str, str]] = {
    ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="),
    ast.Lt: ("<", "<="),
    ast.LtE: ("<=", "<"),
    ast.Gt: (">", ">="),
    ast.GtE: (">=", ">"),
    ast.Is: ("is", "is not"),
    ast.IsNot: ("is not", "is"),
    ast.In: ("in", "not in"),
    ast.NotIn: ("not in", "in"),
}
_OPERATORS: dict[type[ast.operator], tuple[str, str]] = {
    ast.Add: ("+", "-"),
    ast.Sub: ("-", "+"),
    ast.Mult: ("*", "+"),
    ast.Div: ("/", "*"),
    ast.FloorDiv: ("//", "*"),
    ast.Mod: ("%", "*"),
    ast.BitAnd: ("&", "|"),
    ast.BitOr: ("|", "&"),
}
# What is logged is words for a person; a line more or less in the log changes nothing that is sent or kept.
_LOGS = ("log", "_log", "logger")


@dataclass(frozen=True)
class Mutant:
    """One change.

    Attributes:
        file: From the package's folder, as `outbox/store.py`.
        scope: The function or class that holds it, as `Courier._send`; "" at the top.
        line: In the file as it is now, from 1.
        kind: What is changed, in a word.
        before: The line as it is, without its indentation.
        after: The line as the mutant has it; more lines are joined by ⏎.
        statement: The line on which the changed statement begins. A test that does not run it cannot notice.
        at_import: Whether it is run when the file is imported, and so by no test alone.
        source: The file's whole text with the change.
        key: The same as long as the line and its scope stay the same, wherever they move to in the file.
    """

    file: str
    scope: str
    line: int
    kind: str
    before: str
    after: str
    statement: int
    at_import: bool
    source: str
    key: str

    @property
    def valid(self) -> bool:
        """Whether Python takes it at all."""
        try:
            compile(self.source, self.file, "exec")
        except (SyntaxError, ValueError):
            return False
        return True


def all_of(file: str, text: str) -> list[Mutant]:
    """Every mutant of a file's text, in the order of the lines."""
    found: list[Mutant] = []
    met: Counter[str] = Counter()
    for one in sorted(_Changes(text).found(), key=lambda one: one.span):
        (begin, end), scope = one.span, one.place.scope
        source = text[:begin] + one.new + text[end:]
        line = text.count("\n", 0, begin) + 1
        before = _lines(text, begin, end)
        after = _lines(source, begin, begin + len(one.new))
        same = f"{file}|{scope}|{before}|{after}"
        met[same] += 1
        key = hashlib.sha256(f"{same}|{met[same]}".encode()).hexdigest()[:12]
        place = one.place
        found.append(Mutant(file, scope, line, one.kind, before, after, place.statement, place.at_import, source, key))
    return found


def _lines(text: str, begin: int, end: int) -> str:
    """The whole lines that a part of a text stands on, in one."""
    first = text.rfind("\n", 0, begin) + 1
    last = text.find("\n", max(begin, end - 1))
    return " ⏎ ".join(line.strip() for line in text[first : len(text) if last < 0 else last].splitlines())


@dataclass(frozen=True)
class _Place:
    scope: str = ""
    statement: int = 0
    at_import: bool = True


@dataclass(frozen=True)
class _Change:
    place: _Place
    kind: str
    span: tuple[int, int]
    new: str


class _Changes:
    """Finds what can be changed in a text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._starts = [0]
        for line in text.splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line))
        self._lines = text.splitlines()

    def found(self) -> list[_Change]:
        return list(self._in(ast.parse(self._text), _Place()))

    def _in(self, node: ast.AST, place: _Place) -> Iterator[_Change]:
        for child in ast.iter_child_nodes(node):
            if _is_words(child) or _is_annotation(node, child):
                continue
            inner = place
            if isinstance(child, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
                inner = replace(inner, scope=f"{place.scope}.{child.name}".lstrip("."))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and child in node.body:
                inner = replace(inner, at_import=False)
            if isinstance(child, ast.stmt):
                inner = replace(inner, statement=child.lineno)
            for kind, span, new in self._of(child):
                yield _Change(inner, kind, span, new)
            yield from self._in(child, inner)

    def _of(self, node: ast.AST) -> Iterator[tuple[str, tuple[int, int], str]]:  # noqa: PLR0912 - one branch a kind
        if isinstance(node, ast.Compare) and len(node.ops) == 1:
            yield from self._between("comparison", node.left, node.comparators[0], _COMPARISONS[type(node.ops[0])])
        elif isinstance(node, ast.BoolOp):
            pair = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
            for left, right in zip(node.values, node.values[1:], strict=False):
                # A part of a longer chain alone would bind differently, so all of it changes with two parts only.
                if len(node.values) == len((left, right)):
                    yield from self._between("and, or", left, right, pair)
                else:
                    yield "part left out", (self._span(left)[0], self._span(right)[0]), ""
        elif isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS and not _is_text(node):
            yield from self._between("operator", node.left, node.right, _OPERATORS[type(node.op)])
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            yield "not left out", self._span(node), self._of_node(node.operand)
        elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
            yield "truth", self._span(node), str(not node.value)
        elif isinstance(node, ast.Constant) and isinstance(node.value, int):
            yield "number", self._span(node), str(node.value + 1)
        elif isinstance(node, ast.If | ast.While | ast.IfExp) and not _turned_round_anyway(node.test):
            yield "condition turned round", self._span(node.test), f"(not ({self._of_node(node.test)}))"
        elif isinstance(node, ast.comprehension):
            for test in node.ifs:
                yield "condition left out", self._span(test), "True"
        elif isinstance(node, ast.For):
            yield "nothing to go through", self._span(node.iter), "()"
        elif isinstance(node, ast.Return) and node.value is not None and not _is_said_already(node.value):
            yield "nothing returned", self._span(node.value), "None"
        elif (
            isinstance(node, ast.Raise | ast.AugAssign)
            or (isinstance(node, ast.Expr) and not isinstance(node.value, ast.Yield | ast.YieldFrom | ast.Await))
            or (isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Attribute | ast.Subscript))
        ):
            yield "statement left out", self._span(node), "pass"
        elif isinstance(node, ast.Break | ast.Continue):
            yield "break, continue", self._span(node), "continue" if isinstance(node, ast.Break) else "break"
        elif isinstance(node, ast.ExceptHandler) and node.type is not None:
            yield "not caught", self._span(node.type), "ZeroDivisionError"

    def _between(
        self, kind: str, left: ast.expr, right: ast.expr, pair: tuple[str, str]
    ) -> Iterator[tuple[str, tuple[int, int], str]]:
        begin, end = self._span(left)[1], self._span(right)[0]
        gap = self._text[begin:end]
        old, new = pair
        if gap.count(old) == 1 or gap.strip() == old:
            yield kind, (begin, end), gap.replace(old, new, 1)

    def _span(self, node: ast.AST) -> tuple[int, int]:
        assert isinstance(node, ast.expr | ast.stmt)
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return self._offset(node.lineno, node.col_offset), self._offset(node.end_lineno, node.end_col_offset)

    def _offset(self, line: int, column: int) -> int:
        # ast counts columns in bytes of UTF-8.
        letters = len(self._lines[line - 1].encode()[:column].decode())
        return self._starts[line - 1] + letters

    def _of_node(self, node: ast.AST) -> str:
        begin, end = self._span(node)
        return self._text[begin:end]


def _is_words(node: ast.AST) -> bool:
    """Whether it is a docstring, a log line, an import, or what only the type checker reads."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        return True
    if isinstance(node, ast.If):
        return isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
    if not isinstance(node, ast.Expr):
        return False
    if isinstance(node.value, ast.Constant):
        return True
    call = node.value.func if isinstance(node.value, ast.Call) else None
    while isinstance(call, ast.Attribute):
        call = call.value
    return isinstance(call, ast.Name) and call.id in _LOGS


def _is_annotation(parent: ast.AST, child: ast.AST) -> bool:
    return child in (getattr(parent, "annotation", None), getattr(parent, "returns", None))


def _is_text(node: ast.BinOp) -> bool:
    """Whether + joins texts: any change of it is an error at once."""
    sides = (node.left, node.right)
    return any(
        isinstance(one, ast.JoinedStr) or (isinstance(one, ast.Constant) and isinstance(one.value, str))
        for one in sides
    )


def _turned_round_anyway(test: ast.expr) -> bool:
    """Whether a change of the condition itself is the same mutant."""
    if isinstance(test, ast.UnaryOp):
        return isinstance(test.op, ast.Not)
    either = ast.Eq | ast.NotEq | ast.Is | ast.IsNot | ast.In | ast.NotIn
    return isinstance(test, ast.Compare) and len(test.ops) == 1 and isinstance(test.ops[0], either)


def _is_said_already(node: ast.expr) -> bool:
    """Whether None in place of what is returned is no mutant of its own: it is None, or a truth, which is turned round."""
    return isinstance(node, ast.Constant) and (node.value is None or isinstance(node.value, bool))
