"""How things stand, decided: health, tasks of a person, deadlines, holds. Values with codes and parameters.

Nothing here is a sentence. `kiva_relay.cli` has the words, and whoever shows the same to somebody else (a page, a mail)
has words of its own for the same values.
"""
