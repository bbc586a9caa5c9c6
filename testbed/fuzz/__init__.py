"""Answers that nobody imagined, made by the thousand, and what the relay makes of them."""
