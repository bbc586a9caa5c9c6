"""The stand-in for Kiva with what only tests and the demo need: faults, seeding, a clock that is put forward."""
