"""What could go wrong with a deploy, found before anything happens. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from towline.deploy.planning.mount_risks import mount_risks
from towline.deploy.planning.option_risks import option_risks
from towline.deploy.planning.port_risks import holder_text, port_risks
from towline.deploy.planning.situation import Risk, Situation
from towline.deploy.planning.takeover_risks import takeover_risks
from towline.facts.registry import Unpullable
from towline.project.catalog import BUILTIN_NETWORKS
from towline.project.variables import ALWAYS_SET


def find_risks(situation: Situation) -> tuple[Risk, ...]:
    """Every risk, those that stop the deploy first."""
    risks = [
        *takeover_risks(situation),
        *_renamed_project(situation),
        *port_risks(situation),
        *_taken_names(situation),
        *_missing_images(situation),
        *_missing_networks(situation),
        *mount_risks(situation),
        *_missing_volumes(situation),
        *option_risks(situation),
        *_orphaned_volumes(situation),
        *_anonymous_volumes(situation),
        *_undefined_variables(situation),
    ]
    return tuple(sorted(dict.fromkeys(risks), key=lambda risk: not risk.stops))


def _renamed_project(situation: Situation) -> Iterator[Risk]:
    """No step takes down what compose knows by another name: it would go on, half of a proxy's requests with it."""
    old, new = situation.live_model.project if situation.live_model else "", situation.project
    containers = situation.inventory.containers
    left = sorted({container.service for container in containers if container.project == old and not container.oneoff})
    if old not in ("", new) and left:
        sentence = (
            f"the project was {old} and is now {new}: the containers of {old} ({', '.join(left)}) would go on beside it"
        )
        hint = f"keep the name, or take them down first, there: docker compose --project-name {old} down"
        yield Risk("project-renamed", f"{sentence}; {hint}", stops=True)


def _taken_names(situation: Situation) -> Iterator[Risk]:
    containers = situation.inventory.containers
    others = {container.name: container for container in containers if container.project != situation.project}
    for service, keys in situation.model.services.items():
        holder = others.get(str(keys.get("container_name") or ""))
        if holder:
            sentence = f"{service}: container_name {holder.name} is taken by {holder_text(holder)}"
            yield Risk("name-taken", f"{sentence}; choose another, or remove that container", stops=True)


# --- images ---------------------------------------------------------------------------------------------------------------


def _missing_images(situation: Situation) -> Iterator[Risk]:
    services, images = situation.model.services, situation.inventory.images
    built = {str(keys.get("image")) for keys in services.values() if keys.get("build")}
    for service, keys in services.items():
        image, policy = str(keys.get("image") or ""), keys.get("pull_policy")
        if not image or keys.get("build") or image in built or (images.get(image) and policy != "always"):
            continue
        if image in situation.unpullable and policy != "never":
            yield _missing_image(service, image, str(policy), situation.unpullable[image])
        elif policy == "never" and image in images:
            sentence = f"{service}: image {image} is not on the server, and pull_policy: never forbids to pull it"
            yield Risk("image-missing", f"{sentence}; load it there: docker load", stops=True)


def _missing_image(service: str, image: str, policy: str, refusal: Unpullable) -> Risk:
    start = f"{service}: image {image} "
    start += "is pulled each time (pull_policy: always), and " if policy == "always" else "is not on the server, and "
    if refusal.why == "missing":
        return Risk("image-missing", f"{start}its registry has no such image; check its name and tag", stops=True)
    if refusal.why == "denied":
        hint = "check its name, or log in there: docker login"
        return Risk("image-missing", f"{start}its registry does not give it to this login; {hint}", stops=True)
    sentence = f"{start}its registry cannot be reached from there ({refusal.said})"
    hint = "see that it can, or load the image there: docker load"
    if not refusal.certain:
        hint = "the engine may get it by its own proxy, mirror or plain HTTP; if not, the deploy ends at the pull"
    return Risk("image-missing", f"{sentence}; {hint}", stops=refusal.certain)


# --- networks and volumes -------------------------------------------------------------------------------------------------


def _missing_networks(situation: Situation) -> Iterator[Risk]:
    networks, services = situation.model.networks, situation.model.services.values()
    known = situation.inventory.networks | situation.desired.networks | BUILTIN_NETWORKS
    used = {name for keys in services for name in keys.get("networks") or ()}
    for key in sorted(used & networks.keys()):
        network = networks[key] or {}
        name = str(network.get("name") or key)
        if network.get("external") and name not in known:
            sentence, maker = (
                f"the external network {name} does not exist on the server",
                situation.desired.makers.get(name),
            )
            if maker:  # one that is made by hand is none that its stack takes for its own
                sentence += f"; the stack {maker} makes it: inv deploy --stack={maker}"
            else:
                sentence += f" and no stack makes it; make it there: docker network create {name}"
            yield Risk("network-missing", sentence, stops=True)


def _missing_volumes(situation: Situation) -> Iterator[Risk]:
    volumes, services = situation.model.volumes, situation.model.services.values()
    mounts = [mount for keys in services for mount in keys.get("volumes") or ()]
    used = {mount.get("source") for mount in mounts if mount.get("type") == "volume"}
    for key in sorted(used & volumes.keys()):
        name = _volume_name(key, volumes[key])
        if (volumes[key] or {}).get("external") and name not in situation.inventory.volumes:
            sentence = f"the external volume {name} does not exist on the server, and Compose makes none"
            yield Risk("volume-missing", f"{sentence}; make it there: docker volume create {name}", stops=True)


def _orphaned_volumes(situation: Situation) -> Iterator[Risk]:
    old, new = situation.live_model, situation.model
    if old is None:
        return
    kept = {_volume_name(key, volume) for key, volume in new.volumes.items()}
    for key, volume in old.volumes.items():
        name = _volume_name(key, volume)
        if (volume or {}).get("external") or name in kept or name not in situation.inventory.volumes:
            continue
        if key in new.volumes:
            name_now = _volume_name(key, new.volumes[key])
            why = f"volume {key} is now {name_now}, so the content of {name} stays behind"
            hint = f"keep it with `name: {name}` under volumes.{key}"
        else:
            why = f"no service uses volume {name} any more; its content stays on the server"
            hint = f"when it is not wanted: docker volume rm {name}"
        yield Risk("volume-orphaned", f"{why}; {hint}", stops=False)


def _volume_name(key: str, volume: Mapping[str, Any] | None) -> str:
    return str((volume or {}).get("name") or key)


def _anonymous_volumes(situation: Situation) -> Iterator[Risk]:
    """Only `recreate` takes containers down: a container that `update` recreates takes its anonymous volumes over."""
    if situation.strategy != "recreate":
        return
    for container in situation.inventory.containers:
        if container.project != situation.project or container.oneoff or not container.active:
            continue
        for mount in container.mounts:
            if mount.anonymous:
                start = f"{container.service}: the new container will not see what is in {mount.destination} now"
                why = f"its volume {mount.name[:12]} has no name"
                hint = f"give it one under volumes:, or deploy {situation.desired.stack.name} with strategy: update"
                yield Risk("anonymous-volume", f"{start}, since {why}; {hint}", stops=False)


# --- variables ------------------------------------------------------------------------------------------------------------


def _undefined_variables(situation: Situation) -> Iterator[Risk]:
    defined = situation.desired.release.variables or {}
    stack = situation.desired.stack
    file = "the repository's .env" if stack.root_env else f"the .env of {stack.name}"
    for name in sorted(situation.used - defined.keys() - ALWAYS_SET):
        sentence = f"${{{name}}} is set nowhere, so Compose makes it empty"
        yield Risk("variable-undefined", f"{sentence}; set it in {file}, or write ${{{name}:-}}", stops=False)
    for place, name, inside in situation.dollars:
        sentence = (
            f"{place}: in the value of {name}, ${inside} is read as a variable, which is set nowhere and so is empty"
        )
        yield Risk("variable-in-value", f"{sentence}; put the value into single quotes", stops=False)
