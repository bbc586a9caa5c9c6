"""kiva-relay: from a loan-management database to Kiva, exactly once."""

__version__ = "0.2.0"
