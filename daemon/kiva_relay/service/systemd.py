"""Messages to systemd: a datagram to the socket that it names; nothing where there is none."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

# Seconds. A manager reads at once; one whose queue stays full must not hold a delivery up.
_PATIENCE = 0.5


def ready(status: str, *, environ: Mapping[str, str] = os.environ) -> bool:
    """Configuration good and outbox open: the service is up."""
    return _send("READY=1", _status(status), environ=environ)


def status(sentence: str, *, environ: Mapping[str, str] = os.environ) -> bool:
    """One line that `systemctl status` shows."""
    return _send(_status(sentence), environ=environ)


def alive(*, environ: Mapping[str, str] = os.environ) -> bool:
    """The loops got on; without this for WatchdogSec, systemd restarts the service."""
    return _send("WATCHDOG=1", environ=environ)


def reloading(*, environ: Mapping[str, str] = os.environ) -> bool:
    """A reload has begun; `ready` ends it."""
    return _send("RELOADING=1", environ=environ)


def stopping(status: str, *, environ: Mapping[str, str] = os.environ) -> bool:
    """The service is stopping: it claims nothing more, and awaits what is under way."""
    return _send("STOPPING=1", _status(status), environ=environ)


def _status(sentence: str) -> str:
    return f"STATUS={' '.join(sentence.split())}"


def _send(*lines: str, environ: Mapping[str, str]) -> bool:
    """Send one datagram; false when nobody listens: a manager that is away must not stop a delivery."""
    address = environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]  # a socket without a file
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        channel.settimeout(_PATIENCE)
        try:
            channel.connect(address)
            channel.sendall("\n".join(lines).encode())
        except OSError:
            return False
    return True
