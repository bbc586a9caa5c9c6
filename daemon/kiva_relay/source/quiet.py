"""A MIS in which nothing was written: a look is left out only when it could show nothing that the last one did not.

`written` is taken before the look that it belongs to began, while no transaction with an id was open: a commit is
written before it can be seen, so that one which waits for its standby could otherwise appear later, when nothing is
written any more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kiva_relay.frozen import dataclass
from kiva_relay.source.position import Cycle
from kiva_relay.source.stream import Stream


@dataclass(frozen=True)
class Quiet:
    """A look whose keys were all captured, without them; and how far the server had written before it began."""

    written: str
    look: Cycle

    def is_as_it_was(self, written: str, streams: Sequence[Stream], watermarks: Mapping[str, str | None]) -> bool:
        """Would a look at these streams, from these watermarks, be the same one?"""
        names = [stream.name for stream in streams]
        known = {name: watermarks.get(name) for name in names}
        return written == self.written and known == self.look.next and set(names) == self.look.mode.keys()
