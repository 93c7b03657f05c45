"""A stack: what its folder and its compose file say of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from towline.project.compose_file import Service
from towline.project.declared_checks import Check
from towline.project.settings import Strategy, display_path
from towline.project.waits import ReleaseCommand, Waits
from towline.project.waivers import Waiver

Kind = Literal["infrastructure", "stack"]


@dataclass(frozen=True)
class Stack:
    """One folder with a compose file.

    folder: what is uploaded. own_folder: that of its compose file, where it is a folder above that is uploaded (`base`). part: only
    what Compose reads, mounts or builds from is uploaded of the folder.
    creates, declares, external: networks, by their names on the engine. declares: creates and those that no service uses
    (Compose skips them). root_env: the repository's .env, for a stack without its own.
    env_files, secret_files: the files that hold secrets; text_files: other files that Compose and builds read, such as
    Dockerfiles. All relative to the folder; a variable in a path is one that only the server knows. profiles: of x-towline and the
    .env together; () when x-towline has none: Compose reads the .env itself. skip: left out of what is done to all stacks.
    mounts: path → whether a service may write there; contexts: (folder, Dockerfile) of builds. modes, owners: pattern → mode and
    `UID:GID` of the files that match it, the last one counts. seed: patterns of container data that is sent where there is none.
    images_may_move: an updater on the host takes newer images.
    """

    name: str
    project: str
    kind: Kind
    folder: Path
    top: Path
    compose_files: tuple[str, ...]
    services: tuple[Service, ...]
    creates: frozenset[str] = frozenset()
    declares: frozenset[str] = frozenset()
    external: frozenset[str] = frozenset()
    needs: tuple[str, ...] = ()
    host: str | None = None
    strategy: Strategy | None = None
    root_env: Path | None = None
    checks: tuple[Check, ...] = field(default=(), hash=False)
    waive: tuple[Waiver, ...] = field(default=(), hash=False)
    reload: Mapping[str, str] = field(default_factory=dict, hash=False)
    waits: Waits = field(default=Waits(), hash=False)
    before: tuple[ReleaseCommand, ...] = ()
    env_files: tuple[str, ...] = ()
    secret_files: tuple[str, ...] = ()
    text_files: tuple[str, ...] = ()
    profiles: tuple[str, ...] = ()
    skip: bool = False
    mounts: Mapping[str, bool] = field(default_factory=dict, hash=False)
    contexts: tuple[tuple[str, str], ...] = ()
    modes: Mapping[str, int] = field(default_factory=dict, hash=False)
    owners: Mapping[str, str] = field(default_factory=dict, hash=False)
    seed: tuple[str, ...] = ()
    images_may_move: bool = False
    own_folder: Path | None = None
    part: bool = False

    @property
    def label(self) -> str:
        """The folder that is uploaded, relative to the project's top: `stacks/whoami`."""
        return display_path(self.folder, self.top)

    @property
    def address(self) -> str:
        """The folder of its compose file, relative to the project's top."""
        return display_path(self.own_folder or self.folder, self.top)

    @property
    def read_by_compose(self) -> tuple[str, ...]:
        """The files that Compose and its builds read, relative to the folder; variables as in env_files."""
        return (".env", *self.compose_files, *self.env_files, *self.secret_files, *self.text_files)

    @property
    def dotenv(self) -> Path:
        """The .env that Compose interpolates with, which may not exist: the repository's, else the stack's own."""
        return self.root_env or self.folder / ".env"
