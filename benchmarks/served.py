"""The sink as its users see it: started, told what is to happen, asked what came."""

from __future__ import annotations

import contextlib
import json
import os
import ssl
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from testbed.rig import patience


@dataclass(frozen=True)
class Took:
    """What the sink took: `calls`, different loans, `duplicates`; from the first to the last of them in seconds."""

    calls: int
    distinct: int
    duplicates: int
    first: float
    last: float
    connections: int
    arrivals: dict[str, float]

    @property
    def span(self) -> float:
        """From the first to the last."""
        return self.last - self.first

    @property
    def rate(self) -> float:
        """Loans a second, between the first call and the last."""
        if self.calls < 2 or not self.span:  # noqa: PLR2004 - between two there is a time
            return 0.0
        return (self.calls - 1) / self.span * self.distinct / self.calls


@dataclass(frozen=True)
class Served:
    """A sink that runs: its addresses, and the file of its certificate."""

    plain: str
    tls: str
    certificate: Path
    pid: int

    def plan(self, **changes: Any) -> None:
        """From now on."""
        self._ask("plan", {name: sorted(its) if isinstance(its, set) else its for name, its in changes.items()})

    def reset(self, **plan: Any) -> None:
        """Forget what came, and do only this."""
        self._ask("reset", {})
        self.plan(**plan)

    def took(self, *, arrivals: bool = False) -> Took:
        """What came since."""
        found = self._ask("ledger?arrivals" if arrivals else "ledger", {})
        return Took(**{"arrivals": {}, **found})

    def trusting(self) -> ssl.SSLContext:
        """What trusts it."""
        return ssl.create_default_context(cafile=str(self.certificate))

    def _ask(self, what: str, document: dict[str, Any]) -> dict[str, Any]:
        request = urllib.request.Request(f"{self.plain}/sink/{what}", json.dumps(document).encode(), method="POST")
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as answer:
            found: dict[str, Any] = json.load(answer)
        return found


@contextlib.contextmanager
def served() -> Iterator[Served]:
    """A sink in a process of its own, until the end of the block."""
    with tempfile.TemporaryDirectory(prefix="kiva-relay-sink-") as name:
        folder = Path(name)
        _certify(folder)
        process = subprocess.Popen([sys.executable, "-m", "benchmarks.sink", name], env=dict(os.environ))
        try:
            ready = folder / "addresses.json"
            patience.eventually(ready.exists, within=30)
            found = json.loads(ready.read_text(encoding="utf-8"))
            yield Served(found["plain"], found["tls"], folder / "ca.pem", process.pid)
        finally:
            process.terminate()
            process.wait()


def _certify(folder: Path) -> None:
    """A certificate for localhost, good for a week, of its own authority."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    names = [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=7))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    public = made.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "ca.pem").write_bytes(public)
    (folder / "sink.pem").write_bytes(private + public)
