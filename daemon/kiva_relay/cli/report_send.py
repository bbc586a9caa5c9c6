"""`kiva-relay report send`: a person has looked at the report that was held; it goes."""

from kiva_relay import errors
from kiva_relay.cli import frame, hold_words, words
from kiva_relay.outbox import heartbeat, hold, listing
from kiva_relay.outbox.listing import Filter
from kiva_relay.report import finalising


def command(
    config: frame.Config = None, *, note: frame.Note = "", yes: frame.Yes = False, as_json: frame.AsJson = False
) -> int:
    """Send the report that waits for a person who has looked at it: the first one, or one on another basis.

    One release sends all of it. What else holds positions stays, and is named.
    """
    note = words.why_is_said(note)
    settings = frame.load(config)
    with frame.outbox(settings) as outbox:
        with outbox.read() as tx:
            held = [one for one in hold.in_force(tx) if one.reason in finalising.RELEASES]
            ready = listing.entries(tx, Filter(resource="repayment", held=True), limit=1).total
        if not held:
            raise errors.UsageError(
                "No report waits to be sent: neither is it the first one, nor on another basis. Nothing was changed.",
                hint="kiva-relay report",
            )
        if not as_json:
            frame.header(settings)
            for one in held:
                frame.verdict("HELD", hold_words.sentence(one, settings, now=frame.now()))
        if not frame.agreed(f"Send the report? {errors.counted(ready, 'position')} are ready.", yes=yes):
            frame.say("Nothing was sent. Everything stays as it was.")
            return 0
        with outbox.begin() as tx:
            released, left = finalising.release(tx, by=frame.person(), note=note, now=frame.now())
            runs = heartbeat.is_running(tx, frame.now())
    if as_json:
        frame.print_json({"released": released, "still_held": [one.reason for one in left]})
        return 0
    when = "within seconds" if runs else "when the relay runs (it does not: sudo systemctl start kiva-relay)"
    frame.say(f"Released. The report goes {when}." if not left else "Released. It is still held:")
    for one in left:
        frame.verdict("HELD", f"{hold_words.sentence(one, settings, now=frame.now())}\n{hold_words.release(one.what)}")
    frame.say("See what becomes of it:   kiva-relay report")
    return 0
