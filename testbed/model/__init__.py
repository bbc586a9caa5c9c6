"""A model of the promise, searched through for a way to break it."""
