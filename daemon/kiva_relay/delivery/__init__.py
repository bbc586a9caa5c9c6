"""Sending to Kiva, and learning what became of it."""
