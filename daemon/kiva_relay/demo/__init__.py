"""Everything at once, on this machine: a MIS with tellers at work, the relay, and a stand-in for Kiva."""
