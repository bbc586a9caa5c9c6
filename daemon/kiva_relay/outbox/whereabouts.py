"""Facts about the servers of outbox and MIS: on which one something was found last, and what followed from that."""

from __future__ import annotations

from kiva_relay.frozen import dataclass
from kiva_relay.outbox import meta

SERVER = meta.text("server")
"""The PostgreSQL on which the last start found this outbox: its system identifier and timeline."""

GIVEN_BACK_AT = meta.text("given_back_at")
"""The server on which the lease was last given back."""

FOLLOWED_ON = meta.text("followed_on")
"""The timeline of the MIS on which its slot was last followed; none where there is no publication any more."""


@dataclass(frozen=True)
class AwaitedWitnesses:
    """Whose witness has to be read because the outbox may lack what its machine sent: machines by their witness."""

    server: str
    machines: dict[str, str]


AWAITED = meta.of_type("awaited", AwaitedWitnesses)
