"""The `fields:` of a mapping, read: the long form, expressions, lists and `each … do`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from kiva_relay import errors
from kiva_relay.config import yaml_line, yaml_tree
from kiva_relay.config.mistake_report import MistakeReport
from kiva_relay.config.yaml_tree import YamlTree
from kiva_relay.mapping import expression, moment, rewrite, wording
from kiva_relay.mapping.expression import Expression, Wrong
from kiva_relay.mapping.function import FUNCTIONS
from kiva_relay.mapping.lookup import REFUSALS
from kiva_relay.mapping.plan import LEAVE_OUT, LONG_FORM, REFUSE, STEPS, Column, Each, Items, Leaf, Parts, Plan, Step
from kiva_relay.mapping.scope import Scope, Unreadable
from kiva_relay.mapping.wording import Wording
from kiva_relay.resource.field import Field, Kind

_NULL = ("", "~", "null", "Null", "NULL")


class FieldReader:
    """Reads the fields of one mapping; notes columns and code tables on the way."""

    def __init__(self, report: MistakeReport) -> None:
        self.report = report
        self.columns: list[Column] = []
        self.tables: dict[str, tuple[YamlTree, str]] = {}

    def parts(self, found: YamlTree, specs: tuple[Field, ...], scope: Scope, at: str) -> dict[str, Plan]:
        """An object's parts, each by its name; a part that Kiva does not know is a mistake."""
        known = {spec.name: spec for spec in specs}
        plans: dict[str, Plan] = {}
        for name, value in found.entries:
            path = f"{at}.{name.text}"
            if name.text not in known:
                self._unknown(name, path, known, "Kiva has no such field")
            elif (plan := self._plan(value, known[name.text], scope, path)) is not None:
                plans[name.text] = plan
        return plans

    def single(self, found: YamlTree, scope: Scope, path: str, *, kind: Kind | None = None) -> Expression | None:
        """One expression; None after a mistake."""
        if found.kind != "scalar" or found.null:
            self.report.add(found, path, "expected an expression, found " + _kind(found))
            return None
        key = path.rsplit(".", 1)[-1]
        if (switch := rewrite.switch(found)) is not None:
            message = f'"{found.text}" is a word in YAML 1.2, so it would be the column "{found.text}"'
            self.report.add(found, path, message, remedy=f"{key}: {switch}")
            return None
        if kind == "text" and re.fullmatch(r"[\d.,]+", found.text):
            message = f"{found.text} is a number, and loses its zeros; expected a text"
            self.report.add(found, path, message, remedy=rewrite.words(key, found.text))
            return None
        return self._parsed(found, scope, path, kind)

    def _parsed(self, found: YamlTree, scope: Scope, path: str, kind: Kind | None) -> Expression | None:
        quote = 1 if found.quoted else 0
        try:
            parsed = expression.parse(found.text)
        except Wrong as wrong:
            remedy, message = wrong.remedy, str(wrong)
            if kind is not None and rewrite.looks_like_words(found.text):
                message = f'"{found.text}" is read as an expression, and is none'
                remedy = f"if you mean these very words:   {rewrite.words(path.rsplit('.', 1)[-1], found.text.strip())}"
            self.report.add(found, path, message, remedy=remedy, offset=quote + wrong.offset)
            return None
        try:
            columns = list(scope.columns(parsed))
        except Unreadable:
            return None
        except Wrong as wrong:
            self.report.add(found, path, str(wrong), remedy=wrong.remedy, offset=quote + wrong.offset)
            return None
        for owner, column, reference in columns:
            # Only a column that goes to Kiva as it is has to be of Kiva's kind.
            direct = kind if parsed.source == ".".join(reference.path) else None
            place = found.column + quote + reference.offset
            self.columns.append(Column(owner, column, path, found.line, place, direct))
        for table in parsed.tables:
            self.tables.setdefault(table, (found, path))
        return parsed

    def _plan(self, found: YamlTree, spec: Field, scope: Scope, path: str) -> Plan | None:
        if spec.kind == "object":
            return self._object(found, spec, scope, path)
        if spec.kind != "list":
            return self._leaf(found, spec.name, spec.kind, scope, path)
        if found.kind == "list":
            items = [self._item(item, spec, scope, f"{path}[{n}]") for n, item in enumerate(found.items)]
            return Items(tuple(item for item in items if item is not None))
        if found.kind == "map" and (found.get("each") or found.get("do")) is not None:
            return self._each(found, spec, scope, path)
        self.report.add(
            found, path, f"expected a list, found {_kind(found)}", remedy="- …   or   {each: RELATION, do: …}"
        )
        return None

    def _item(self, found: YamlTree, spec: Field, scope: Scope, path: str) -> Plan | None:
        if spec.items is not None:
            return self._leaf(found, spec.name, spec.items, scope, path)
        return self._object(found, spec, scope, path)

    def _object(self, found: YamlTree, spec: Field, scope: Scope, path: str) -> Plan | None:
        if found.kind != "map":
            self.report.add(found, path, f"expected an object, found {_kind(found)}")
            return None
        return Parts(self.parts(found, spec.fields, scope, path))

    def _each(self, found: YamlTree, spec: Field, scope: Scope, path: str) -> Plan | None:
        for name, _ in found.entries:
            if name.text not in ("each", "do"):
                self._unknown(name, f"{path}.{name.text}", ("each", "do"), "no such key")
        relation, do = found.get("each"), found.get("do")
        many = [each.name for each in scope.relations.values() if each.many]
        if relation is None or do is None:
            self.report.add(found, path, "`each:` and `do:` belong together", remedy="{each: RELATION, do: {…}}")
            return None
        if relation.text in scope.unreadable:
            return None
        if relation.text not in many:
            remedy = f"relations with `many: true`: {', '.join(many) or 'none'}"
            self.report.add(relation, f"{path}.each", f'"{relation.text}" is no relation of many rows', remedy=remedy)
            return None
        plan = self._item(do, spec, scope.inside(relation.text), f"{path}.do")
        return None if plan is None else Each(relation.text, plan)

    def _leaf(self, found: YamlTree, name: str, kind: Kind, scope: Scope, path: str) -> Leaf | None:
        if found.kind == "map":
            return self._long_form(found, name, kind, scope, path)
        parsed = self.single(found, scope, path, kind=kind)
        if parsed is None:
            return None
        origin = " → ".join([scope.origin(parsed), *parsed.functions])
        return Leaf(name, kind, parsed, origin=origin)

    def _long_form(self, found: YamlTree, name: str, kind: Kind, scope: Scope, path: str) -> Leaf | None:
        wrong = [key for key, _ in found.entries if key.text not in LONG_FORM]
        for key in wrong:
            self._unknown(key, f"{path}.{key.text}", LONG_FORM, "no such key")
        start = self._texts(found, scope, path) if found.get("texts") else self._start(found, kind, scope, path)
        if isinstance(start, Expression):
            self._of_rows(found, start, scope, path)
        steps = tuple(self._steps(found, scope, path))
        otherwise = found.get("else")
        needed = found.get("required")
        if start is None or wrong:
            return None
        origin = "written in the mapping"
        if isinstance(start, Expression | Wording):
            origin = scope.origin(start) if isinstance(start, Expression) else start.source
        return Leaf(
            name,
            kind,
            start,
            steps=steps,
            otherwise=REFUSE if otherwise is None else self._otherwise(otherwise, kind, f"{path}.else"),
            required=self._needed(needed, scope, f"{path}.required"),
            origin=" → ".join([origin, *(_called(step) for step in steps)]),
        )

    def _needed(self, found: YamlTree | None, scope: Scope, path: str) -> bool | Expression:
        """`true`, `false`, or an expression that says for which rows it is required."""
        if found is None or found.kind != "scalar" or found.text in ("true", "false"):
            return found is not None and self.boolean(found, path)
        return self.single(found, scope, path) or False

    def _start(self, found: YamlTree, kind: Kind, scope: Scope, path: str) -> Expression | Any | None:
        source, words = found.get("from"), found.get("text")
        if source is not None:
            return self.single(source, scope, f"{path}.from")
        if words is None or words.kind != "scalar" or words.null:
            remedy = "from: COLUMN   or   text: the words themselves"
            self.report.add(found, path, "neither `from:` nor `text:` is given", remedy=remedy)
            return None
        self._commented(words, f"{path}.text", in_brackets=found.flow)
        if not words.quoted and words.text[0] in yaml_line.TYPOGRAPHIC and words.text[-1] in yaml_line.TYPOGRAPHIC:
            message = "these quotes are letters to YAML, and would be sent"
            line = rewrite.words("text", words.text).partition("{")[2].rstrip("}")
            self.report.add(words, f"{path}.text", message, remedy=line, severity="warning")
        # A text is what was written, to the letter; for other kinds it is what YAML takes it for.
        looked_up = found.get("lookup") or found.get("translate") or found.get("choose")
        return words.text if kind in ("text", "image") or looked_up else yaml_tree.plain(words)

    def _commented(self, words: YamlTree, path: str, *, in_brackets: bool) -> None:
        """Warn of a text that goes on behind a ` #`: YAML takes that for a comment."""
        rest = yaml_tree.lines(self.report.text)[words.line - 1][words.column - 1 :]
        if words.quoted or "\n" in words.text or not re.match(re.escape(words.text) + r"\s+#", rest):
            return
        whole = rest.rsplit("}", 1)[0] if in_brackets else rest
        remedy = f"if it belongs to the text:   text: {json.dumps(whole.strip(), ensure_ascii=False)}"
        message = f'YAML takes all from " #" on for a comment; the text is "{words.text}"'
        self.report.add(words, path, message, remedy=remedy, severity="warning")

    def _texts(self, found: YamlTree, scope: Scope, path: str) -> Wording | None:
        """`texts:` by language, with expressions between brackets, and `language:`, which says which one."""
        texts, language = found.get("texts"), found.get("language")
        if texts is None or texts.kind != "map" or not texts.entries or found.get("from") or found.get("text"):
            remedy = 'texts: {fr: "Elle achète {purpose.code_value}.", en: "…"}'
            self.report.add(
                texts, f"{path}.texts", "expected a text for each language, and nothing else", remedy=remedy
            )
            return None
        if language is None:
            remedy = "language: a column that holds one of them, or one of them between quotes"
            self.report.add(found, f"{path}.language", "is missing: which of the texts is meant?", remedy=remedy)
            return None
        chosen = self.single(language, scope, f"{path}.language")
        parts = {name.text: self._wording(value, scope, f"{path}.texts.{name.text}") for name, value in texts.entries}
        return None if chosen is None else Wording(chosen, parts)

    def _wording(self, found: YamlTree, scope: Scope, path: str) -> tuple[str | Expression, ...]:
        if found.kind != "scalar" or found.null:
            self.report.add(found, path, f"expected a text, found {_kind(found)}")
            return ()

        def parse(source: str, offset: int) -> Expression | None:
            place = YamlTree("scalar", found.line, found.column + offset + (1 if found.quoted else 0), text=source)
            return self._parsed(place, scope, path, None)

        return wording.parts(found.text, parse)

    def _of_rows(self, found: YamlTree, start: Expression, scope: Scope, path: str) -> None:
        """`first: column` and `only: column` take a column of a relation of many rows: note which."""
        for name in ("first", "only"):
            column = found.get(name)
            if column is None or column.kind != "scalar":
                continue
            relation = scope.relations.get(start.source)
            if relation is None or not relation.many:
                remedy = "from: a relation with `many: true`"
                self.report.add(
                    column, f"{path}.{name}", f'"{start.source}" is no relation of many rows', remedy=remedy
                )
            else:
                self.columns.append(Column(start.source, column.text, f"{path}.{name}", column.line, column.column))

    def _steps(self, found: YamlTree, scope: Scope, path: str) -> Iterator[Step]:
        for name in STEPS:
            value = found.get(name)
            # Without `from:`, `text:` is the words; with it, the function.
            if value is None or (name == "text" and found.get("from") is None):
                continue
            step = self._step(name, value, scope, f"{path}.{name}")
            if step is not None:
                yield step
            if name == "choose":
                self._never_comes(found, value, f"{path}.{name}")

    def _never_comes(self, found: YamlTree, codes: YamlTree, path: str) -> None:
        """Warn of a line of `choose` for NULL, which passes through every function as NULL."""
        source = found.get("from")
        for code, choice in codes.entries if codes.kind == "map" else ():
            if source is not None and not code.quoted and code.text in _NULL:
                remedy = f"""from: "{source.text} or 'none'"    and here: none: {choice.text}"""
                message = "NULL never comes here: it passes as NULL"
                self.report.add(code, path, message, remedy=remedy, severity="warning")

    def _step(self, name: str, value: YamlTree, scope: Scope, path: str) -> Step | None:
        match name:
            case "trim" | "text" | "name":
                return Step(name) if self.boolean(value, path) else None
            case "date":
                return self._date(value, path)
            case "choose":
                return self._choose(value, path)
            case "image" if value.type == "bool":
                return Step(name) if self.boolean(value, path) else None
            case "money":
                digits = self.single(value, scope, path)
                return None if digits is None else Step(name, (digits,))
            case _:
                return self._named(name, value, path)

    def _date(self, value: YamlTree, path: str) -> Step | None:
        """`date: true`, a form, or several forms and a zone."""
        if value.type == "bool":
            return Step("date") if self.boolean(value, path) else None
        forms = tuple(item.text for item in (value.items if value.kind == "list" else (value,)))
        mistaken = moment.wrong(forms)
        if mistaken:
            remedy = 'date: "%d/%m/%Y"   or   date: ["%d/%m/%Y %H:%M", UTC]'
            self.report.add(value, path, mistaken, remedy=remedy)
            return None
        return Step("date", forms)

    def _named(self, name: str, value: YamlTree, path: str) -> Step | None:
        """A function that takes a name: of a list, a code table, a column, a mark, a folder."""
        if value.kind != "scalar" or value.null:
            self.report.add(value, path, "expected a name, found " + _kind(value), remedy=FUNCTIONS[name].example)
            return None
        if name == "lookup" and value.text not in REFUSALS:
            self._unknown(value, path, tuple(REFUSALS), "Kiva has no such list")
            return None
        if name == "translate":
            self.tables.setdefault(value.text, (value, path))
        return Step(name, (value.text,))

    def _choose(self, value: YamlTree, path: str) -> Step | None:
        if value.kind != "map":
            remedy = "choose: {Femme: female, Homme: male}"
            self.report.add(value, path, "expected codes and what they become, found " + _kind(value), remedy=remedy)
            return None
        # A code is compared as it is written: `000123` stays `000123`.
        return Step("choose", ({code.text: yaml_tree.plain(choice) for code, choice in value.entries},))

    def _otherwise(self, value: YamlTree, kind: Kind, path: str) -> Any:
        if value.kind != "scalar":
            message = f"expected {REFUSE}, {LEAVE_OUT} or a value, found " + _kind(value)
            self.report.add(value, path, message)
            return REFUSE
        return value.text if kind == "text" else yaml_tree.plain(value)

    def boolean(self, value: YamlTree, path: str) -> bool:
        """`true` or `false`; anything else is a mistake, and `yes` goes on as what it means."""
        if value.kind == "scalar" and value.type == "bool":
            return bool(yaml_tree.plain(value))
        key = path.rsplit(".", 1)[-1]
        remedy = f"{key}: {rewrite.switch(value) or 'true'}"
        self.report.add(value, path, f"expected true or false, found {_kind(value)}", remedy=remedy)
        return value.kind == "scalar" and rewrite.switch(value) == "true"

    def _unknown(self, at: YamlTree, path: str, known: Any, message: str) -> None:
        near = errors.nearest(at.text, known)
        remedy = f"nearest: {', '.join(near)}" if near else f"known: {', '.join(known)}"
        self.report.add(at, path, f'{message}: "{at.text}"', remedy=remedy)


def _called(step: Step) -> str:
    """A step as a person would name it where the origin of a value is shown."""
    match step.function:
        case "translate":
            return str(step.arguments[0])
        case "lookup":
            return f"Kiva's {step.arguments[0]}"
        case _:
            return step.function


def _kind(found: YamlTree) -> str:
    if found.null:
        return "nothing"
    return f'"{found.text}"' if found.kind == "scalar" else f"a {found.kind}"
