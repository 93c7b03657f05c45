"""The docker commands that facts are read with, as words."""

from __future__ import annotations

import json

from towline.commands.shell import Command, script

PROJECT = "com.docker.compose.project"
SERVICE = "com.docker.compose.service"
ONEOFF = "com.docker.compose.oneoff"
CONFIG_HASH = "com.docker.compose.config-hash"
COMPOSE_VERSION = "com.docker.compose.version"
INPUTS = "towline.inputs"  # the hash of the files that a service sees, see deploy/planning/inputs.py

# One JSON object a container. `.Labels` as `--format json` gives it is one comma-joined text that cannot be taken apart again.
_CONTAINER = (
    f'{{"project":{{{{json (.Label "{PROJECT}")}}}},"service":{{{{json (.Label "{SERVICE}")}}}},'
    '"name":{{json .Names}},"image":{{json .Image}},"state":{{json .State}},'
    '"status":{{json .Status}},"ports":{{json .Ports}}}'
)


def containers(project: str = "") -> Command:
    """All containers that compose made (for `project`), running or not, a JSON object a line."""
    label = f"label={PROJECT}={project}" if project else f"label={PROJECT}"
    return (
        *("docker", "ps", "--all", "--no-trunc"),
        *("--filter", label, "--filter", f"label={ONEOFF}=False", "--format", _CONTAINER),
    )


def _label(name: str) -> str:
    return f'{json.dumps(name)}:{{{{json (index .Config.Labels "{name}")}}}}'


# What a plan needs of a container, as `docker inspect --format`; survey.sh asks for more in the same shape. Not the whole
# `.State`: it holds the last outputs of the health check.
INSPECTED = (
    '{"id":{{json .ID}},"name":{{json .Name}},"image":{{json .Config.Image}},"image_id":{{json .Image}},'
    '"state":{"Status":{{json .State.Status}},"StartedAt":{{json .State.StartedAt}}},"restarts":{{json .RestartCount}},'
    f'"labels":{{{",".join(map(_label, (PROJECT, SERVICE, ONEOFF, CONFIG_HASH, INPUTS)))}}},'
    '"host":{"ports":{{json .HostConfig.PortBindings}},"network":{{json .HostConfig.NetworkMode}}},'
    '"ports":{{json .NetworkSettings.Ports}},"mounts":{{json .Mounts}}}'
)


def execute(project: str, service: str, command: Command) -> Command:
    """Run `command` in the service's newest running container. `docker compose exec` would start slower and mind COMPOSE_FILE."""
    labels = (f"label={PROJECT}={project}", f"label={SERVICE}={service}", f"label={ONEOFF}=False")
    return script(_EXECUTE, *labels, *command)


_EXECUTE = """
id=$(docker ps --quiet --latest --filter status=running --filter "$1" --filter "$2" --filter "$3")
shift 3
exec docker exec "$id" "$@"
"""


def engine_version() -> Command:
    return ("docker", "version", "--format", "{{.Server.Version}}")


def compose_version() -> Command:
    return ("docker", "compose", "version", "--short")


def disk_use() -> Command:
    return ("docker", "system", "df", "--format", "{{json .}}")


def prune_cache() -> Command:
    """The build cache only: no image, container, network or volume."""
    return ("docker", "builder", "prune", "--force")
