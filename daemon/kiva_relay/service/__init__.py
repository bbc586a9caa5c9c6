"""The daemon: what is opened, which loops run, and what people and machines see of it."""
