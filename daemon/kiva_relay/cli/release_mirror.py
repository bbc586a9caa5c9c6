"""`kiva-relay release mirror`: Kiva's list of loans is never whole, and a person takes it as it is."""

from kiva_relay import errors
from kiva_relay.cli import figure, frame
from kiva_relay.config.settings import Settings
from kiva_relay.outbox import act, meta, mirror

WHAT = "mirror"


def command(settings: Settings, *, note: str, yes: bool, as_json: bool) -> int:
    """Let drafts go by what Kiva lists, although that is not all that it counts."""
    with frame.outbox(settings) as outbox:
        with outbox.read() as tx:
            lacking, taken = mirror.lacking(tx), meta.LIST_TAKEN.get(tx)
        if lacking is None:
            raise errors.UsageError(
                "Kiva's list of loans is read whole: there is nothing to release.", hint="kiva-relay status"
            )
        since = figure.moment(lacking.since, settings, at=frame.now())
        if frame.now() - lacking.since < mirror.SAME_FOR:
            least = figure.length(mirror.SAME_FOR)
            raise errors.UsageError(
                f"Kiva's list of loans is not whole, just so since {since}: {lacking.why}."
                f" Before {least} have passed it may be over by itself. Nothing was released.",
                hint="kiva-relay check",
            )
        if not as_json:
            frame.header(settings)
            frame.verdict("HELD", f"Kiva's list of loans is not whole, just so since {since}: {lacking.why}")
            frame.say(
                "  A loan that it leaves out may be at Kiva. Look in PA2: if the relay sends it, it is there twice."
            )
            frame.say("  What Kiva lists is adopted, as ever. That something is not listed proves nothing.")
        if lacking.why != taken and not frame.agreed("Take the list as it is, and send drafts by it?", yes=yes):
            frame.say("Nothing was released. Everything stays as it was.")
            return 0
        with outbox.begin() as tx:
            meta.LIST_TAKEN.put(tx, lacking.why)
            about = {"what": WHAT, "why": lacking.why}
            act.record(tx, by=frame.person(), verb="release", about=about, note=note, now=frame.now())
    if as_json:
        frame.print_json({"released": WHAT, "why": lacking.why})
        return 0
    frame.say("Taken as it is, as long as it lacks just that. Drafts go after the next reading of the list.")
    return 0
