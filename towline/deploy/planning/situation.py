"""What is planned from: the state that is wanted, the state of the host, and what both together may lead to. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from towline.bundle.manifest import Manifest
from towline.engines.steps import RELEASE_ZERO
from towline.facts.compose_model import Model
from towline.facts.disk import DiskFact
from towline.facts.drift import DriftFact
from towline.facts.inventory import Inventory
from towline.facts.registry import Unpullable
from towline.facts.running_project import RunningProject
from towline.facts.stack import StackFact
from towline.project.stack import Stack


@dataclass(frozen=True)
class Release:
    """The files of a release, and what compose makes of them.

    texts: path → text of its Dockerfiles and .dockerignore files; variables: those of its .env, None when they are not known.
    Both are read of the working tree only, not of a release on a host.
    """

    model: Model
    manifest: Manifest = field(default_factory=Manifest)
    texts: Mapping[str, str] = field(default_factory=dict)
    variables: Mapping[str, str] | None = None


@dataclass(frozen=True)
class DesiredState:
    """What a deploy is to bring about. networks: external ones that no stack creates. repository: see bundle/repository.py.

    env_file: the .env in the live folder, when it is used because there is none here. not_sent: sentences about what is left here.
    data: the paths of its container data. makers: external network → another stack that makes it.
    """

    stack: Stack
    release: Release
    networks: frozenset[str] = frozenset()
    repository: tuple[str, ...] = ()
    env_file: str = ""
    not_sent: tuple[str, ...] = ()
    data: frozenset[str] = frozenset()
    makers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class CurrentState:
    """What one session reads on the host before a deploy. disk: None when its free space is not known.

    running: the project, when it runs without a release; `stack` then has its model and manifest.
    newer: image → `old → new` digest, where the registry has another one under the same tag, and was asked.
    token: a random text of this client's, which makes the run's id its own. untried: see facts.engine.
    started_anew: a container of the project runs that is neither one of release 0 nor made by a deploy.
    """

    stack: StackFact
    inventory: Inventory = field(default_factory=Inventory)
    drift: DriftFact = field(default_factory=DriftFact)
    disk: DiskFact | None = None
    token: str = ""
    running: RunningProject | None = None
    newer: Mapping[str, str] = field(default_factory=dict)
    untried: str = ""
    started_anew: bool = False

    @property
    def zero_interrupted(self) -> bool:
        """Whether the first deploy, over what ran before it, was interrupted or could not be undone: that is still kept.

        Not when a person has started it anew since: then that is what runs.
        """
        last, releases = self.stack.last_run, self.stack.releases
        unfinished = last is not None and last.outcome in ("cut", "partly", "down", "running")
        kept = not self.stack.current and any(release.id == RELEASE_ZERO for release in releases)
        return unfinished and kept and not self.started_anew

    @property
    def previous(self) -> str:
        """What is restored when the deploy fails: the live release, RELEASE_ZERO for what runs without one, '' for nothing."""
        return self.stack.current or (RELEASE_ZERO if self.running or self.zero_interrupted else "")

    def runs(self, project: str) -> bool:
        """Whether the host has a container of the Compose project."""
        return any(container.project == project for container in self.inventory.containers)

    @property
    def release(self) -> Release | None:
        """The live release; None when there is none, or none whose model was kept."""
        model = self.stack.model
        return Release(model, self.stack.manifest or Manifest()) if model else None


@dataclass(frozen=True)
class Situation:
    """All that the risks of a deploy are found in.

    adopting: the data of what runs elsewhere is brought along.
    used: the variables that the compose files use (`used_variables`). absent: paths of bind mounts, configs and secrets that are
    not on the host, relative to the stack's folder or absolute. unpullable: image → why its registry does not give it.
    dollars: (place in the .env, its variable, a variable that its value is read to have, and that is set nowhere).
    """

    desired: DesiredState
    current: CurrentState
    strategy: str = "recreate"
    used: frozenset[str] = frozenset()
    absent: frozenset[str] = frozenset()
    unpullable: Mapping[str, Unpullable] = field(default_factory=dict)
    adopting: bool = False
    dollars: tuple[tuple[str, str, str], ...] = ()

    @property
    def project(self) -> str:
        return self.desired.stack.project

    @property
    def inventory(self) -> Inventory:
        return self.current.inventory

    @property
    def model(self) -> Model:
        return self.desired.release.model

    @property
    def live_model(self) -> Model | None:
        return self.current.stack.model


@dataclass(frozen=True)
class Risk:
    """What could go wrong with a deploy, in one line. stops: the deploy does not start; the others are to be confirmed."""

    name: str
    sentence: str
    stops: bool
