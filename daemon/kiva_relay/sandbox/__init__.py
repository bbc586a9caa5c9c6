"""A stand-in for PA2 on this machine, with a ledger of what it accepted."""
