"""The terminal: what is typed at it next, what it would obey in foreign text, and what paints it and is not used."""
