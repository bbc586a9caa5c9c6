"""A scan of the MIS in words. Apart from what scans, for `status` is typed often, and reads no mapping."""

from datetime import timedelta

from kiva_relay import errors
from kiva_relay.cli import figure
from kiva_relay.outbox.scan import ScanProgress
from kiva_relay.words.spoken import tr

_A_SECOND = timedelta(seconds=1)


def result(progress: ScanProgress) -> str:
    """A scan in words: what was read, how fast, what was found."""
    span = (progress.at or progress.since) - progress.since
    parts = [f"{errors.counted(progress.done, 'row')} read in {figure.length(max(span, _A_SECOND))}"]
    if span >= _A_SECOND:
        parts[0] += f" ({progress.rate:,.0f} a second)"
    parts.append(f"{progress.found:,} new or different" if progress.found else "nothing new or different")
    if progress.gone:
        parts.append(f"{progress.gone:,} of them gone")
    if progress.missed:
        parts.append(f"{progress.missed:,} of them missed by polling")
    return ", ".join(parts)


def under_way(progress: ScanProgress) -> str:
    """A scan that is not at its end: rows, rate, time left."""
    if not progress.total:
        return tr("its rows are being counted")
    shown = tr("{done} of {total} rows", done=progress.done, total=progress.total)
    left = progress.left
    if left is None or progress.done >= progress.total:
        return shown
    rate, time = round(progress.rate), figure.length(max(left, _A_SECOND))
    return tr("{shown}, {rate} a second, about {time} left", shown=shown, rate=rate, time=time)
