"""A Debian booted with a real systemd, and the package in it: all that an administrator does to it, in one script."""
