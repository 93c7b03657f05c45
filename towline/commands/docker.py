"""The docker commands that facts are read with, as words."""

from __future__ import annotations

from towline.commands.shell import Command

PROJECT = "com.docker.compose.project"
SERVICE = "com.docker.compose.service"
ONEOFF = "com.docker.compose.oneoff"

# One JSON object a container. `.Labels` as `--format json` gives it is one comma-joined text that cannot be taken apart again.
_CONTAINER = (
    f'{{"project":{{{{json (.Label "{PROJECT}")}}}},"service":{{{{json (.Label "{SERVICE}")}}}},'
    '"name":{{json .Names}},"image":{{json .Image}},"state":{{json .State}},'
    '"status":{{json .Status}},"ports":{{json .Ports}}}'
)


def containers() -> Command:
    """All containers that compose made, running or not, a JSON object a line."""
    return (
        *("docker", "ps", "--all", "--no-trunc"),
        *("--filter", f"label={PROJECT}", "--filter", f"label={ONEOFF}=False", "--format", _CONTAINER),
    )


def engine_version() -> Command:
    return ("docker", "version", "--format", "{{.Server.Version}}")


def compose_version() -> Command:
    return ("docker", "compose", "version", "--short")


def disk_use() -> Command:
    return ("docker", "system", "df", "--format", "{{json .}}")


def prune_cache() -> Command:
    """The build cache only: no image, container, network or volume."""
    return ("docker", "builder", "prune", "--force")
