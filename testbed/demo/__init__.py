"""The demo: everything at once on this machine, in a minute."""
