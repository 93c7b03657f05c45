"""--ref: the project as it is in a commit, checked out beside the working tree, which stays as it is."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from towline.bundle.repository import ignored_files, run_git
from towline.bundle.selection import is_below_any
from towline.cli.output import say
from towline.errors import StackError, UsageError
from towline.project.catalog import Catalog, load_catalog
from towline.project.settings import STACK_FOLDERS
from towline.text.amounts import comma_list
from towline.workspace import Workspace


@contextmanager
def at_commit(workspace: Workspace, ref: str) -> Iterator[Workspace]:
    """The workspace with the stacks of the commit; '' for the workspace itself. Hosts are those of the settings here.

    An .env, an env file, a secret or a mounted file that git ignores, and that is here, is taken from here. Raises UsageError for
    what is no commit.
    """
    if not ref:
        yield workspace
        return
    settings = workspace.settings
    repository, commit = _find(settings.top, ref)
    with tempfile.TemporaryDirectory(prefix="towline-ref-") as folder:
        place = Path(folder) / repository.name
        add = ("-c", "core.hooksPath=/dev/null", "worktree", "add", "--detach", "--quiet")
        _git(repository, ref, *add, str(place), commit)
        try:
            top = place / settings.top.relative_to(repository)
            _add_submodules(repository, place, commit, ref)
            taken = list(_take_private_files(workspace, top))
            if taken:
                say(f"{ref} has no {comma_list(taken)}: taken from the working tree")
            there = Workspace(folders=[top], host=workspace.chosen_host)
            there.settings = replace(settings, top=top)
            yield there
        finally:
            with suppress(OSError, subprocess.CalledProcessError):  # git forgets one whose folder is gone
                run_git(repository, "worktree", "remove", "--force", str(place))


def _find(top: Path, ref: str) -> tuple[Path, str]:
    """The repository's folder and the commit."""
    repository = Path(_git(top, ref, "rev-parse", "--show-toplevel"))
    try:
        return repository, run_git(top, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}")
    except subprocess.CalledProcessError:
        raise UsageError(f"--ref={ref}: no such commit, branch or tag in {repository}") from None


def _git(folder: Path, ref: str, *words: str) -> str:
    try:
        return run_git(folder, *words)
    except OSError as error:
        raise UsageError(f"--ref={ref}: git cannot be run: {error.strerror}") from None
    except subprocess.CalledProcessError as error:
        said = os.fsdecode(error.stderr).strip().splitlines() or [f"exit code {error.returncode}"]
        raise UsageError(f"--ref={ref}: git: {said[-1].removeprefix('fatal: ')}") from None


def _add_submodules(repository: Path, place: Path, commit: str, ref: str) -> None:
    """Put the commit's submodules into its folder, as they are in their clones here; one that is not cloned is empty here, too."""
    for row in _git(repository, ref, "ls-tree", "-r", "-z", commit).split("\0"):
        about, _, path = row.partition("\t")
        here = repository / path
        if not about.startswith("160000") or not os.path.lexists(here / ".git"):
            continue
        its = about.split()[2]
        try:
            run_git(here, "cat-file", "-e", f"{its}^{{commit}}")
        except subprocess.CalledProcessError:
            raise UsageError(
                f"--ref={ref}: the submodule {path} has no commit {its[:12]} here; fetch it there"
            ) from None
        archive = place / ".towline-submodule.tar"
        _git(here, ref, "archive", "--format=tar", f"--output={archive}", its)
        with tarfile.open(archive) as files:
            files.extractall(place / path, filter="tar")
        archive.unlink()
        _add_submodules(here, place / path, its, ref)


def _take_private_files(workspace: Workspace, top: Path) -> Iterator[str]:
    """Copy what git most often does not track into the folder of the commit; the paths of what was copied."""
    here = workspace.settings.top
    for path in sorted(_private_files(workspace)):
        source, target = here / path, top / path
        if (
            source.is_file()
            and not target.exists()
            and any(folder.is_dir() for folder in target.parents if folder != top)
        ):
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)  # a symlink to what git does not track
            shutil.copy(source, target)
            yield path.as_posix()


def _private_files(workspace: Workspace) -> set[Path]:
    top = workspace.settings.top
    found = {Path(".env"), *(file.relative_to(top) for name in STACK_FOLDERS for file in top.glob(f"{name}/*/.env"))}
    try:
        catalog = load_catalog(workspace.settings)
    except StackError:  # of the working tree, which is not what is deployed
        catalog = Catalog()
    for stack in catalog.stacks:
        folder = stack.folder.relative_to(top)
        found |= {folder / name for name in (*stack.env_files, *stack.secret_files) if "$" not in name}
        read_only = [name for name, writable in stack.mounts.items() if not writable]
        found |= {folder / path for path in ignored_files(stack.folder) if is_below_any(path, read_only)}
    return found
