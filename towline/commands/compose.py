"""docker compose, as words. Compose finds the stack's files in the folder it runs in; the project is always named."""

from __future__ import annotations

from towline.commands.shell import Command


def compose(project: str, *words: str) -> Command:
    """`docker compose` for one project.

    >>> compose("whoami", "ps")
    ('docker', 'compose', '--project-name', 'whoami', 'ps')
    """
    return ("docker", "compose", "--project-name", project, *words)


def build(project: str, *, cache: bool = True) -> Command:
    return compose(project, "build", *(() if cache else ("--no-cache",)))


def down(project: str) -> Command:
    """Containers and networks go; volumes stay, always."""
    return compose(project, "down", "--remove-orphans")


def up(project: str) -> Command:
    """Containers in the background; a service that is gone from the files goes here too."""
    return compose(project, "up", "--detach", "--remove-orphans")
