"""One SSH connection per host. Only this package imports fabric and paramiko."""

from __future__ import annotations

import logging

# Without a handler, paramiko's thread prints a traceback for every refused banner (logging.lastResort); the caller gets the
# same as an exception.
logging.getLogger("paramiko").addHandler(logging.NullHandler())
