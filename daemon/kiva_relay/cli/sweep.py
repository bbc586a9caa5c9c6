"""`kiva-relay sweep`: compare the whole book with what is known of it, now instead of at night."""

from kiva_relay.cli import frame, scans


def command(config: frame.Config = None, *, mapping: scans.Chosen = None, note: frame.Note = "") -> int:
    """Read every row that the mappings cover, and compare it with what was read before.

    This finds what no time stamp shows, too.

    The running relay does it, as gently as mis.max_load says; without one, this command does, and sends nothing.
    Interrupted, it continues where it was. Exit code: 0 when it came to its end.
    """
    settings = frame.load(config)
    names = scans.chosen(settings, mapping)
    frame.header(settings)
    return scans.go(settings, "sweep", names, note=note)
