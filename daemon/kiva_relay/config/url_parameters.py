"""What may stand behind the "?" of a database's URL.

Of mis.url: little, for the relay sets its sessions itself; the rest has a setting. Of outbox.url: what libpq knows.
"""

from urllib.parse import parse_qsl, urlsplit

from kiva_relay.config.mismatch import Mismatch
from kiva_relay.errors import nearest

_KNOWN = {
    "postgresql": ("host", "port", "options", "target_session_attrs", "passfile", "krbsrvname", "channel_binding"),
    "mariadb": ("unix_socket",),
    "mysql": ("unix_socket",),
    "sqlite": (),
}

LIBPQ = (
    *(
        "host",
        "hostaddr",
        "port",
        "dbname",
        "user",
        "password",
        "passfile",
        "service",
        "options",
        "target_session_attrs",
    ),
    *("sslmode", "sslnegotiation", "sslcert", "sslkey", "sslpassword", "sslrootcert", "sslcrl", "sslcrldir", "sslsni"),
    *("sslcertmode", "sslcompression", "ssl_min_protocol_version", "ssl_max_protocol_version", "requirepeer"),
    *("require_auth", "channel_binding", "krbsrvname", "gsslib", "gssencmode", "gssdelegation", "load_balance_hosts"),
    *("connect_timeout", "keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count"),
    *("tcp_user_timeout", "application_name", "fallback_application_name", "client_encoding"),
)
"""PostgreSQL's manual, "Parameter Key Words" of libpq."""

_TLS = "mis.tls: {ca: /PATH/ca.pem, verify: full}"
_OWN = "take it out: the relay does this by itself"
_TEXT = "take it out: the relay always asks for UTF-8"
_INSTEAD = {
    _TLS: (
        "ssl usessl requiressl verifyservercertificate trustservercertificate disablesslhostnameverification sslmode"
        " sslcert sslkey sslrootcert sslca sslcapath sslcrl sslfactory sslverify sslverifycert sslverifyidentity"
        " sslcheckhostname ssldisabled sslcipher enabledtlsprotocols enabledsslprotocolsuites tlsversion"
        " serversslcert allowpublickeyretrieval serverrsapublickeyfile clientcertificatekeystoreurl"
        " trustcertificatekeystoreurl encrypt gssencmode tls"
    ),
    "mis.timezone": (
        "servertimezone connectiontimezone forceconnectiontimezonetosession uselegacydatetimecode timezone usetimezone"
        " sessiontimezone uselegacytimezone usejdbccomplianttimezoneshift"
    ),
    "mis.statement_timeout": "statementtimeout querytimeout maxstatementtime",
    "USER@ in front of the host, and mis.password": "user username",
    _OWN: (
        "autoreconnect autoreconnectforpools maxreconnects connecttimeout sockettimeout logintimeout readtimeout"
        " writetimeout tcpkeepalive keepalives keepalivesidle keepalivesinterval keepalivescount applicationname"
        " programname readonly defaultfetchsize usecursorfetch preparethreshold cacheprepstmts useserverprepstmts"
        " rewritebatchedstatements usecompression zerodatetimebehavior tinyint1isbit yearisdatetype"
        " allowmultiqueries allowloadlocalinfile localinfile initcommand sessionvariables sqlmode clientflag"
        " nullcatalogmeansCurrent stringtype loadbalancehosts noaccesstoprocedurebodies poolsize failoverreadonly"
    ).lower(),
    _TEXT: "characterencoding characterset charset useunicode clientencoding collation connectioncollation",
    "options=-csearch_path=SCHEMA": "currentschema searchpath schema",
    "the name of the database behind the host": "database dbname",
}
_REMEDIES = {name: remedy for remedy, names in _INSTEAD.items() for name in names.split()}


def checked(url: str) -> str:
    """The URL, when all of its parameters are known.

    Raises:
        Mismatch: names the parameter, and the setting that replaces it.
    """
    parts = urlsplit(url)
    known = _KNOWN.get(parts.scheme, ())
    for name, _ in parse_qsl(parts.query, keep_blank_values=True):
        if name in known:
            continue
        plain = name.lower().replace("_", "").replace("-", "")
        remedy = _REMEDIES.get(plain, "")
        if not remedy:
            meant = nearest(name, known)
            listed = ", ".join(known) or "none"
            remedy = f"did you mean {meant[0]}?" if meant else f"known are: {listed}; take it out"
        raise Mismatch(f'"{name}" behind the "?" is not known here', remedy=remedy)
    return url


def of_outbox(url: str) -> str:
    """The URL of an outbox, when libpq knows all of its parameters, or it has no server.

    Raises:
        Mismatch: names the parameter, and the one that was meant.
    """
    parts = urlsplit(url)
    if parts.scheme != "postgresql":
        return url
    for name, _ in parse_qsl(parts.query, keep_blank_values=True):
        if name not in LIBPQ:
            meant = nearest(name, LIBPQ)
            remedy = f"did you mean {meant[0]}?" if meant else "take it out; PostgreSQL's libpq has no such parameter"
            raise Mismatch(f'"{name}" behind the "?" is not known here', remedy=remedy)
    return url
