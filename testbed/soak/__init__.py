"""A day of a relay in a few minutes: what it holds of memory, descriptors, threads, disk and log must stay the same."""
