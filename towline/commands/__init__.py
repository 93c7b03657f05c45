"""Builds commands: a command is a tuple of words. Nothing in this package does I/O."""
