"""A mapping that stands still, as each command that reads the MIS says it: silence would look like nothing to read."""

from collections.abc import Mapping

from kiva_relay.cli import frame


def say(stopped: Mapping[str, str]) -> None:
    """Say of each mapping, by its name, why it is not read."""
    for name, why in stopped.items():
        sentence = f"The mapping {name} does not fit the MIS, and is not read: {why}"
        frame.verdict("STOPPED", f"{sentence}\nNothing is lost; the others were read.     kiva-relay mapping check")
