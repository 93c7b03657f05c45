"""Every path on the server. All are below the host's root, and relative to the login's home unless root is absolute.

<root>/<stack>/                the live folder
<root>/.towline/<stack>/       lock, holder, current, releases/<id>/, run/<id>/
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class StackPaths:
    """The paths of one stack below `root`."""

    root: str
    stack: str

    @property
    def live(self) -> str:
        return f"{self.root}/{self.stack}"

    @property
    def home(self) -> str:
        return f"{self.root}/.towline/{self.stack}"

    def release(self, name: str) -> str:
        return f"{self.home}/releases/{name}"

    def run(self, name: str) -> str:
        return f"{self.home}/run/{name}"
