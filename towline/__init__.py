"""towline: one line tows every stack. See README.md for use and docs/ for the guide."""

__version__ = "0.1.0"
