"""What stands in for public images: one folder each, and build.py."""
