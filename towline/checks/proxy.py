"""The Traefiks of a host's stacks: where their entry points are reached, and whether they are configured so that they can work."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from towline.checks.finding import Finding, Subject
from towline.checks.here import Here
from towline.facts.container import Container
from towline.facts.inventory import WILDCARDS
from towline.facts.survey import Survey
from towline.project.catalog import Stack
from towline.traefik.routers import Route, parse_dynamic
from towline.traefik.static_configuration import ConfigFile, EntryPoint, Traefik, config_paths, parse_traefik

UNDEPLOYED = "its file may be another one on the server: the working tree is not what was deployed"


@dataclass(frozen=True)
class Proxy:
    """One Traefik of the host's stacks. container None: there is none at the moment; its routes should still be."""

    stack: Stack
    service: str
    traefik: Traefik
    container: Container | None

    def where(self, entry_point: EntryPoint) -> tuple[str, int]:
        """The address at which the host reaches the entry point: the published port, else the container's own; '' for nowhere."""
        if self.container is None:
            return "", 0
        for held in self.container.held:
            if held.inside == f"{entry_point.port}/tcp":
                return reached(held.outside.address), held.outside.port
        return self.container.address, entry_point.port

    def public_port(self, name: str, address: str) -> int:
        """The entry point's port for who comes from elsewhere, 0 for none. address: the host's, 127.0.0.1 for this machine."""
        point = self.point(name)
        if self.container is None or point is None:
            return 0
        if self.container.host_network:
            return point.port
        held = (one.outside for one in self.container.held if one.inside == f"{point.port}/tcp")
        here = address in ("127.0.0.1", "localhost")
        return next((one.port for one in held if here or not one.address.startswith("127.")), 0)

    def point(self, name: str) -> EntryPoint | None:
        return next((one for one in self.traefik.entry_points if one.name == name), None)


def reached(address: str) -> str:
    """Where the host itself reaches what is bound to `address`.

    >>> reached("0.0.0.0"), reached("::"), reached("192.0.2.1")
    ('127.0.0.1', '::1', '192.0.2.1')
    """
    return {WILDCARDS[0]: "127.0.0.1", WILDCARDS[1]: "::1"}.get(address, address)


def is_traefik(image: str) -> bool:
    """
    >>> is_traefik("registry:5000/traefik:v3@sha256:0"), is_traefik("traefik/whoami:v1")
    (True, False)
    """
    return posixpath.basename(image.partition("@")[0]).partition(":")[0] == "traefik"


def fronts(stacks: Sequence[Stack], heres: Mapping[str, Here], survey: Survey) -> list[Proxy]:
    """The Traefiks of the stacks, those that have no container too."""
    found = []
    for stack in stacks:
        model = survey.stacks[stack.name].model
        for name, keys in sorted((model.services if model else {}).items()):
            containers = survey.of(stack.project, name)
            if is_traefik(containers[0].image if containers else str(keys.get("image") or "")):
                found.append(_front(stack, name, keys, containers, heres[stack.name]))
    return found


def _front(stack: Stack, name: str, keys: Mapping[str, Any], containers: Sequence[Container], here: Here) -> Proxy:
    by_state = sorted(containers, key=lambda one: not one.running)
    container = by_state[0] if by_state else None
    words = container.command if container else tuple(map(str, keys.get("command") or ()))
    environment = {key: str(value) for key, value in (keys.get("environment") or {}).items() if value is not None}
    image = container.image if container else str(keys.get("image") or "")
    file = _static_file(config_paths(words), keys, here)
    return Proxy(stack, name, parse_traefik(words, environment, file, image), container)


def _static_file(paths: Iterable[str], keys: Mapping[str, Any], here: Here) -> ConfigFile | None:
    seen = dict(_seen(keys, here))
    return next((ConfigFile(path, seen[path]) for path in paths if path in seen), None)


def _seen(keys: Mapping[str, Any], here: Here) -> Iterator[tuple[str, str]]:
    """The service's mounted texts, of those that are the stack's own files: path in the container, text."""
    for mount in keys.get("volumes") or ():
        source, target = posixpath.normpath(str(mount.get("source") or "")), str(mount.get("target") or "")
        for path, text in here.texts.items():
            if mount.get("type", "bind") == "bind" and path == source:
                yield target, text
            elif mount.get("type", "bind") == "bind" and (source == "." or path.startswith(f"{source}/")):
                yield posixpath.join(target, posixpath.relpath(path, source)), text


def routes_in_files(front: Proxy, here: Here, survey: Survey) -> Iterator[Route]:
    """The routers of the file provider's files, as far as they are the stack's own."""
    model = survey.stacks[front.stack.name].model
    keys = model.services[front.service] if model else {}
    deployed = here.digest == survey.stacks[front.stack.name].digest
    for path, text in _seen(keys, here):
        if path.endswith((".yml", ".yaml", ".toml")) and path not in config_paths(()):
            for route in parse_dynamic(text, front.traefik, project=front.stack.project, name=posixpath.basename(path)):
                if route.router:
                    yield route if deployed else replace(route, requests=(), reasons=(UNDEPLOYED,))


def check_front(host: str, front: Proxy, bad: Mapping[tuple[str, str], str]) -> Finding:
    """The finding `stack.STACK.service.NAME.traefik`: with a configuration that is none, it serves no route as it should."""
    about = Subject(f"stack.{front.stack.name}.service.{front.service}", host, front.stack.name, front.service)
    if why := bad.get((front.stack.name, front.service)):
        return about.skip("traefik", f"see {why}")
    if front.traefik.problem:
        hint = f"docker logs of {front.stack.name}'s {front.service}"
        return about.fail("traefik", "Traefik cannot work with its configuration", front.traefik.problem, hint)
    points = ", ".join(f"{one.name} :{one.port}" for one in front.traefik.entry_points)
    return about.ok("traefik", "Traefik's configuration names its entry points", points)
