"""Capture under load: an institution at work on each database, and what each capture mode saw of it."""
