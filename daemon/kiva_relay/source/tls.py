"""The way to the MIS, encrypted: `mis.tls` as the drivers take it, in the parameters of the URL."""

from __future__ import annotations

import ssl
from pathlib import Path

import sqlalchemy as sa

_MODES = {"full": "verify-full", "ca": "verify-ca", "encrypt": "require"}
_OURS = ("sslmode", "sslrootcert", "sslcert")


def added(url: sa.URL, *, verify: str, ca: Path | None, cert: Path | None) -> sa.URL:
    """The URL with what libpq calls it; `context` reads it again for MariaDB and MySQL.

    Args:
        url: of the MIS.
        verify: `full`, `ca`, `encrypt` or `off`.
        ca: certificate authorities (PEM); None: those of the system.
        cert: our own certificate and its key in one file (PEM), for servers that ask for one.
    """
    if verify == "off" or url.get_backend_name() == "sqlite":
        return url
    given = {"sslmode": _MODES[verify]}
    if ca is not None or verify != "encrypt":
        given["sslrootcert"] = "system" if ca is None else str(ca)
    if cert is not None:
        given |= {"sslcert": str(cert), "sslkey": str(cert)}
    return url.update_query_dict(given)


def context(url: sa.URL) -> tuple[sa.URL, ssl.SSLContext | None]:
    """The URL without what `added` put there, and the same as Python's own TLS takes it."""
    mode, ca, cert = (url.query.get(name) for name in _OURS)
    bare = url.difference_update_query((*_OURS, "sslkey"))
    if mode is None:
        return bare, None
    made = ssl.create_default_context(cafile=None if ca in (None, "system") else str(ca))
    made.check_hostname = mode == _MODES["full"]
    made.verify_mode = ssl.CERT_NONE if mode == _MODES["encrypt"] else ssl.CERT_REQUIRED
    if cert is not None:
        made.load_cert_chain(str(cert))
    return bare, made
