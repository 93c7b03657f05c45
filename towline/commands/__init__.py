"""Pure builders: a command is a value, the tuple of its words. Nothing here does I/O."""
