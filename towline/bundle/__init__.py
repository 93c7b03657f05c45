"""A stack's folder on this machine: its working tree, manifest and tarball, and what Docker reads of it."""
