"""A local server to try it on: a real OpenSSH sshd with tight limits, and a real Docker Engine.

`up` makes and starts what is missing, `down` stops the sshd (never the engine) and keeps the files,
`read_status` tells. Everything lies in one folder, see `sshd.Files`.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from . import sshd
from .engine import ensure as ensure_engine
from .engine import missing as missing_engine
from .packages import install

if TYPE_CHECKING:
    from towline.project.settings import Host


@dataclass(frozen=True)
class Sandbox:
    """A sandbox that runs: how to log in to it, and where its things are."""

    folder: Path
    port: int
    user: str
    identity: Path  # the private key that its sshd accepts
    known_hosts: Path  # its host key, pinned
    root: Path  # where stacks are deployed to
    log: Path  # its sshd's log, for sshd.count()
    pid: int

    def host(self) -> Host:
        """The sandbox as a configured host."""
        from towline.project.settings import Host

        return Host(
            name="sandbox",
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
    """Where the sandbox lives: towline/sandbox in $XDG_STATE_HOME, else in ~/.local/state."""
    state = Path(os.environ.get("XDG_STATE_HOME") or "")
    return (state if state.is_absolute() else Path.home() / ".local" / "state") / "towline" / "sandbox"


def up(  # noqa: PLR0913
    *,
    folder: Path | None = None,
    engine: bool = True,
    images: Iterable[str] = (),
    max_sessions: int = 2,
    max_startups: int = 2,
    docker_host: str = "",
    say: Callable[[str], None] = print,
) -> Sandbox:
    """A sandbox that runs with these limits; one that does already is kept.

    sshd and (`engine=True`) a Docker Engine with compose v2 are installed where they are missing and started;
    Logins use the engine `docker_host` in place of the machine's own.
    `images` are made where no registry has them. Raises TowlineError with the lines to run if that cannot be.
    """
    limits = sshd.Limits(max_sessions, max_startups, docker_host)
    place = (folder or default_folder()).absolute()
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _locked(place):
        recipes = (sshd.missing(), missing_engine() if engine else None)
        install([recipe for recipe in recipes if recipe], say)
        box = _start_sshd(sshd.Files(place), limits, say)
        if engine:
            ensure_engine(place, say)
    _make_images(images, say)
    return box


def down(folder: Path | None = None) -> bool:
    """True when a sandbox ran and has been stopped: its sshd only; the files, stacks and the engine stay."""
    place = (folder or default_folder()).absolute()
    if not place.is_dir():
        return False
    with _locked(place):
        return sshd.stop(sshd.Files(place))


def read_status(folder: Path | None = None) -> Sandbox | None:
    """The sandbox that runs in `folder`, or None."""
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


def _start_sshd(files: sshd.Files, limits: sshd.Limits, say: Callable[[str], None]) -> Sandbox:
    running = read_status(files.folder)
    if running and sshd.read_limits(files) == limits:
        return running
    sshd.stop(files)
    sshd.start(files, limits)
    box = read_status(files.folder)
    assert box is not None  # noqa: S101 - start() has just seen it
    say(f"started sshd on {sshd.ADDRESS}:{box.port} for {box.user}")
    return box


def _make_images(names: Iterable[str], say: Callable[[str], None]) -> None:
    wanted = tuple(names)
    if wanted:
        from . import images

        images.ensure(wanted, say)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Only one `up` or `down` at a time: two test runs may share the folder."""
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
