"""What goes wrong on request: which calls, how often, and what then happens on the wire."""

from __future__ import annotations

import dataclasses
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

from kiva_relay import errors
from kiva_relay.sandbox import config
from testbed.kiva import odd

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

Kind = Literal[
    "drop_in_body",  # the connection is aborted after the headers, nothing of the body is looked at
    "drop_before",  # the body was read; nothing is applied; the connection is aborted
    "drop_after",  # applied; the connection is aborted without a byte of an answer
    "cut_answer",  # applied; status line, headers and half of the body, then the connection ends
    "slow",  # applied, then `seconds` of silence before the answer; `late`: silence first
    "status",  # another status, `applied` or not
    "odd",  # an odd answer, by its name in `odd.py`
    "garbage",  # a 200 with something that is not Kiva's JSON, `applied` or not
    "revoke_tokens",  # every token so far is void; the call itself goes on, and meets that
    "forbid_scope",  # a scope is withdrawn, from tokens given out and from new ones
    "problem",  # a repayment call is answered 200 with this problem in it
]
KINDS: tuple[str, ...] = get_args(Kind)

POSTS = ("loan_draft", "repayments", "journals")
TARGETS = ("token", *POSTS, "loans", "config", "other")
_GROUPS = {"any": TARGETS, "post": POSTS}


@dataclass
class Fault:
    """One fault. The JSON of `POST /sandbox/faults` has these keys; only `kind` is needed.

    With drop_in_body the caller's system may have taken the whole body from it already: up to 4 MB wait in
    the kernel. A body of 8 MB is always still being sent; a smaller one is when the caller keeps its
    SO_SNDBUF small.

    Attributes:
        kind: What happens.
        on: Which calls: names of `TARGETS`, `post` (the three that create), `any`. One, or a list.
        loan_id: Only calls whose body names this loan. Not with drop_in_body, which never sees the body.
        times: How often at most. None: no limit. Default: once, or no limit when `every` or `probability` is
            given and for forbid_scope.
        every: Only every nth matching call.
        probability: Only by chance, between 0 and 1, from `seed`.
        seed: The same seed and the same calls give the same faults.
        after: This many matching calls pass first.
        seconds: How long to wait; with slow.
        late: Wait first and apply then, also when the caller has gone; with slow.
        status: With status (default 500) and revoke_tokens (401 or 403, default 401).
        retry_after: The header's value, seconds or a date; with status.
        body: The text of the answer; with status and garbage.
        answer: The name of the odd answer; with odd. Only the calls that it makes sense for are struck.
        applied: Whether the call takes effect all the same; with status and garbage.
        reset: End the connection by RST in place of FIN; with the drops.
        scope: With forbid_scope.
        problem: The object put into `problems`; `loan_id` is filled in from this fault's when it has no such
            key.
    """

    kind: Kind
    on: tuple[str, ...] = TARGETS
    loan_id: str = ""
    times: int | None = None
    every: int = 1
    probability: float = 1.0
    seed: int = 0
    after: int = 0
    seconds: float = 0.0
    late: bool = False
    status: int = 0
    retry_after: str = ""
    body: str = ""
    answer: str = ""
    applied: bool = False
    reset: bool = False
    scope: str = ""
    problem: dict[str, Any] = field(default_factory=dict)
    number: int = 0
    seen: int = 0
    fired: int = 0

    def __post_init__(self) -> None:
        # Which calls fail must be the same in every run, so chance comes from the seed alone.
        self._chance = random.Random(self.seed)

    @property
    def dice(self) -> random.Random:
        """What draws the oddity of this time: the nth time of a seed is the first time of the seed n - 1 higher."""
        return random.Random(f"odd {self.seed + self.fired - 1}")

    @property
    def spent(self) -> bool:
        """Whether it has happened as often as it may."""
        return self.times is not None and self.fired >= self.times

    def strikes(self) -> bool:
        """Count one matching call, and say whether the fault happens to it."""
        if self.spent:
            return False
        self.seen += 1
        if self.seen <= self.after or (self.seen - self.after) % self.every:
            return False
        if self.probability < 1 and self._chance.random() >= self.probability:
            return False
        self.fired += 1
        return True

    def document(self) -> dict[str, Any]:
        """As JSON, with how many calls it saw and struck."""
        return dataclasses.asdict(self)


class Faults:
    """The faults in force, in the order in which they were asked for."""

    def __init__(self) -> None:
        self._numbers = 0
        self.all: list[Fault] = []

    def add(self, fault: Fault) -> Fault:
        """Put a fault in force."""
        self._numbers += 1
        fault.number = self._numbers
        self.all.append(fault)
        return fault

    def remove(self, number: int | None = None) -> int:
        """Take one fault out of force, or all; how many were."""
        kept = [fault for fault in self.all if number is not None and fault.number != number]
        removed = len(self.all) - len(kept)
        self.all = kept
        return removed

    def in_body(self, on: str) -> Fault | None:
        """The fault that ends this call before its body is read."""
        return self._first(on, (), kinds={"drop_in_body"})

    def on_call(self, on: str, loan_ids: Collection[str]) -> Fault | None:
        """The fault that happens to a call whose body was read: the first that strikes."""
        return self._first(on, loan_ids, kinds=set(KINDS) - {"drop_in_body", "forbid_scope", "problem"})

    def problems(self, loan_ids: Collection[str]) -> list[dict[str, Any]]:
        """The problems to be put into the answer of a repayment call."""
        matching = [fault for fault in self.all if fault.kind == "problem" and _names(fault, loan_ids)]
        return [
            ({"loan_id": fault.loan_id} if fault.loan_id else {}) | fault.problem
            for fault in matching
            if fault.strikes()
        ]

    def withdrawn(self) -> frozenset[str]:
        """The scopes that new tokens are not given."""
        return frozenset(fault.scope for fault in self.all if fault.kind == "forbid_scope" and not fault.spent)

    def forbids(self, scope: str) -> bool:
        """Whether a call that needs this scope is refused; counted."""
        return any(fault.kind == "forbid_scope" and fault.scope == scope and fault.strikes() for fault in self.all)

    def _first(self, on: str, loan_ids: Collection[str], *, kinds: Collection[str]) -> Fault | None:
        for fault in self.all:
            if fault.kind in kinds and on in fault.on and _names(fault, loan_ids) and fault.strikes():
                return fault
        return None


_STATUSES = (200, 599)
_WHOLE, _NUMBER, _TEXT = (int,), (int, float), (str,)
_TYPES: Mapping[str, tuple[type, ...]] = {
    "kind": _TEXT,
    "loan_id": _TEXT,
    "times": (int, type(None)),
    "every": _WHOLE,
    "probability": _NUMBER,
    "seed": _WHOLE,
    "after": _WHOLE,
    "seconds": _NUMBER,
    "late": (bool,),
    "status": _WHOLE,
    "retry_after": _TEXT,
    "body": _TEXT,
    "answer": _TEXT,
    "applied": (bool,),
    "reset": (bool,),
    "scope": _TEXT,
    "problem": (dict,),
}


def parse(document: Mapping[str, Any]) -> Fault:
    """A fault from its JSON.

    Raises:
        ValueError: A key or a value is not one of a fault; the message says which, and the nearest right one.
    """
    known = [one.name for one in dataclasses.fields(Fault) if one.name not in ("number", "seen", "fired")]
    for key in document:
        _one_of("key", key, known)
    given = dict(document)
    kind = given.get("kind", "")
    _one_of("kind", kind, KINDS)
    given["on"] = _targets(given.get("on", "any"))
    given.setdefault("times", None if {"every", "probability"} & given.keys() or kind == "forbid_scope" else 1)
    given["retry_after"] = str(given.get("retry_after", ""))
    _check(given)
    return Fault(**given)


def _check(given: dict[str, Any]) -> None:
    kind = given["kind"]
    for name, value in given.items():
        if name != "on" and not isinstance(value, _TYPES[name]):
            raise ValueError(f"{name}: {value!r} is of the wrong type")
    if kind == "forbid_scope":
        _one_of("scope", given.get("scope", ""), config.SCOPES)
    if kind == "odd":
        _one_of("answer", given.get("answer", ""), odd.ODD)
        given["on"] = tuple(on for on in given["on"] if on in odd.ODD[given["answer"]].on)
    status = given.get("status", 401)
    for right, message in (
        (given.get("every", 1) >= 1, "every: expected a whole number from 1"),
        (0 <= given.get("probability", 1) <= 1, "probability: expected a number from 0 to 1"),
        (_STATUSES[0] <= status <= _STATUSES[1], "status: expected a number from 200 to 599"),
        (
            kind != "revoke_tokens" or status in (401, 403),
            "status: a revoked token is answered with 401 or 403",
        ),
        (kind != "slow" or given.get("seconds", 0) > 0, "seconds: a slow answer needs them, more than 0"),
        (
            kind != "problem" or given.get("problem"),
            'problem: expected as {"code": "…", "severity": "error"}',
        ),
        (kind != "drop_in_body" or not given.get("loan_id"), "loan_id: drop_in_body never sees the body"),
    ):
        if not right:
            raise ValueError(message)


def _targets(on: object) -> tuple[str, ...]:
    names = [on] if isinstance(on, str) else on
    if not isinstance(names, list):
        raise ValueError("on: expected a name or a list of names")  # noqa: TRY004 - answered with 400 like the others
    for name in names:
        _one_of("on", name, (*_GROUPS, *TARGETS))
    return tuple(dict.fromkeys(target for name in names for target in _GROUPS.get(name, (name,))))


def _one_of(what: str, found: object, known: Collection[str]) -> None:
    if found not in known:
        near = errors.nearest(str(found), known, limit=1)
        meant = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"{what}: {found!r} is not one of {', '.join(known)}.{meant}")


def _names(fault: Fault, loan_ids: Collection[str]) -> bool:
    return not fault.loan_id or fault.loan_id in loan_ids
