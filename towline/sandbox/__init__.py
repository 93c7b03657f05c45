"""A local server to try towline on: a real OpenSSH sshd with low limits, and a real Docker Engine.

`up` installs and starts what is missing, `down` stops the sshd (never the engine) and keeps the files, `read_status`
returns the running sandbox. All its files are in one folder, see `sshd.Files`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from towline.errors import UsageError

from . import sshd
from .engine import ensure as ensure_engine
from .engine import missing as missing_engine
from .lock import locked
from .packages import install
from .sshd import DEFAULT_LIMITS, Limits

if TYPE_CHECKING:
    from towline.project.settings import Host


@dataclass(frozen=True)
class Sandbox:
    """A running sandbox: how to log in to it, and where its files are."""

    folder: Path
    port: int
    user: str
    identity: Path  # the private key that its sshd accepts
    known_hosts: Path  # has its host key
    root: Path  # the folder that stacks are deployed to
    log: Path  # its sshd's log, for sshd.count()
    pid: int

    def host(self) -> Host:
        """The sandbox as a Host of the settings."""
        from towline.project.settings import SANDBOX, Host

        return Host(
            name=SANDBOX,
            address=sshd.ADDRESS,
            user=self.user,
            port=self.port,
            identity=self.identity,
            known_hosts=(self.known_hosts,),
            root=str(self.root),
            max_sessions=1,
            engine="compose",
        )


def default_folder() -> Path:
    """The sandbox's folder: towline/sandbox in $XDG_STATE_HOME, else in ~/.local/state."""
    state = Path(os.environ.get("XDG_STATE_HOME") or "")
    try:
        return (state if state.is_absolute() else Path.home() / ".local" / "state") / "towline" / "sandbox"
    except RuntimeError:  # a user that this machine has no name for
        raise UsageError("the sandbox has no folder: neither XDG_STATE_HOME nor HOME is set") from None


def up(
    *,
    folder: Path | None = None,
    engine: bool = True,
    images: Iterable[str] = (),
    limits: Limits = DEFAULT_LIMITS,
    say: Callable[[str], None] = print,
) -> Sandbox:
    """A running sandbox with these limits; one that runs with them already is kept.

    sshd and (`engine=True`) a Docker Engine with compose v2 are installed where missing, and started. `images` are
    pulled, or built where no registry can be reached. `say` gets a line for each thing that was done. Raises
    TowlineError with the commands to run by hand where towline cannot do it.
    """
    folder = (folder or default_folder()).absolute()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with locked(folder / "lock"):  # two test runs may share the folder
        recipes = (sshd.missing(), missing_engine() if engine else None)
        install([recipe for recipe in recipes if recipe], say)
        box = _start_sshd(sshd.Files(folder), limits, say)
        if engine:
            ensure_engine(folder, say)
    _ensure_images(images, say)
    return box


def down(folder: Path | None = None) -> bool:
    """Stop the sandbox's sshd; its files and stacks, and the engine, stay. False when it was not running."""
    folder = (folder or default_folder()).absolute()
    if not folder.is_dir():
        return False
    with locked(folder / "lock"):  # two test runs may share the folder
        return sshd.stop(sshd.Files(folder))


def read_status(folder: Path | None = None) -> Sandbox | None:
    """The sandbox that runs in `folder`, by default the default one; None when it does not run."""
    files = sshd.Files((folder or default_folder()).absolute())
    pid, port = sshd.read_pid(files), sshd.read_port(files)
    if pid is None or port is None:
        return None
    return Sandbox(
        folder=files.folder,
        port=port,
        user=sshd.read_user(),
        identity=files.identity,
        known_hosts=files.known_hosts,
        root=files.root,
        log=files.log,
        pid=pid,
    )


def _start_sshd(files: sshd.Files, limits: Limits, say: Callable[[str], None]) -> Sandbox:
    running = read_status(files.folder)
    if running and sshd.read_limits(files) == limits:
        return running
    sshd.stop(files)
    sshd.start(files, limits)
    box = read_status(files.folder)
    assert box is not None  # noqa: S101 - start() has just seen it
    say(f"started sshd on {sshd.ADDRESS}:{box.port} for {box.user}")
    return box


def _ensure_images(names: Iterable[str], say: Callable[[str], None]) -> None:
    if names := tuple(names):
        from . import images

        images.ensure(names, say)
