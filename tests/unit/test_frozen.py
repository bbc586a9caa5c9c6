"""Our `dataclass` is Python's own: what it makes is called, shown, compared and guarded alike."""

from __future__ import annotations

import ast
import copy
import dataclasses
import pickle
from collections.abc import Callable, Mapping
from dataclasses import field
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import pytest

import kiva_relay
from kiva_relay import frozen

_T = TypeVar("_T")
PACKAGE = Path(kiva_relay.__file__).parent


def _made(dataclass: Any) -> Any:
    @dataclass(frozen=True)
    class Plain:
        """What it is."""

        code: ClassVar = "plain"
        number: int
        name: str = "x"
        params: Mapping[str, str] = field(default_factory=dict)
        shown: int = field(default=1, repr=False, compare=False, kw_only=True)
        counted: int = field(default=0, init=False)
        kept: list[int] = field(default_factory=list, init=False, hash=False)

    return Plain


OURS, PYTHONS = _made(frozen.dataclass), _made(dataclasses.dataclass)
BOTH = pytest.mark.parametrize("made", [OURS, PYTHONS])

CALLS: tuple[Callable[[Any], object], ...] = (
    lambda made: repr(made(1, "a", {"b": "c"}, shown=5)),
    lambda made: made(1) == made(1, shown=2),
    lambda made: made(1) == made(2),
    lambda made: made(1) == 1,
    lambda made: made(1).params is made(1).params,
    lambda made: dataclasses.asdict(made(1)),
    lambda made: repr(dataclasses.replace(made(1), name="y")),
    lambda made: made.__match_args__,
    lambda made: made.__doc__,
    lambda made: [one.name for one in dataclasses.fields(made)],
    lambda made: repr(copy.deepcopy(made(3))),
)


@pytest.mark.parametrize("call", CALLS)
def test_it_does_what_pythons_does(call: Callable[[Any], object]) -> None:
    assert call(OURS) == call(PYTHONS)


@BOTH
@pytest.mark.parametrize(
    "wrong",
    [
        lambda made: made(),
        lambda made: made(1, "a", {}, 4),
        lambda made: made(1, other=2),
        lambda made: made(1, counted=2),
        lambda made: hash(made(1)),
    ],
)
def test_it_refuses_what_pythons_refuses(made: Any, wrong: Callable[[Any], object]) -> None:
    with pytest.raises(TypeError):
        wrong(made)


@BOTH
def test_nothing_is_changed(made: Any) -> None:
    one = made(1)
    with pytest.raises(dataclasses.FrozenInstanceError, match="cannot assign to field 'name'"):
        one.name = "y"
    with pytest.raises(dataclasses.FrozenInstanceError, match="cannot delete field 'name'"):
        del one.name
    assert one.name == "x"


@frozen.dataclass(frozen=True)
class Pair(Generic[_T]):
    first: _T
    second: _T

    def __post_init__(self) -> None:
        object.__setattr__(self, "first", self.second)

    def __hash__(self) -> int:
        return 7


@frozen.dataclass(frozen=True)
class Three(Pair[int]):
    third: int = 3


@frozen.dataclass(frozen=True)
class Nothing:
    pass


def test_what_is_written_in_the_class_stays() -> None:
    assert Pair(1, 2).first == 2
    assert hash(Pair(1, 2)) == 7
    assert repr(Pair[int](1, 2)) == "Pair(first=2, second=2)"


def test_one_on_another() -> None:
    assert Three(1, 2) == Three(5, 2, third=3)
    assert Three(1, 2) != Pair(1, 2)
    assert hash(Three(1, 2)) == hash((2, 2, 3))
    assert {Nothing(): 1}[Nothing()] == 1


def test_it_travels() -> None:
    assert pickle.loads(pickle.dumps(Three(1, 2))) == Three(1, 2)


def test_what_is_told_more_is_pythons() -> None:
    @frozen.dataclass(frozen=True, slots=True)
    class Slotted:
        a: int

    @frozen.dataclass
    class Open:
        a: int

    one = Open(1)
    one.a = 2
    assert one == Open(2)
    assert not hasattr(Slotted(1), "__dict__")


def test_whatever_is_frozen_is_made_by_it() -> None:
    """Else it costs each command a millisecond again."""
    slow = []
    for file in PACKAGE.rglob("*.py"):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        imported = {
            name.name
            for node in tree.body
            if isinstance(node, ast.ImportFrom) and node.module == "dataclasses"
            for name in node.names
        }
        classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
        frozen_ones = [
            one.name for one in classes if any("(frozen=True)" in ast.unparse(d) for d in one.decorator_list)
        ]
        if frozen_ones and "dataclass" in imported:
            slow.append(file.name)
    assert slow == []
