"""Looking with the eyes of the service: a command that root typed, done as the user that the service runs as.

What root may read, the service may not: an outbox that belongs to root, a secret of mode 0600, a folder of photos.
Only what is looked at for the service is looked at so: its usual configuration, or an outbox in a folder of its own.
"""

from __future__ import annotations

import contextlib
import os
import pwd
from collections.abc import Iterator, Sequence
from pathlib import Path

from kiva_relay.config import partner
from kiva_relay.config.secret import Secret
from kiva_relay.config.settings import Settings

USER = "kiva-relay"


def user(settings: Settings) -> pwd.struct_passwd | None:
    """Who the service is; None where this configuration is not the service's, or this process not root's."""
    if os.geteuid() != 0:
        return None
    try:
        found = pwd.getpwnam(USER)
    except KeyError:
        return None
    file = settings.outbox.file
    return found if partner.unit(settings.file) or (file is not None and _is_its(file.parent, found)) else None


@contextlib.contextmanager
def eyes(settings: Settings) -> Iterator[None]:
    """This process is the service's user, until it is left."""
    service = user(settings)
    if service is None:
        yield
        return
    groups = os.getgroups()
    os.setgroups(os.getgrouplist(service.pw_name, service.pw_gid))
    os.setegid(service.pw_gid)
    os.seteuid(service.pw_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


def with_credentials(settings: Settings, *, groups: Sequence[str] = ("kiva", "mis", "outbox")) -> Settings:
    """The same settings, for `eyes`: what systemd hands to the service is read as systemd does, as root.

    `groups` of settings whose secrets are needed.

    Raises:
        RelayError: one of them cannot be read.
    """
    update: dict[str, object] = {}
    if user(settings) is None:
        return settings
    for group in groups:
        part = getattr(settings, group)
        name = "client_secret" if group == "kiva" else "password"
        held: Secret | None = getattr(part, name)
        if held is not None and held.way == "credential":
            read = Secret("literal", held.reveal(), held.setting)
            update[group] = part.model_copy(update={name: read})
    return settings.model_copy(update=update)


def _is_its(folder: Path, service: pwd.struct_passwd) -> bool:
    try:
        return folder.stat().st_uid == service.pw_uid
    except OSError:
        return False
