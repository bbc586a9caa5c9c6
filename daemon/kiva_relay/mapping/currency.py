"""How many digits stand behind the point in a currency. ISO 4217, amendment 176; most have two."""

from __future__ import annotations

_NONE = frozenset(
    [
        "BIF",
        "CLP",
        "DJF",
        "GNF",
        "ISK",
        "JPY",
        "KMF",
        "KRW",
        "PYG",
        "RWF",
        "UGX",
        "UYI",
        "VND",
        "VUV",
        "XAF",
        "XOF",
        "XPF",
    ]
)
_THREE = frozenset(["BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"])


def digits(code: str) -> int:
    """The digits of a currency, by its code."""
    code = code.strip().upper()
    return 0 if code in _NONE else 3 if code in _THREE else 2
