"""The coordinator's page: what waits for her, in her language, with the buttons to answer. A process of its own."""
