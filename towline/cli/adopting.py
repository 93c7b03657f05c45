"""What adopt does: finds what runs without a release, fetches its files where there is no stack yet, and deploys over it."""

from __future__ import annotations

import os
from pathlib import Path

from towline.cli.deploying import Deployer
from towline.cli.options import AdoptFlags, deploy_options
from towline.cli.output import say
from towline.errors import TowlineError, UsageError
from towline.facts import inventory
from towline.facts.running_project import Origin, RunningProject, find_projects
from towline.project.stack import Stack
from towline.ssh.connection import Connection
from towline.text.amounts import comma_list
from towline.workspace import Workspace


def adopt(workspace: Workspace, name: str, flags: AdoptFlags, *, dry: bool) -> None:
    """Deploy over what runs, with its data.

    Raises UsageError, TowlineError when no such project runs, and as deploy does.
    """
    if not name:
        raise UsageError("--stack=NAME is missing; NAME is the name of the Compose project")
    how = "move" if flags.move else "copy"
    options = deploy_options(flags, workspace.settings.defaults, cache=flags.cache, adopt=how)
    known = name in workspace.catalog.by_name
    if flags.from_ or not known:
        stack = workspace.stack(name) if known else None
        connection = workspace.connection(stack)
        project, running = _find(connection, stack.project if stack else name, flags.from_)
        if stack and project != stack.project:
            raise _another_name(stack, project, running)
        if stack is None:
            if dry:
                say(f"{project} runs from {running.origin.folder}: would be fetched into stacks/{name}, and adopted")
                return
            _fetch(connection, workspace.settings.top / "stacks" / name, project, running.origin)
            workspace = workspace.reread()
    Deployer(workspace, options, flags, dry).deploy(workspace.working_tree(workspace.stack(name)))


def _find(connection: Connection, project: str, folder: str) -> tuple[str, RunningProject]:
    """The project that was started from the folder, else the one of that name, of those that run without a release."""
    results = connection.batch(inventory.commands(), parallel=True, name="projects")
    running = find_projects(inventory.parse(results).containers)
    wanted = folder.rstrip("/")
    for name, found in running.items():
        if (found.origin.folder == wanted) if wanted else (name == project):
            return name, found
    there = comma_list(f"{name} (from {found.origin.folder})" for name, found in running.items()) or "none"
    where = f"no project that was started from {wanted}" if wanted else f"no project {project}"
    raise TowlineError(f"{where} runs on {connection.host.name} without towline", f"there: {there}")


def _another_name(stack: Stack, project: str, running: RunningProject) -> TowlineError:
    file = f"{stack.label}/{stack.compose_files[0]}"
    return TowlineError(
        f"{stack.name}: what runs from {running.origin.folder} is called {project} there, and {stack.project} here",
        f"write `name: {project}` into {file}: else its volumes and networks are not found",
    )


def _fetch(connection: Connection, folder: Path, project: str, origin: Origin) -> None:
    """Write the compose files and .env of a project into a new folder of stacks. Raises TowlineError."""
    outside = [file for file in origin.files if not file.startswith(f"{origin.folder}/")]
    if not origin.folder or not origin.files or outside:
        why = f"{comma_list(outside)} is outside of it" if outside else "its containers do not tell from where"
        raise TowlineError(
            f"the files of {project} cannot be fetched: {why}", f"copy them into {folder}, then adopt again"
        )
    paths = [file.removeprefix(f"{origin.folder}/") for file in origin.files]
    env_files = origin.env_files.split(",") if origin.env_files else [f"{origin.folder}/.env"]
    wanted = [*(f"{origin.folder}/{path}" for path in paths), *env_files]
    results = connection.batch([("cat", "--", path) for path in wanted], name="compose files")
    needed = wanted if origin.env_files else wanted[: len(paths)]
    missing = [path for path, result in zip(needed, results, strict=False) if not result.ok]
    if missing:
        raise TowlineError(f"{project}: cannot read {comma_list(missing)} on {connection.host.name}")
    texts = {path: result.stdout for path, result in zip(paths, results, strict=False)}
    env = b"".join(_whole_lines(result.stdout) for result in results[len(paths) :] if result.ok)
    if paths not in _FOUND_BY_NAME and b"COMPOSE_FILE=" not in env:
        env = f"COMPOSE_FILE={':'.join(paths)}\n".encode() + env
    if env:
        texts[".env"] = env
    if project != folder.name and not any(line.startswith(b"name:") for line in texts[paths[0]].splitlines()):
        texts[paths[0]] = f"name: {project}\n".encode() + texts[paths[0]]
    for path, content in texts.items():
        _write_private(folder / path, content)
    say(f"fetched from {origin.folder}: {', '.join(texts)} → {folder.parent.name}/{folder.name}")


# The compose files that Compose looks for by itself
_FOUND_BY_NAME = [
    [f"{name}.{ending}", *more]
    for name in ("compose", "docker-compose")
    for ending in ("yaml", "yml")
    for more in ([], [f"{name}.override.yaml"], [f"{name}.override.yml"])
]


def _whole_lines(text: bytes) -> bytes:
    return text if not text or text.endswith(b"\n") else text + b"\n"


def _write_private(file: Path, content: bytes) -> None:
    """A new file that nobody else may read: it may hold secrets. Raises TowlineError when there is one."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as opened:
            opened.write(content)
    except OSError as error:
        raise TowlineError(f"{file}: {error.strerror}") from None
