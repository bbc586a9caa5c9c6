"""`dataclass`, as Python's own, but quickly made where it is frozen; the relay has four hundred of them.

Python before 3.13 writes six functions for each frozen dataclass, and compiles them one by one: a third of what a
command takes until it begins. Here those that are called often are compiled at once, and the others are the same for
all. What is told more than `frozen=True` is left to Python.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import MISSING, Field, FrozenInstanceError
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass  # noqa: PLC0414 - for those who check types it is Python's own
else:

    def dataclass(cls: type | None = None, /, *, frozen: bool = False, **options: Any) -> Any:
        """Python's, with all that it can be told."""
        its_own = dataclasses.dataclass(frozen=frozen, **options)
        make = _frozen if frozen and not options else its_own
        return make if cls is None else make(cls)


def _frozen(cls: type) -> type:
    cls.__doc__ = cls.__doc__ or cls.__name__  # Python would take long to find words
    dataclasses.dataclass(init=False, repr=False, eq=False)(cls)
    methods = _written(cls, dataclasses.fields(cls)) | {"__repr__": _repr}
    if vars(cls).get("__hash__") is not None:
        del methods["__hash__"]
    for name, method in methods.items():
        if name not in vars(cls) or name == "__hash__":
            setattr(cls, name, method)
    cls.__setattr__ = _set_nothing  # type: ignore[assignment]
    cls.__delattr__ = _delete_nothing  # type: ignore[assignment]
    return cls


def _written(cls: type, fields: Sequence[Field[Any]]) -> dict[str, Any]:
    """What is called for each row of a book: it names each field, for nothing is quicker."""
    known: dict[str, Any] = {"_set": object.__setattr__, "_made": MISSING}
    taken, by_name, body = ["self"], ["*"], []
    for each in fields:
        name, default, value = each.name, "", each.name
        if each.default is not MISSING:
            known[f"_usual_{name}"], default = each.default, f"=_usual_{name}"
        elif each.default_factory is not MISSING:
            known[f"_make_{name}"], default = each.default_factory, "=_made"
            value = f"_make_{name}() if {name} is _made else {name}" if each.init else f"_make_{name}()"
        if each.init:
            (by_name if each.kw_only else taken).append(f"{name}{default}")
        if each.init or each.default_factory is not MISSING:
            body.append(f"_set(self, {name!r}, {value})")
    if hasattr(cls, "__post_init__"):
        body.append("self.__post_init__()")
    compared, hashed = ([each.name for each in fields if told(each)] for told in (_compared, _hashed))
    text = _TEXT.format(
        arguments=", ".join(taken + (by_name if len(by_name) > 1 else [])),
        body="; ".join(body) or "pass",
        own=_values("self", compared),
        others=_values("other", compared),
        hashed=_values("self", hashed),
    )
    made: dict[str, Any] = {}
    exec(text, known, made)  # noqa: S102 - the names of our own fields
    for name, method in made.items():
        method.__qualname__ = f"{cls.__qualname__}.{name}"
    return made


_TEXT = """\
def __init__({arguments}): {body}
def __eq__(self, other): return {own} == {others} if other.__class__ is self.__class__ else NotImplemented
def __hash__(self): return hash({hashed})
"""


def _values(of: str, names: Sequence[str]) -> str:
    return f"({''.join(f'{of}.{name},' for name in names)})"


def _compared(field: Field[Any]) -> bool:
    return field.compare


def _hashed(field: Field[Any]) -> bool:
    return field.compare if field.hash is None else field.hash


def _repr(self: Any) -> str:
    shown = (f"{each.name}={getattr(self, each.name)!r}" for each in dataclasses.fields(self) if each.repr)
    return f"{self.__class__.__qualname__}({', '.join(shown)})"


def _set_nothing(self: object, name: str, value: object) -> None:  # noqa: ARG001 - as Python calls it
    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _delete_nothing(self: object, name: str) -> None:  # noqa: ARG001 - as Python calls it
    raise FrozenInstanceError(f"cannot delete field {name!r}")
