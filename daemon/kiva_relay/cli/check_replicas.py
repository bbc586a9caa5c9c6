"""What `check` says of an outbox on several servers: whether its commits wait for a standby, and what they may cost."""

from collections.abc import Iterator

import sqlalchemy as sa

from kiva_relay.cli.check_finding import CheckFinding
from kiva_relay.config import hosts, own_schema
from kiva_relay.config.settings import Settings
from kiva_relay.outbox.database import Outbox
from kiva_relay.words.spoken import tr

# A reader of the stream of changes is no copy of the outbox: the relay may be one itself.
_STANDS = """
SELECT current_setting('synchronous_standby_names') AS names, pg_is_in_recovery() AS recovers,
       CAST(current_user AS text) AS role,
       (SELECT count(*) FROM pg_stat_replication r WHERE NOT EXISTS (
               SELECT FROM pg_replication_slots s WHERE s.active_pid = r.pid AND s.slot_type = 'logical')) AS standbys
"""

_WAITS = "ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (STANDBY)'; SELECT pg_reload_conf();"


def replicas(outbox: Outbox, settings: Settings) -> Iterator[CheckFinding]:
    """Nothing of a file, and of a server that is alone."""
    if outbox.is_file:
        return
    with outbox.glance() as cx:
        row = cx.execute(sa.text(_STANDS)).one()
    named = len(hosts.of(settings.outbox.url))
    if row.recovers:
        text = tr("outbox.url leads to a standby, which cannot be written. Name all servers, the primary is found:")
        yield CheckFinding("error", "replicas", f"{text}\n{_all_of_them(settings)}")
        return
    if not outbox.server:
        text = tr("{role} may not ask which server this is: a failover would not be noticed.", role=row.role)
        grant = "GRANT EXECUTE ON FUNCTION pg_control_system(), pg_control_checkpoint()"
        yield CheckFinding("warning", "replicas", f"{text}\n{grant} TO {row.role};")
    yield from _commits(row.names, row.standbys, several=bool(named))
    if row.standbys and not named:
        text = tr("outbox.url names one server, and it has a standby: after a failover the relay would not find it.")
        yield CheckFinding("warning", "replicas", f"{text}\n{_all_of_them(settings)}")


def _commits(names: str, standbys: int, *, several: bool) -> Iterator[CheckFinding]:
    if names and standbys:
        text = tr(
            "synchronous: commits wait for {names}; {n} replica connected",
            "synchronous: commits wait for {names}; {n} replicas connected",
            n=standbys,
            names=names,
        )
        yield CheckFinding("ok", "replicas", text)
    elif names:
        text = tr(
            "commits wait for {names}, and no standby is connected: nothing is captured or sent until one is.",
            names=names,
        )
        yield CheckFinding("error", "replicas", f"{text}\nSELECT application_name, state FROM pg_stat_replication;")
    elif standbys:
        text = tr(
            "asynchronous: no commit waits for a replica ({number} connected). After a failover the"
            " last moments may be missing. What was sent in them is taken from the witness, and all is held until a"
            " person has looked; what persons decided in them is lost. So that commits wait:",
            number=standbys,
        )
        yield CheckFinding("warning", "replicas", f"{text}\n{_WAITS}")
    elif several:
        text = tr(
            "outbox.url names several servers, and no standby is connected: a failover would lose all since it was."
        )
        yield CheckFinding("warning", "replicas", f"{text}\nSELECT application_name, state FROM pg_stat_replication;")


def _all_of_them(settings: Settings) -> str:
    """outbox.url as it is to be written."""
    scheme, _, rest = settings.outbox.url.partition("://")
    user, at, _ = rest.partition("?")[0].partition("/")[0].rpartition("@")
    database = rest.partition("?")[0].partition("/")[2]
    schema = own_schema.of(settings.outbox.url)
    own = f"&options=-csearch_path={schema}" if schema else ""
    return f"outbox: {{url: '{scheme}://{user}{at}HOST,HOST/{database}?{hosts.TARGET}=read-write{own}'}}"
