"""`mis.tls` against a PostgreSQL with a certificate of an authority of one's own."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from kiva_relay import errors
from kiva_relay.source import tls
from testbed.database import ground, postgres
from testbed.rig import small_mis

pytestmark = pytest.mark.skipif(
    not list(Path("/usr/lib/postgresql").glob("*/bin/postgres")) or shutil.which("openssl") is None,
    reason="cannot run here: no PostgreSQL of Debian's, or no openssl; the one out of the wheel has no TLS",
)


def _openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


def _authority(folder: Path, name: str) -> Path:
    new = ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
    _openssl(folder, *new, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.pem")
    return folder / f"{name}.pem"


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[sa.URL, Path, Path]]:
    """A server called localhost, whose certificate does not say 127.0.0.1; its authority, and another one."""
    folder = tmp_path_factory.mktemp("tls")
    ours, other = _authority(folder, "ours"), _authority(folder, "other")
    (folder / "names").write_text("subjectAltName=DNS:localhost")
    new = ("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=mis")
    _openssl(folder, *new, "-keyout", "server.key", "-out", "server.csr")
    signed = ("x509", "-req", "-in", "server.csr", "-CA", "ours.pem", "-CAkey", "ours.key", "-CAcreateserial")
    _openssl(folder, *signed, "-days", "2", "-extfile", "names", "-out", "server.crt")
    with pytest.MonkeyPatch.context() as patched:
        found = max(Path("/usr/lib/postgresql").glob("*/bin/postgres")).parent
        patched.setattr(postgres, "binaries", lambda: found)
        server = postgres.PostgresServer(folder / "server", settings={"ssl": "on"})
    try:
        server.initialise()
        for name in ("server.key", "server.crt"):
            made = Path(shutil.copy(folder / name, server.data / name))
            made.chmod(0o600)
            if user := ground.user():
                ground.give(made, user)
        server.start()
        yield sa.make_url(server.url()), ours, other
    finally:
        server.close()


def _asked(url: sa.URL, *, host: str, verify: str, ca: Path | None) -> bool:
    url = tls.added(url.set(host=host), verify=verify, ca=ca, cert=None)
    with closing(small_mis.open_mis(url.render_as_string(hide_password=False))) as mis:
        asked = sa.text("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
        return bool(mis._snapshots.once(lambda cx: cx.scalar(asked)))


def test_a_certificate_of_ones_own_authority_is_taken(encrypted: tuple[sa.URL, Path, Path]) -> None:
    url, ours, other = encrypted
    assert _asked(url, host="localhost", verify="full", ca=ours)
    assert _asked(url, host="127.0.0.1", verify="ca", ca=ours)
    assert _asked(url, host="127.0.0.1", verify="encrypt", ca=None)
    with pytest.raises(errors.Unreachable, match="certificate verify failed") as caught:
        _asked(url, host="localhost", verify="encrypt", ca=other)
    assert "mis.tls" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("host", "verify", "whose", "said"),
    [
        ("localhost", "full", "other", "certificate verify failed"),
        ("localhost", "ca", "other", "certificate verify failed"),
        ("localhost", "full", "system", "certificate verify failed"),
        ("127.0.0.1", "full", "ours", "does not match host name"),
    ],
)
def test_another_certificate_is_refused_and_said_plainly(
    encrypted: tuple[sa.URL, Path, Path], host: str, verify: str, whose: str, said: str
) -> None:
    url, ours, other = encrypted
    ca = {"ours": ours, "other": other}.get(whose)
    with pytest.raises(errors.Unreachable, match=said) as caught:
        _asked(url, host=host, verify=verify, ca=ca)
    assert "mis.tls" in str(caught.value.hint)
    assert str(url.password) not in str(caught.value)
