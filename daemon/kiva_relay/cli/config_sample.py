"""`kiva-relay config sample`: the complete configuration, each setting explained."""

import sys

from kiva_relay.config import sample


def command() -> None:
    """Print the complete configuration, each setting explained; it is valid as it stands, and points to the sandbox.

    kiva-relay config sample > /etc/kiva-relay/config.yaml
    """
    sys.stdout.write(sample.render())
