"""The one connection per host. Only this package imports fabric and paramiko."""

from __future__ import annotations

import logging

# Without a handler paramiko's thread prints tracebacks of every refused banner through logging's last resort;
# what it has to say reaches the caller as an exception anyway.
logging.getLogger("paramiko").addHandler(logging.NullHandler())
