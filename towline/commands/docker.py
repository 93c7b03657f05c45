"""Commands of docker."""

from __future__ import annotations

import json

from towline.commands.shell import Command, script

PROJECT = "com.docker.compose.project"
SERVICE = "com.docker.compose.service"
ONEOFF = "com.docker.compose.oneoff"
CONFIG_HASH = "com.docker.compose.config-hash"
COMPOSE_VERSION = "com.docker.compose.version"
WORKING_DIR = "com.docker.compose.project.working_dir"
CONFIG_FILES = "com.docker.compose.project.config_files"
ENV_FILES = "com.docker.compose.project.environment_file"
INPUTS = "towline.inputs"  # the hash of the files that a service sees, see deploy/planning/inputs.py

# One JSON object per container. `.Labels` of `--format json` is one comma-separated text that cannot be parsed reliably.
_CONTAINER = (
    f'{{"project":{{{{json (.Label "{PROJECT}")}}}},"service":{{{{json (.Label "{SERVICE}")}}}},'
    '"name":{{json .Names}},"image":{{json .Image}},"state":{{json .State}},'
    '"status":{{json .Status}},"ports":{{json .Ports}}}'
)


def containers(project: str = "") -> Command:
    """List all containers that Compose created (for `project`), running or not: one JSON object per line."""
    label = f"label={PROJECT}={project}" if project else f"label={PROJECT}"
    return (
        *("docker", "ps", "--all", "--no-trunc"),
        *("--filter", label, "--filter", f"label={ONEOFF}=False", "--format", _CONTAINER),
    )


_LABELS = (PROJECT, SERVICE, ONEOFF, CONFIG_HASH, INPUTS, WORKING_DIR, CONFIG_FILES, ENV_FILES)


def _label(name: str) -> str:
    return f'{json.dumps(name)}:{{{{json (index .Config.Labels "{name}")}}}}'


# What a plan needs of a container, as `docker inspect --format`; survey.sh asks for more in the same shape. Not the whole
# `.State`: it holds the last outputs of the health check.
INSPECTED = (
    '{"id":{{json .ID}},"name":{{json .Name}},"image":{{json .Config.Image}},"image_id":{{json .Image}},'
    '"state":{"Status":{{json .State.Status}},"StartedAt":{{json .State.StartedAt}}},"restarts":{{json .RestartCount}},'
    f'"labels":{{{",".join(map(_label, _LABELS))}}},'
    '"host":{"ports":{{json .HostConfig.PortBindings}},"network":{{json .HostConfig.NetworkMode}}},'
    '"ports":{{json .NetworkSettings.Ports}},"networks":{{json .NetworkSettings.Networks}},"mounts":{{json .Mounts}}}'
)


def execute(project: str, service: str, command: Command) -> Command:
    """Run `command` in the service's newest running container; `docker compose exec` is slower and depends on COMPOSE_FILE."""
    labels = (f"label={PROJECT}={project}", f"label={SERVICE}={service}", f"label={ONEOFF}=False")
    return script(_EXECUTE, *labels, *command)


_EXECUTE = """
id=$(docker ps --quiet --latest --filter status=running --filter "$1" --filter "$2" --filter "$3")
shift 3
exec docker exec "$id" "$@"
"""


def engine_version() -> Command:
    """Print the engine's version; with ` (Podman)` behind it where that answers in Docker's place."""
    podman = '{{range .Server.Components}}{{if eq .Name "Podman Engine"}} (Podman){{end}}{{end}}'
    return ("docker", "version", "--format", f"{{{{.Server.Version}}}}{podman}")


def compose_version() -> Command:
    """Print the version of the compose plugin."""
    return ("docker", "compose", "version", "--short")


def disk_use() -> Command:
    """Print the disk usage of images, containers, volumes and build cache: one JSON object per line."""
    return ("docker", "system", "df", "--format", "{{json .}}")


def prune_cache() -> Command:
    """Remove the build cache; no image, container, network or volume."""
    return ("docker", "builder", "prune", "--force")
