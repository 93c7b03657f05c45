"""The git repository that a stack's folder is in: its commit, and what tells it from other repositories."""

from __future__ import annotations

import re
import socket
import subprocess
from pathlib import Path


def git_commit(folder: Path) -> str:
    """The short commit, `+dirty` behind it when the folder differs; '' without git."""
    try:
        commit = _git(folder, "rev-parse", "--short", "HEAD")
        return commit + ("+dirty" if _git(folder, "status", "--porcelain", "--", ".") else "")
    except (OSError, subprocess.CalledProcessError):
        return ""


def repository_ids(top: Path) -> tuple[str, ...]:
    """What tells the repository from others: its first commits and its origin; without git the folder on this machine.

    Two clones have one of them in common, also a shallow one (it has no first commit) and one that was moved.
    """
    try:
        shallow = _git(top, "rev-parse", "--is-shallow-repository") == "true"
        commits = [] if shallow else _git(top, "rev-list", "--max-parents=0", "HEAD").split()
    except (OSError, subprocess.CalledProcessError):
        return (f"folder {socket.gethostname()}:{top}",)
    try:
        origin = [f"origin {_address(_git(top, 'config', '--get', 'remote.origin.url'))}"]
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


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()
