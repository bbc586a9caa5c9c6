"""`kiva-relay watch drop`: the SQL that takes publication and slot away again; printed, or run with --apply."""

from kiva_relay.cli import frame, watched_mis
from kiva_relay.cli.watch_setup import Admin, Apply


def command(
    config: frame.Config = None, *, apply: Apply = False, admin: Admin = None, as_json: frame.AsJson = False
) -> int:
    """Print the SQL that undoes `watch setup`: a slot that nobody reads fills the MIS's disk.

    A relay that runs lets go of the slot at its next look and goes on by polling; nothing is lost.
    """
    settings = frame.load(config)
    with watched_mis.opened(settings) as found:
        statements = found.drop()
    if apply:
        watched_mis.run(settings, statements, admin=admin, command="kiva-relay watch drop")
    elif as_json:
        frame.print_json(statements)
        return 0
    elif found.facts.there and found.facts.reader:
        frame.say(f"-- Process {found.facts.reader} reads the slot; a relay lets go of it at its next look.")
    for statement in statements:
        frame.say(f"done: {statement}" if apply else statement)
    if not statements:
        frame.say(f"-- Nothing is there: neither publication nor slot {found.facts.name}.")
    elif settings.mis.watch == "replication":
        frame.say("-- mis.watch is replication in config.yaml: without a stream the relay will not start. Say auto.")
    return 0
