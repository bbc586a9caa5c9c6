"""Passwords: kept as hashes by argon2id (RFC 9106, with argon2-cffi's own choice of costs)."""

from __future__ import annotations

import argon2

SHORTEST = 10

_hasher = argon2.PasswordHasher()
_NOBODYS = _hasher.hash("nobody's")


def made(password: str) -> str:
    """The hash to keep."""
    return _hasher.hash(password)


def fits(kept: str | None, password: str) -> bool:
    """Is it the password of which this is the hash? None, for a name that nobody has, takes just as long to say no."""
    try:
        _hasher.verify(kept or _NOBODYS, password)
    except argon2.exceptions.VerificationError:
        return False
    except argon2.exceptions.InvalidHashError:
        return False
    return kept is not None
