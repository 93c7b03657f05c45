"""What a deploy uploads: the tarball of what the previous release lacks, and the files of the run."""

from __future__ import annotations

import getpass
import io
import json
import socket
import subprocess
import tarfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from towline.bundle.manifest import Entry, Manifest
from towline.bundle.tarball import tar_stream
from towline.bundle.working_tree import WorkingTree
from towline.commands import shell
from towline.deploy.planning.plan import Options, Plan
from towline.errors import RemoteFailed
from towline.project.catalog import Stack
from towline.remote import COMPARISON, SOURCED, script
from towline.ssh.connection import Connection
from towline.text.lines import last_lines


@dataclass(frozen=True)
class Upload:
    """What an upload took. size: bytes that went over the connection."""

    size: int
    seconds: float


def upload_release(connection: Connection, tree: WorkingTree, plan: Plan) -> Upload:
    """Upload the release in one session; it is unpacked, verified and named on the server, beside the live folder.

    Raises RemoteFailed when what arrived is not what was sent or the disk is full: nothing has changed then.
    """
    before, start = connection.ledger.bytes_up, time.monotonic()
    words = (connection.host.root, plan.stack, plan.release, plan.base or "-", tree.manifest.digest)
    command = shell.script(script("saving", "receive"), *words)
    result = connection.upload(release_stream(tree.stack, tree.manifest, plan), command)
    if not result.ok:
        raise RemoteFailed(
            f"{plan.stack}: the release could not be uploaded to {connection.host.name}; nothing has changed there",
            hint=" / ".join(last_lines(result.err, 3)) or f"exit code {result.code}",
        )
    return Upload(connection.ledger.bytes_up - before, time.monotonic() - start)


def release_stream(stack: Stack, manifest: Manifest, plan: Plan) -> Iterator[bytes]:
    """The gzip tar that receive.sh takes, in chunks: the lists first, then the files."""
    sums = "".join(f"{entry.sha256}  {entry.path}\n" for entry in plan.uploads if entry.kind == "f")
    lists = {
        "lines": Manifest(plan.uploads).text(),
        "meta.json": json.dumps(release_meta(stack, manifest, plan)) + "\n",
        "sums": sums,
        "drop": "".join(f"{path}\n" for path in plan.drop),
        **plan.lists,
    }
    folder = f"{plan.release}.part"
    contents = {f"{folder}/{name}": text.encode() for name, text in lists.items()}
    members = [Entry("f", 0o600, len(content), "-", path) for path, content in contents.items()]
    members += [replace(entry, path=f"{folder}/new/{entry.path}") for entry in plan.uploads]
    return tar_stream(members, {f"{folder}/new/{path}": target for path, target in plan.links.items()}, contents)


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
        "bytes": manifest.size,
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
        "settings": shell.assignments(dict(settings)),
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
