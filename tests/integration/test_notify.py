from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kiva_relay.service import systemd


@pytest.fixture
def file(tmp_path: Path) -> Iterator[str]:
    """Where a socket can be made, by a short way: the path of the temporary folder may be too long for one."""
    folder = os.open(tmp_path, os.O_DIRECTORY)
    yield f"/proc/self/fd/{folder}/notify"
    os.close(folder)


@pytest.fixture(params=["a socket file", "a socket without a file"])
def manager(request: pytest.FixtureRequest, file: str) -> Iterator[tuple[socket.socket, dict[str, str]]]:
    address = file if request.param == "a socket file" else f"@kiva-relay-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.settimeout(5)
        listener.bind(address.replace("@", "\0"))
        yield listener, {"NOTIFY_SOCKET": address}


@pytest.mark.parametrize(
    ("tell", "told"),
    [
        (
            lambda environ: systemd.ready("waiting for\nthe MIS", environ=environ),
            b"READY=1\nSTATUS=waiting for the MIS",
        ),
        (lambda environ: systemd.status("sending", environ=environ), b"STATUS=sending"),
        (lambda environ: systemd.alive(environ=environ), b"WATCHDOG=1"),
        (lambda environ: systemd.reloading(environ=environ), b"RELOADING=1"),
        (lambda environ: systemd.stopping("1 answer", environ=environ), b"STOPPING=1\nSTATUS=1 answer"),
    ],
)
def test_systemd_is_told(
    manager: tuple[socket.socket, dict[str, str]], tell: Callable[[dict[str, str]], bool], told: bytes
) -> None:
    listener, environ = manager
    assert tell(environ)
    assert listener.recv(1024) == told


def test_nobody_to_tell_is_no_error(tmp_path: Path) -> None:
    assert not systemd.alive(environ={})
    assert not systemd.alive(environ={"NOTIFY_SOCKET": str(tmp_path / "nobody")})
    assert not systemd.alive(environ={"NOTIFY_SOCKET": "vsock:1:2"})


def test_a_manager_that_does_not_read_holds_nobody_up(file: str) -> None:
    environ = {"NOTIFY_SOCKET": file}
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(environ["NOTIFY_SOCKET"])
        while systemd.alive(environ=environ):
            pass
