"""The git repository that a stack's folder is in: its commit, what it tracks, and what tells it from other repositories."""

from __future__ import annotations

import os
import re
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path


def git_commit(folder: Path) -> str:
    """The short commit, `+dirty` behind it when the folder differs; '' without git."""
    try:
        commit = run_git(folder, "rev-parse", "--short", "HEAD")
        return commit + ("+dirty" if run_git(folder, "status", "--porcelain", "--", ".") else "")
    except (OSError, subprocess.CalledProcessError):
        return ""


def tracked_files(folder: Path) -> Mapping[str, int]:
    """Path → mode, 0644 or 0755, of the files below `folder` that git tracks, as its index has them; empty without git."""
    if not any(os.path.lexists(parent / ".git") for parent in (folder, *folder.parents)):
        return {}
    try:
        listed = _list_tracked(folder)
    except (OSError, subprocess.CalledProcessError):
        return {}
    rows = (row.partition("\t") for row in listed.split("\0"))
    return {path: int(stage[:6], 8) & 0o777 for stage, _, path in rows if stage.startswith("100")}


def _list_tracked(folder: Path) -> str:
    try:
        return run_git(folder, "ls-files", "--stage", "--recurse-submodules", "-z")
    except subprocess.CalledProcessError:  # a git before 2.36
        return run_git(folder, "ls-files", "--stage", "-z")


def ignored_files(folder: Path) -> tuple[str, ...]:
    """The files below `folder` that git ignores; none without git."""
    try:
        listed = run_git(folder, "ls-files", "--others", "--ignored", "--exclude-standard", "-z")
    except (OSError, subprocess.CalledProcessError):
        return ()
    return tuple(path for path in listed.split("\0") if path)


def repository_ids(top: Path) -> tuple[str, ...]:
    """What tells the repository from others: its first commits and its origin; without git the folder on this machine.

    Two clones have one of them in common, also a shallow one (it has no first commit) and one that was moved.
    """
    try:
        shallow = run_git(top, "rev-parse", "--is-shallow-repository") == "true"
        commits = [] if shallow else run_git(top, "rev-list", "--max-parents=0", "HEAD").split()
    except (OSError, subprocess.CalledProcessError):
        return (f"folder {socket.gethostname()}:{top}",)
    try:
        origin = [f"origin {_address(run_git(top, 'config', '--get', 'remote.origin.url'))}"]
    except subprocess.CalledProcessError:
        origin = []
    return (*(f"commit {commit}" for commit in sorted(commits)), *origin)


def _address(url: str) -> str:
    """The address of a remote, however it is written; never its user or password.

    >>> _address("https://ann:secret@example.com/team/shop.git"), _address("git@example.com:team/shop")
    ('example.com/team/shop', 'example.com/team/shop')
    """
    plain = re.sub(r"^\w+://", "", url).rpartition("@")[2]
    return re.sub(r"(\.git)?/*$", "", plain.replace(":", "/"))


def run_git(folder: Path, *words: str) -> str:
    """What `git WORDS` prints in the folder. Raises CalledProcessError, and OSError without git."""
    # a git hook's own variables would name another folder and index
    env = {name: value for name, value in os.environ.items() if name not in _OF_A_HOOK}
    done = subprocess.run(["git", *words], cwd=folder, env=env, capture_output=True, check=True)
    return os.fsdecode(done.stdout).strip()


_OF_A_HOOK = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX")
