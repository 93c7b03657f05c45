"""A release on its way to the server: the tarball of what the release before lacks, and the files of the run."""

from __future__ import annotations

import getpass
import io
import json
import socket
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from towline.bundle.manifest import Entry, Manifest
from towline.bundle.tarball import tar_stream
from towline.commands.shell import assignments
from towline.deploy.planning.plan import Options, Plan
from towline.project.catalog import Stack
from towline.remote import COMPARISON, SOURCED, script


def release_stream(stack: Stack, manifest: Manifest, plan: Plan) -> Iterator[bytes]:
    """The gzip tar that receive.sh takes, in pieces: the lists first, then the files."""
    sums = "".join(f"{entry.sha256}  {entry.path}\n" for entry in plan.send if entry.kind == "f")
    lists = {
        "lines": Manifest(plan.send).text(),
        "meta.json": json.dumps(release_meta(stack, manifest, plan)) + "\n",
        "sums": sums,
        "drop": "".join(f"{path}\n" for path in plan.drop),
        **plan.lists,
    }
    with tempfile.TemporaryDirectory(prefix="towline-") as folder:
        members = [_listed(Path(folder) / name, text, f"{plan.release}.part/{name}") for name, text in lists.items()]
        new = f"{plan.release}.part/new/"
        members += [replace(entry, path=new + entry.path) for entry in plan.send]
        yield from tar_stream(members, {new + path: target for path, target in plan.links.items()})


def _listed(file: Path, text: str, path: str) -> Entry:
    file.write_text(text)
    return Entry(kind="f", mode=0o600, size=file.stat().st_size, sha256="-", path=path, source=file)


def release_meta(stack: Stack, manifest: Manifest, plan: Plan) -> dict[str, object]:
    """Who sent the release, from where, and from which commit (`+dirty`: the stack's folder differed from it)."""
    return {
        "id": plan.release,
        "stack": stack.name,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "by": sender(),
        "git": git_commit(stack.folder),
        "strategy": plan.strategy,
        "digest": manifest.digest,
        "bytes": sum(entry.size for entry in manifest.entries),
    }


def sender() -> str:
    """user@machine."""
    return f"{getpass.getuser()}@{socket.gethostname()}"


def git_commit(folder: Path) -> str:
    """The short commit of the folder's repository, `+dirty` behind it when the folder differs; '' without git."""
    try:
        commit = _git(folder, "rev-parse", "--short", "HEAD")
        return commit + ("+dirty" if _git(folder, "status", "--porcelain", "--", ".") else "")
    except (OSError, subprocess.CalledProcessError):
        return ""


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def run_archive(plan: Plan, options: Options) -> bytes:
    """The gzip tar that start.sh takes: the runner, its follower, its settings and the steps."""
    settings: Mapping[str, str] = {
        "stack": plan.stack,
        "project": plan.project,
        "release": plan.release,
        "previous": plan.previous,
        "timeout": str(options.timeout),
        "keep": str(options.keep_releases),
        "lock_wait": str(options.lock_wait),
        "by": sender(),
    }
    texts = {
        **{f"{name}.sh": script(name) for name in ("runner", *SOURCED, "follow")},
        "drift.sh": script(*COMPARISON, "drift"),
        "settings": assignments(dict(settings)),
        "steps": "".join(step.line() for step in plan.steps),
        "undo": "".join(step.line() for step in plan.undo),
    }
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", format=tarfile.GNU_FORMAT) as tar:
        for name, text in texts.items():
            content = text.encode()
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o600
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()
