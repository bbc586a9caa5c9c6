"""What earlier runs found, in `.mutation/`: a run that was ended goes on, and a second one tries what may have changed."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from testbed.mutation.mutant import Mutant
from testbed.mutation.tree import REPOSITORY, Tree

_FOLDER = REPOSITORY / ".mutation"


@dataclass(frozen=True)
class Fate:
    """What became of a mutant.

    Attributes:
        key: The mutant's.
        fate: killed, late (ended by the clock, and so noticed), survived, or uncovered (no test runs the line).
        by: The test that noticed, or "".
        valid: As long as `validity` of the same test gives the same, it needs not be tried again.
    """

    key: str
    fate: str
    by: str
    valid: str

    @property
    def noticed(self) -> bool:
        """Whether a test fails."""
        return self.fate in ("killed", "late")


def validity(tree: Tree, mutant: Mutant, by: str) -> str:
    """What a fate depends on: a kill on its file and its test, a survival on all tests."""
    own = f"daemon/kiva_relay/{mutant.file}"
    return (
        tree.digest(own, by.partition("::")[0])
        if by
        else tree.digest(own, "tests/unit", "tests/contract", "testbed/rig")
    )


class Memory:
    """The folder, opened."""

    def __init__(self) -> None:
        _FOLDER.mkdir(exist_ok=True)
        self._fates = _FOLDER / "fates.jsonl"

    def fates(self) -> dict[str, Fate]:
        """The last fate of each mutant, by its key."""
        lines = self._fates.read_text(encoding="utf-8").splitlines() if self._fates.exists() else []
        return {fate.key: fate for fate in (Fate(**json.loads(line)) for line in lines)}

    def keep(self, fate: Fate) -> None:
        """Write a fate down."""
        with self._fates.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(fate)) + "\n")

    def coverage(self, file: str, own: str, rest: str) -> dict[str, Any] | None:
        """Which lines the tests of a file run; None: not known.

        `own` is the file's digest, `rest` that of all it may call. A file that ran none of the lines is believed to do
        so as long as it stays the same: most tests are about other rooms, and rooms are edited often.
        """
        kept = self._place(file)
        if not kept.exists():
            return None
        found: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
        tests: dict[str, Any] = found["tests"]
        elsewhere = not any(test["lines"] for test in tests.values())
        return tests if found["own"] == own and (elsewhere or found["rest"] == rest) else None

    def keep_coverage(self, file: str, own: str, rest: str, tests: dict[str, Any]) -> None:
        """Write down which lines the tests of a file run."""
        self._place(file).write_text(json.dumps({"own": own, "rest": rest, "tests": tests}), encoding="utf-8")

    @staticmethod
    def _place(file: str) -> Path:
        return _FOLDER / f"{file.replace('/', '.')}.json"
