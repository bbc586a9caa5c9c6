"""The way out to Kiva: through which proxy, and whose certificates are trusted. Known before anything is sent.

The variables are those that curl reads (its manual, "Environment"). One that would be used and makes no sense is a
mistake of the person who set it: it is named, and nothing starts.
"""

from __future__ import annotations

import contextlib
import ipaddress
import re
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

import certifi

from kiva_relay import errors

_SCHEMES = ("http", "https")
_STORES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")
"""Where systems keep what `update-ca-certificates` writes, for a Python that was built to look elsewhere."""

_HASHED = re.compile(r"[0-9a-f]{8}\.[0-9]+")
_CERTIFICATE = re.compile(rb"-----BEGIN [A-Z ]*CERTIFICATE-----.+?-----END [A-Z ]*CERTIFICATE-----", re.DOTALL)
_UNSET = "Correct or unset it where the service gets it (systemctl show kiva-relay -p Environment), or set kiva.proxy."


def of(url: str, *, setting: str | None, environ: Mapping[str, str]) -> str | None:
    """The proxy on the way to `url`, as a URL; None: there is none. `setting` is `kiva.proxy`, and goes first.

    Raises:
        UsageError: a variable that would be used names no proxy that the relay can use.
    """
    if setting is not None:
        return setting
    there = urlsplit(url)
    for variable in _variables(there.scheme):
        if variable in environ:
            written = environ[variable].strip()
            break
    else:
        return None
    if not written or _is_exempt(there, environ.get("no_proxy", environ.get("NO_PROXY", ""))):
        return None
    return _proxy(variable, written)


def _variables(scheme: str) -> Iterator[str]:
    for name in (f"{scheme}_proxy", "all_proxy"):
        yield from (name, name.upper())


def _proxy(variable: str, written: str) -> str:
    """A proxy as it stands in a variable, as a URL. It may hold a password, so it is never quoted."""
    url = written if "://" in written else f"http://{written}"
    scheme = url.partition("://")[0].lower()
    if scheme not in _SCHEMES:
        raise errors.UsageError(
            f"{variable} of the environment names a {scheme[:20]} proxy; the relay can use http and https.",
            hint=_UNSET,
        )
    with contextlib.suppress(ValueError):
        parts = urlsplit(url)
        if parts.hostname and (parts.port is None or parts.port > 0) and url.isascii() and " " not in url:
            return url
    raise errors.UsageError(
        f"{variable} of the environment is no address of a proxy: expected http://HOST:PORT.", hint=_UNSET
    )


def _is_exempt(there: SplitResult, no_proxy: str) -> bool:
    """Does NO_PROXY name this host? What is in it and makes no sense names none."""
    host, port = (there.hostname or "").rstrip("."), there.port or {"http": 80, "https": 443}.get(there.scheme)
    return any(_names(each, host, port) for each in no_proxy.replace(",", " ").split())


def _names(written: str, host: str, port: int | None) -> bool:
    """`*`, a host or domain, an address or network; each may have a port, an IPv6 address then stands in brackets."""
    name = written.lower().partition("://")[2] or written.lower()
    if name == "*":
        return True
    if _is_network(name.strip("[]"), host):
        return True
    before, _, number = name.rpartition(":")
    if before and number.isdecimal():
        if not number.isascii() or str(port) != number:
            return False
        name = before
        if _is_network(name.strip("[]"), host):
            return True
    domain = name.removeprefix("*").strip(".")
    return bool(domain) and (host == domain or host.endswith(f".{domain}"))


def _is_network(name: str, host: str) -> bool:
    with contextlib.suppress(ValueError):
        network = ipaddress.ip_network(name.partition("%")[0], strict=False)
        return ipaddress.ip_address(host.partition("%")[0]) in network
    return False


def trusted(ca: Path | None, *, environ: Mapping[str, str]) -> ssl.SSLContext:
    """Who is trusted to say who Kiva is: the system's own authorities, and those in `kiva.ca` in addition.

    Raises:
        UsageError: `kiva.ca`, SSL_CERT_FILE or SSL_CERT_DIR names nothing that holds certificates.
    """
    file, folder = environ.get("SSL_CERT_FILE"), environ.get("SSL_CERT_DIR")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if file:
        _take(
            context, Path(file), "SSL_CERT_FILE of the environment", "Unset it, or name a file of certificates in PEM."
        )
    if folder:
        if not Path(folder).is_dir():
            raise errors.UsageError(
                f"SSL_CERT_DIR of the environment is {folder}, and there is no such folder.",
                hint="Unset it, or name a folder of certificates.",
            )
        context.load_verify_locations(capath=folder)
    if not file and not folder:
        _take_own(context)
    if ca is not None:
        _take(context, ca, "kiva.ca", "Expected a file with -----BEGIN CERTIFICATE----- in it (PEM).")
    return context


def _take(context: ssl.SSLContext, file: Path, whose: str, hint: str) -> None:
    try:
        context.load_verify_locations(cafile=file)
    except ssl.SSLError:
        raise errors.UsageError(f"{whose} is {file}, which holds no certificate in PEM.", hint=hint) from None
    except OSError as error:
        raise errors.UsageError(f"{whose} is {file}, which cannot be read: {error.strerror}.", hint=hint) from None


def _take_own(context: ssl.SSLContext) -> None:
    """The system's store; where there is none, the one that comes with the relay.

    Where it is a folder, too, that is enough: all that is in a file stands in memory for as long as the relay runs.
    """
    paths = ssl.get_default_verify_paths()
    if paths.capath and _holds_all(Path(paths.capath), paths.cafile):
        context.load_verify_locations(capath=paths.capath)
        return
    if paths.cafile or (paths.capath and any(Path(paths.capath).iterdir())):
        context.load_default_certs()
        if context.cert_store_stats()["x509_ca"] or paths.capath:
            return
    store = next((name for name in _STORES if Path(name).is_file()), certifi.where())
    context.load_verify_locations(cafile=store)


def _holds_all(folder: Path, file: str | None) -> bool:
    """Does the folder hold the certificates of the file, by the names under which OpenSSL looks for them?

    By its manual (X509_LOOKUP_hash_dir). Who wrote an authority into the file alone means it to be trusted.
    """
    with contextlib.suppress(OSError):
        hashed = [each for each in folder.iterdir() if _HASHED.fullmatch(each.name) and each.is_file()]
        there = set[bytes]().union(*map(_certificates, hashed))
        return bool(there) and (file is None or _certificates(Path(file)) <= there)
    return False


def _certificates(file: Path) -> set[bytes]:
    return {b"".join(found.split()) for found in _CERTIFICATE.findall(file.read_bytes())}
