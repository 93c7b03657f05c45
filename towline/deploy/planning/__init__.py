"""Decide what a deploy does, from values and texts alone: no module here does I/O (tests/unit/test_purity.py)."""
