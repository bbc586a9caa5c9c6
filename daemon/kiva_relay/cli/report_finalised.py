"""`kiva-relay report finalised`: the coordinator has finalised the report in PA2; nothing more is sent of it."""

from collections import Counter

from kiva_relay import errors
from kiva_relay.cli import figure, frame, report_named
from kiva_relay.cli.report_reopen import Period
from kiva_relay.report import current, finalising


def command(
    period: Period = None,
    config: frame.Config = None,
    *,
    note: frame.Note = "",
    yes: frame.Yes = False,
    as_json: frame.AsJson = False,
) -> int:
    """The report is finalised in PA2: nothing more is sent or decided for it, unless it is reopened."""
    settings = frame.load(config)
    with frame.outbox(settings) as outbox:
        with outbox.read() as tx:
            found = report_named.of(tx, period)
            lines = current.each_line(tx, settings, found.period, besides_accepted=True)
            open_ = [one for one in lines if one.needs_a_person]
        if not as_json:
            frame.header(settings)
            kinds = Counter(one.kind.value.replace("_", " ") for one in open_)
            for kind, number in kinds.items():
                frame.say(f"  {kind:<20} {errors.counted(number, 'loan')}")
            if open_:
                frame.say("  Kiva bills what is not reported as if it were repaid on schedule.")
            if found.closed_at is None and found.closes_at is not None:
                closes = figure.moment(found.closes_at, settings, at=frame.now())
                frame.say(f"  Its window is open until {closes}: what changes in the MIS until then is not sent.")
        question = f"Is the report of {found.period} finalised in PA2? Nothing more is sent for it."
        if not frame.agreed(question, yes=yes):
            frame.say("Nothing was changed.")
            return 0
        with report_named.not_meanwhile(), outbox.begin() as tx:
            finalising.finalise(tx, settings, found.period, by=frame.person(), note=note, now=frame.now())
    if as_json:
        frame.print_json({"period": found.period, "finalised": True, "left": len(open_)})
        return 0
    frame.say(f"The report of {found.period} is finalised. Nothing more is sent for it.")
    frame.say(f"Was that too early?   kiva-relay report reopen {found.period}")
    return 0
