"""Stand-ins for public images: a build context for each, and build.py."""
