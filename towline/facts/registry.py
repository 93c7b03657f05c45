"""Which images a host could not pull: its registries are asked from the host, with the login's credentials."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from towline.commands.shell import Command, script
from towline.facts.compose_model import Model
from towline.ssh.connection import Connection
from towline.ssh.session import Result
from towline.text.lines import last_lines

ANSWER_IN = 15  # seconds; all registries are asked at once


@dataclass(frozen=True)
class Unpullable:
    """Why an image cannot be pulled.

    why: missing (the registry has no such image), denied (not for this login), unreachable (`said` tells how).
    certain: False where the engine goes to registries by a way of its own: a proxy, a mirror, plain HTTP.
    """

    why: str
    said: str = ""
    certain: bool = True


def to_be_pulled(model: Model, there: Mapping[str, str]) -> dict[str, bool]:
    """The images that a deploy would pull → whether also when they are there (`pull_policy: always`).

    there: name → id, '' for one that is not there; of others it is not known.
    """
    built = {keys.get("image") for keys in model.services.values() if keys.get("build")}
    found: dict[str, bool] = {}
    for keys in model.services.values():
        image, policy = keys.get("image"), keys.get("pull_policy")
        if not image or image in built or keys.get("build") or policy in ("never", "build"):
            continue
        if policy == "always" or not there.get(image):
            found[image] = found.get(image, False) or policy == "always"
    return found


def read_unpullable(connection: Connection, images: Mapping[str, bool]) -> dict[str, Unpullable]:
    """Those of `images` that cannot be pulled, and why. One session; none when there are none."""
    if not images:
        return {}
    results = connection.batch(commands(images), parallel=True, timeout=ANSWER_IN, name="registries")
    return parse(results, list(images))


# $1 the image, $2 always or missing. Requests the manifest alone from the registry, with this login's credentials. Without buildx
# there is no request and no failure: then the pull will tell.
_ASK = """
[ "$2" = always ] || ! docker image inspect --format . "$1" >/dev/null 2>&1 || exit 0
docker buildx version >/dev/null 2>&1 || exit 0
exec docker buildx imagetools inspect "$1" >/dev/null
"""
# Prints nothing but _ALIKE for an engine that reaches registries as its client does: those are plain HTTP to both.
_OWN_WAYS = (
    "{{.HTTPProxy}}{{.HTTPSProxy}}{{with .RegistryConfig}}{{range .Mirrors}}{{.}} {{end}}"
    "{{range .InsecureRegistryCIDRs}}{{println .}}{{end}}"
    "{{range .IndexConfigs}}{{if not .Secure}}{{println .Name}}{{end}}{{end}}{{end}}"
)
_ALIKE = {"127.0.0.0/8", "::1/128"}


def commands(images: Mapping[str, bool]) -> tuple[Command, ...]:
    """How the engine goes to registries, and the question for each of `images`."""
    asked = (script(_ASK, image, "always" if always else "missing") for image, always in images.items())
    return (("docker", "info", "--format", _OWN_WAYS), *asked)


def parse(results: Sequence[Result], images: Sequence[str]) -> dict[str, Unpullable]:
    """The fact from the results of `commands(images)`, in their order."""
    ways, *answers = results
    certain = ways.ok and set(ways.out.split()) <= _ALIKE
    return {image: refusal(it, certain=certain) for image, it in zip(images, answers, strict=True) if not it.ok}


def refusal(answer: Result, *, certain: bool) -> Unpullable:
    """What buildx said: its exit code is 1 whatever is wrong, so the registry's status, and where it quotes none its words."""
    last = "".join(last_lines(answer.err, 1))
    status = re.search(r"unexpected status .*: (\d{3})\b", last)
    code = status[1] if status else ""
    if code in ("401", "403") or "authorization failed" in last:
        return Unpullable("denied")
    if code == "404" or last.endswith(": not found"):
        return Unpullable("missing")
    said = (
        f"no answer within {ANSWER_IN} s"
        if answer.code == 124
        else last.rpartition(": ")[2] or f"exit code {answer.code}"
    )
    return Unpullable("unreachable", said, certain)
