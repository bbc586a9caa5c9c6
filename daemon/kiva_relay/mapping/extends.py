"""`extends:` in a mapping: another mapping, and what differs from it.

Maps merge. `null` takes a key out. A list of one map merges into a list of one map (`entreps`); every other list and
every text, as `sql:` and `where:`, is replaced as a whole. A mapping extends one that stands by itself, or a
ready-made one.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator
from dataclasses import field, replace
from pathlib import Path

from kiva_relay import errors
from kiva_relay.config import shipped, yaml_reader
from kiva_relay.config.mistake_report import MistakeReport
from kiva_relay.config.yaml_tree import YamlTree
from kiva_relay.errors import Mistake
from kiva_relay.frozen import dataclass
from kiva_relay.mapping import plan, rewrite, source_reader
from kiva_relay.mapping.origin import SUFFIX, SourceFile, Sources, is_mapping, is_ready_made, name_of, stamp
from kiva_relay.resource.kind import RESOURCES

KEY = "extends"

_BASE = re.compile(r"(?:(?P<set>[\w.\-]+)/)?(?P<name>[\w\-][\w.\-]*)")
_WRITTEN = re.compile(rf"""^{KEY}:\s*(['"]?)(?P<base>[^'"#\s]+)\1""", re.MULTILINE)

# The mapping, its base, and what a ready-made base extends.
_MOST = 3

# Of these only one can stand: what the base says has to be taken out when the other is written.
_ONE_OF = (("from", "text"), ("from", "texts"), ("text", "texts"), ("table", "sql"))
# Here the names are the institution's own, whatever they are.
_OWN_NAMES = ("choose", "match", "texts", "parameters", "relations")


@dataclass(frozen=True)
class Resolved:
    """A mapping with what it extends laid under it: the tree without `extends`, its lines counted over all files.

    `extends` is the base as written, empty without one, and `at` its line and column. `taken_out` are the places of
    what a null took out, each with its counted line.
    """

    tree: YamlTree
    sources: Sources
    extends: str = ""
    taken_out: tuple[tuple[str, int], ...] = ()
    at: tuple[int, int] = (0, 0)

    def placed(self, mistakes: Iterable[Mistake]) -> list[Mistake]:
        """Mistakes at counted lines, each with its own file; those of a base that names what was taken out say so."""
        return [self._explained(each) for each in self.sources.placed(mistakes)]

    def _explained(self, mistake: Mistake) -> Mistake:
        if mistake.file == self.sources.files[0].file:
            return mistake
        for path, line in self.taken_out:
            kind, _, name = path.partition(".")
            names = {"relations": f'"{name}"', "parameters": f"is called :{name}"}.get(kind)
            if names is not None and names in mistake.message:
                source, number = self.sources.find(line)
                remedy = f"{source.file}:{number} takes it out; take this out too, or write it otherwise there"
                return replace(mistake, remedy=remedy)
        return mistake


def read(file: Path, report: MistakeReport, *, name: str, folder: Path) -> Resolved | None:
    """A mapping file with what it extends; None when one of the files cannot be read, or there is no such base.

    Mistakes go into `report`, those of the file at its own lines; a mistake of the base names the base.
    `name` and `folder` say where the mapping stands; `file` may be an edited copy of it elsewhere.
    """
    own = yaml_reader.read(file, report)
    if own is None:
        return None
    layers, files = [own], [SourceFile(file, report.text)]
    while (written := layers[-1].get(KEY)) is not None:
        base = _base(written, report, at=_named(own), files=files, name=name, folder=folder)
        if base is None:
            return None
        its = MistakeReport(base, rewrite.MAPPING)
        found = yaml_reader.read(base, its)
        report.mistakes += its.quoted()
        if found is None:
            return None
        before = files[-1].before + len(files[-1].lines)
        files.append(SourceFile(base, its.text, before))
        report.broken |= {line + before for line in its.broken}
        layers.append(_moved(found, before))
    whole = _without(layers[-1])
    taken_out: list[tuple[str, int]] = []
    for each in reversed(layers[:-1]):
        layer = _Layer(report)
        whole = layer.over(_without(each), whole, "")
        taken_out += layer.taken_out
    extends, mine, theirs = own.get(KEY), own.get("resource"), layers[-1].get("resource")
    if extends is not None and mine is not None and theirs is not None and mine.text not in ("", "null", theirs.text):
        message = f"{extends.text} makes another resource, {theirs.text}"
        report.add(mine, "resource", message, remedy="delete this line, or extend another mapping")
        return None
    sources = Sources(tuple(files))
    # Whoever looks up what is written at a counted line finds it.
    report.text = "\n".join(line for each in files for line in each.lines)
    if extends is None:
        return Resolved(whole, sources)
    return Resolved(whole, sources, extends.text, tuple(taken_out), (extends.line, extends.column))


def bases(file: Path) -> Iterator[Path]:
    """The files that a mapping extends, found at a glance: for whoever only wants to know whether they changed."""
    for _ in range(_MOST - 1):
        try:
            base = _glimpsed(file, stamp(file))
        except OSError:
            return
        if base is None or (found := _file(base, file.parent)) is None:
            return
        file = found
        yield file


@functools.lru_cache(maxsize=256)
def _glimpsed(file: Path, written: tuple[int, ...]) -> str | None:
    del written  # with it, a file is read once, however often one looks
    match = _WRITTEN.search(file.read_text(encoding="utf-8-sig", errors="replace"))
    return None if match is None else match["base"]


def known(folder: Path) -> list[str]:
    """What a mapping in this folder can extend: the ready-made ones, then its neighbours."""
    ready = shipped.folder("mappings")
    named = [
        f"{kind}/{name_of(file)}"
        for kind in shipped.mappings()
        for file in sorted((ready / kind).iterdir())
        if is_mapping(file)
    ]
    beside = [name_of(file) for file in sorted(folder.glob(f"*{SUFFIX}")) if is_mapping(file)]
    return [*named, *beside]


def _file(base: str, folder: Path) -> Path | None:
    """The file of a base as written; None when there is none."""
    match = _BASE.fullmatch(base)
    if match is None or base not in known(folder):
        return None
    return (shipped.folder("mappings") / match["set"] if match["set"] else folder) / f"{match['name']}{SUFFIX}"


def _base(
    written: YamlTree,
    report: MistakeReport,
    *,
    at: YamlTree,
    files: list[SourceFile],
    name: str,
    folder: Path,
) -> Path | None:
    """The file that the last of the files extends; None after a mistake, noted at the mapping's own `extends`."""
    first = len(files) == 1
    here = folder if first else files[-1].file.parent
    if written.kind != "scalar" or not written.text or written.null:
        found = "nothing" if written.kind == "scalar" else f"a {written.kind}"
        report.add(at, KEY, f"expected the name of a mapping, found {found}", remedy=_nearest(name, here, but=name))
    elif not first and not (len(files) == _MOST - 1 and is_ready_made(files[-1].file)):
        message = f"{files[-1].called} itself extends {written.text}; it has to stand by itself, or to be ready-made"
        report.add(at, KEY, message, remedy=f"{KEY}: {written.text}")
    elif first and written.text == name:
        message = "a mapping cannot extend itself"
        report.add(at, KEY, message, remedy=_nearest(name, here, but=name))
    elif (base := _file(written.text, here)) is not None:
        return base
    else:
        path = "/" in written.text.replace("/", "", 1) or written.text.endswith(SUFFIX) or written.text[0] in ".~/"
        message = f'there is no mapping "{written.text}"' + (": a base is named, and not by its path" if path else "")
        report.add(at, KEY, message, remedy=_nearest(written.text.removesuffix(SUFFIX), here, but=name))
    return None


def _named(own: YamlTree) -> YamlTree:
    """Where a file says what it extends: the name, or the key when nothing stands behind it."""
    for key, value in own.entries:
        if key.text == KEY:
            return value if value.text or value.kind != "scalar" else key
    return own


def _nearest(written: str, folder: Path, *, but: str = "") -> str:
    """The base that was meant, as it is written; without one all that there are."""
    there = [each for each in known(folder) if each != but]
    last = written.rpartition("/")[2]
    same = [each for each in there if each.rpartition("/")[2] == last]
    ending = [each for each in same if f"/{written}".endswith(f"/{each}")]
    near = ending or (same if same and "/" not in written else []) or errors.nearest(written, there) or same
    return "\n".join(f"{KEY}: {each}" for each in near) or f"there are: {', '.join(there)}"


def _moved(found: YamlTree, by: int) -> YamlTree:
    """The same tree, its lines counted from further down."""
    return replace(
        found,
        line=found.line + by,
        entries=tuple((_moved(name, by), _moved(value, by)) for name, value in found.entries),
        items=tuple(_moved(item, by) for item in found.items),
    )


def _without(found: YamlTree) -> YamlTree:
    return replace(found, entries=tuple(entry for entry in found.entries if entry[0].text != KEY))


@dataclass
class _Layer:
    """One file on its way over what it extends."""

    report: MistakeReport
    taken_out: list[tuple[str, int]] = field(default_factory=list)

    def over(self, own: YamlTree, base: YamlTree, path: str) -> YamlTree:
        """What comes of a value and the base's value at the same place."""
        if own.kind == base.kind == "map":
            return self._map(own, base, path)
        if own.kind == base.kind == "list" and len(own.items) == len(base.items) == 1:
            mine, theirs = own.items[0], base.items[0]
            if mine.kind == theirs.kind == "map":
                return replace(own, items=(self._map(mine, theirs, f"{path}[0]"),), flow=own.flow and base.flow)
        return self._new(own, path)

    def _new(self, own: YamlTree, path: str) -> YamlTree:
        """What the base does not have: a null in it has nothing to take out."""
        if own.kind != "map" or path.rpartition(".")[2] == "choose":
            return own
        return self._map(own, YamlTree("map", own.line, own.column, flow=own.flow), path)

    def _map(self, own: YamlTree, base: YamlTree, path: str) -> YamlTree:
        """The base's keys in their order; a new key stands before the one that follows it in its own file."""
        replaced = self._alone(own, base, path)
        new: list[tuple[YamlTree, YamlTree]] = []
        ahead: dict[str, list[tuple[YamlTree, YamlTree]]] = {}
        for name, value in own.entries:
            at = f"{path}.{name.text}" if path else name.text
            theirs = base.get(name.text)
            if value.null:
                self._take_out(name, value, base, at)
            if theirs is not None:
                ahead.setdefault(name.text, new)
                new = []
            elif not value.null:
                new.append((name, self._new(value, at)))
        entries: list[tuple[YamlTree, YamlTree]] = []
        for name, value in base.entries:
            entries += ahead.get(name.text, ())
            mine = next((entry for entry in own.entries if entry[0].text == name.text), None)
            if mine is None:
                entries += [] if name.text in replaced else [(name, value)]
            elif mine[1].null and not mine[1].text:  # a mistake, and noted: it goes on as if the line were not there
                entries.append((name, value))
            elif not mine[1].null:
                at = f"{path}.{name.text}" if path else name.text
                entries.append((mine[0], self.over(mine[1], value, at)))
        return replace(own, entries=(*entries, *new), flow=own.flow and base.flow)

    def _take_out(self, name: YamlTree, value: YamlTree, base: YamlTree, path: str) -> None:
        if value.line in self.report.broken:
            return
        if not value.text:
            message = "nothing stands here; null takes it out, and without the line it stays as in the base"
            self.report.add(name, path, message, remedy=f"{name.text}: null")
        elif base.get(name.text) is not None:
            self.taken_out.append((path, name.line))
        else:
            near = errors.nearest(name.text, (key.text for key, _ in base.entries))
            # What a mapping may have, the base may have lost with an upgrade: that stops nobody.
            known = name.text in _WORDS
            remedy = f"nearest: {', '.join(near)}" if near and not known else "delete the line"
            message = "there is nothing to take out: the base does not have it"
            self.report.add(name, path, message, remedy=remedy, severity="warning" if known else "error")

    def _alone(self, own: YamlTree, base: YamlTree, path: str) -> set[str]:
        """Of two that exclude one another the base has one, and the mapping writes the other: those of the base."""
        replaced: set[str] = set()
        if path.rpartition(".")[2] in _OWN_NAMES:
            return replaced
        for pair in _ONE_OF:
            for mine, theirs in (pair, pair[::-1]):
                written, kept = own.get(mine), base.get(theirs)
                if written is None or kept is None or written.null or own.get(theirs) is not None:
                    continue
                if "bool" in (written.type, kept.type):  # `text: true` is a function, and stands beside `from:`
                    continue
                message = f"the base says `{theirs}:` here, and only one of the two can stand"
                self.report.add(written, f"{path}.{mine}", message, remedy=f"{theirs}: null   beside it")
                replaced.add(theirs)
        return replaced


_WORDS = {
    *source_reader.SOURCE,
    *source_reader.RELATION,
    *source_reader.TOUCHED_BY,
    *source_reader.PARAMETER,
    *plan.LONG_FORM,
    *(part.name for resource in RESOURCES.values() for each in resource.fields for part in (each, *each.fields)),
    *("identity", "parameters", "relations", "when", "checks", "left_to_the_coordinator"),
}
