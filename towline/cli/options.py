"""Options of the tasks: groups that several tasks share, and the values that their texts stand for.

A wrong text raises UsageError, before any connection.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from towline.errors import UsageError, closest

if TYPE_CHECKING:
    from towline.deploy.planning.plan import Options
    from towline.project.settings import Defaults
    from towline.project.stack import Stack
    from towline.workspace import Workspace

FILES = ("junit", "json", "html", "ledger")  # options that name a file to write


@dataclass(frozen=True)
class RunFlags:
    """Options of rollback, deploy and deploy-all, as typed. timeout, lock_wait: seconds; timeout '': as the settings say."""

    timeout: str = ""
    lock_wait: str = "0"
    verbose: bool = False


@dataclass(frozen=True)
class DeployFlags(RunFlags):
    """Options of deploy, deploy-all and adopt, as typed."""

    cache: bool = False
    yes: bool = False
    gate: bool = False


@dataclass(frozen=True)
class CommitFlags(DeployFlags):
    """Options of deploy and deploy-all, as typed. ref: a commit, '' for the working tree."""

    ref: str = ""
    pull: bool = False


@dataclass(frozen=True)
class ServiceFlags(CommitFlags):
    """Options of deploy, as typed. service: those that are deployed, () for all."""

    service: Sequence[str] = ()


@dataclass(frozen=True)
class PlanFlags:
    """Options of plan, as typed. ref: a commit, '' for the working tree. service: as `deploy --service`."""

    ref: str = ""
    format: str = "table"
    check: bool = False
    diff: bool = False
    pull: bool = False
    service: Sequence[str] = ()


@dataclass(frozen=True)
class AdoptFlags(DeployFlags):
    """Options of adopt, as typed. from_: the folder on the host that the project was started from, '' for any."""

    from_: str = ""
    move: bool = False


@dataclass(frozen=True)
class CheckFlags:
    """Options of test-infra and test-services, as typed. watch, wait: seconds, or ''; junit, json, html: files to write, or ''."""

    stack: str = ""
    only: str = ""
    fail_fast: bool = False
    watch: str = ""
    wait: str = ""
    verbose: bool = False
    junit: str = ""
    json: str = ""
    html: str = ""


def deploy_options(
    flags: RunFlags, defaults: Defaults, *, cache: bool = False, max_downtime: str = "", adopt: str = ""
) -> Options:
    """The options of a deploy or a rollback, from what was typed and the settings' defaults. Raises UsageError."""
    from towline.deploy.planning.plan import Options

    return Options(
        timeout=seconds("--timeout", flags.timeout, least=1) if flags.timeout else defaults.timeout,
        timeout_given=bool(flags.timeout),
        keep_releases=defaults.keep_releases,
        cache=cache,
        lock_wait=seconds("--lock-wait", flags.lock_wait, least=0),
        strategy="update" if adopt else defaults.strategy,  # containers that do not change are not restarted
        adopt=adopt,
        max_downtime=seconds("--max-downtime", max_downtime, least=0) if max_downtime else None,
    )


def required_stack(workspace: Workspace, name: str) -> Stack:
    """The stack that --stack names. Raises UsageError for none, StackError for an unknown one."""
    if not name:
        known = closest("", (stack.name for stack in workspace.catalog.stacks))
        raise UsageError(f"--stack=NAME is missing; {known}")
    return workspace.stack(name)


def chosen_services(stack: Stack, names: Sequence[str]) -> tuple[str, ...]:
    """The services that --service names. Raises UsageError for an unknown one."""
    known = [service.name for service in stack.services]
    for name in names:
        if name not in known:
            raise UsageError(f"--service={name}: {stack.name} has no such service; {closest(name, known)}")
    return tuple(dict.fromkeys(names))


def selected_stacks(workspace: Workspace, name: str) -> Sequence[Stack]:
    """The stack that --stack names; without a name all stacks that deploy-all deploys, in its order. Raises StackError."""
    return [workspace.stack(name)] if name else workspace.catalog.deployed_together()


def is_here(text: str) -> bool:
    """Whether --from is `here`. Raises UsageError for what is neither `here` nor `server`."""
    if text not in ("", "here", "server"):
        raise UsageError(f"--from={text}: known: here, server")
    return text == "here"


def seconds(flag: str, text: str, *, least: int) -> int:
    """Whole seconds, a day at most. Raises UsageError."""
    if not text.isdecimal() or not least <= int(text) <= 86400:
        raise UsageError(f"{flag}={text}: expected whole seconds from {least} to 86400, such as {flag}=60")
    return int(text)


def check_values(values: Mapping[str, Any]) -> None:
    """Raises UsageError for a file that cannot be written and for an unknown format; ignores all other options."""
    for name in FILES:
        _check_writable(f"--{name}", values.get(name, ""))
    if values.get("format", "table") not in ("table", "json"):
        raise UsageError(f"--format={values['format']}: known: json, table")


def _check_writable(flag: str, name: str) -> None:
    file = Path(name)
    if name and (file.is_dir() or not file.absolute().parent.is_dir()):
        wrong = "is a folder" if file.is_dir() else f"there is no folder {file.parent}"
        raise UsageError(f"{flag}={name}: {wrong}; expected the name of a file to write")
    if name:
        try:
            _try_to_open(file)
        except (OSError, ValueError) as error:
            raise UsageError(f"{flag}={name}: cannot be written: {getattr(error, 'strerror', None) or error}") from None


def _try_to_open(file: Path) -> None:
    """Opens it for writing and leaves it as it was: what cannot be written is better known before a deploy than after."""
    if file.is_file():
        os.close(os.open(file, os.O_WRONLY))
    elif not os.path.lexists(file):
        os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        file.unlink()
