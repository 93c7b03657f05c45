"""The proxies (Traefik) of a host's stacks: where their entry points are reached, and whether their configuration can work."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from towline.checks.baseline import Baseline
from towline.checks.causes import Causes
from towline.checks.finding import Finding, Subject
from towline.facts.container import Container
from towline.facts.port import WILDCARDS
from towline.facts.survey import Survey
from towline.project.stack import Stack
from towline.traefik.routers import Route, parse_dynamic
from towline.traefik.static_configuration import ConfigFile, EntryPoint, Traefik, config_paths, parse_traefik

UNDEPLOYED = "its file may differ on the server: the working tree is not what was deployed"


@dataclass(frozen=True)
class Proxy:
    """One Traefik of the host's stacks. container None: it has none at the moment; its routes are expected all the same."""

    stack: Stack
    service: str
    traefik: Traefik
    container: Container | None

    def address_of(self, entry_point: EntryPoint) -> tuple[str, int]:
        """Address and port at which the host reaches the entry point: the published port, else the container's own; '' for none."""
        if self.container is None:
            return "", 0
        for held in self.container.held:
            if held.inside == f"{entry_point.port}/tcp":
                return reached(held.outside.address), held.outside.port
        return self.container.address, entry_point.port

    def public_port(self, name: str, address: str) -> int:
        """The entry point's port for other machines, 0 for none. address: the host's, 127.0.0.1 for this machine."""
        entry_point = self.entry_point(name)
        if self.container is None or entry_point is None:
            return 0
        if self.container.host_network:
            return entry_point.port
        ports = (held.outside for held in self.container.held if held.inside == f"{entry_point.port}/tcp")
        local = address in ("127.0.0.1", "localhost")
        return next((port.port for port in ports if local or not port.address.startswith("127.")), 0)

    def entry_point(self, name: str) -> EntryPoint | None:
        return next((point for point in self.traefik.entry_points if point.name == name), None)


def reached(address: str) -> str:
    """The address at which the host itself reaches what is bound to `address`.

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


def find_proxies(stacks: Sequence[Stack], baselines: Mapping[str, Baseline], survey: Survey) -> list[Proxy]:
    """The Traefiks of the stacks, those without a container too; each configuration is parsed once."""
    proxies = []
    for stack in stacks:
        model = survey.stacks[stack.name].model
        for name, keys in sorted((model.services if model else {}).items()):
            containers = survey.containers_of(stack.project, name)
            if is_traefik(containers[0].image if containers else str(keys.get("image") or "")):
                proxies.append(_proxy(stack, name, keys, containers, baselines[stack.name]))
    return proxies


def _proxy(
    stack: Stack, name: str, keys: Mapping[str, Any], containers: Sequence[Container], baseline: Baseline
) -> Proxy:
    running_first = sorted(containers, key=lambda container: not container.running)
    container = running_first[0] if running_first else None
    command = container.command if container else tuple(map(str, keys.get("command") or ()))
    environment = {key: str(value) for key, value in (keys.get("environment") or {}).items() if value is not None}
    image = container.image if container else str(keys.get("image") or "")
    texts = dict(_mounted_texts(keys, baseline))
    file = next((ConfigFile(path, texts[path]) for path in config_paths(command) if path in texts), None)
    return Proxy(stack, name, parse_traefik(command, environment, file, image), container)


def _mounted_texts(keys: Mapping[str, Any], baseline: Baseline) -> Iterator[tuple[str, str]]:
    """Path in the container → text, of the stack's own files that the service mounts."""
    for mount in keys.get("volumes") or ():
        if mount.get("type", "bind") != "bind":
            continue
        source, target = posixpath.normpath(str(mount.get("source") or "")), str(mount.get("target") or "")
        for path, text in baseline.texts.items():
            if path == source:
                yield target, text
            elif source == "." or path.startswith(f"{source}/"):
                yield posixpath.join(target, posixpath.relpath(path, source)), text


def routes_in_files(proxy: Proxy, baseline: Baseline, survey: Survey) -> Iterator[Route]:
    """The routers of the file provider's files, as far as they are the stack's own."""
    model = survey.stacks[proxy.stack.name].model
    keys = model.services[proxy.service] if model else {}
    deployed = baseline.digest == survey.stacks[proxy.stack.name].digest
    for path, text in _mounted_texts(keys, baseline):
        if path.endswith((".yml", ".yaml", ".toml")) and path not in config_paths(()):
            for route in parse_dynamic(text, proxy.traefik, project=proxy.stack.project, name=posixpath.basename(path)):
                if route.router:
                    yield route if deployed else replace(route, requests=(), reasons=(UNDEPLOYED,))


def check_proxy(host: str, proxy: Proxy, causes: Causes) -> Finding:
    """The finding `stack.STACK.service.NAME.traefik`: a Traefik with an invalid configuration serves no route as it should."""
    stack = proxy.stack.name
    subject = Subject(f"stack.{stack}.service.{proxy.service}", host, stack, proxy.service)
    if cause := causes.get((stack, proxy.service)):
        return subject.explained("traefik", cause)
    if proxy.traefik.problem:
        hint = f"docker logs of {stack}'s {proxy.service}"
        return subject.fail("traefik", "Traefik cannot work with its configuration", proxy.traefik.problem, hint)
    points = ", ".join(f"{point.name} :{point.port}" for point in proxy.traefik.entry_points)
    return subject.ok("traefik", "Traefik's configuration names its entry points", points)
