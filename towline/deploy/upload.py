"""What a deploy uploads: the tarball of what the previous release lacks, and the files of the run."""

from __future__ import annotations

import getpass
import io
import json
import os
import socket
import tarfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from towline.bundle.manifest import Entry, Manifest
from towline.bundle.repository import git_commit, repository_ids
from towline.bundle.tarball import tar_stream
from towline.bundle.working_tree import WorkingTree
from towline.commands import shell
from towline.deploy.planning.plan import Options, Plan
from towline.errors import RemoteFailed
from towline.project.stack import Stack
from towline.remote import DRIFT, SOURCED, script
from towline.ssh.connection import Connection
from towline.text.lines import last_lines
from towline.text.printable import one_line


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
    words = (connection.host.root, plan.stack, plan.release, plan.base or "-", plan.manifest.digest)
    command = shell.script(script("saving", "receive"), *words)
    result = connection.upload(release_stream(tree.stack, plan.manifest, plan), command)
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
    """Who sent the release, from which machine, repository and commit (`+dirty`: the stack's folder differed from it).

    digest: of its manifest; settled: the same without what may differ from what is here (`WorkingTree.unsettled`).
    """
    return {
        "id": plan.release,
        "stack": stack.name,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "by": sender(),
        "git": git_commit(stack.folder),
        "repository": repository_ids(stack.top),
        "strategy": plan.strategy,
        "digest": manifest.digest,
        "settled": manifest.without(_unsettled(stack, plan)).digest,
        "bytes": manifest.size,
    }


def _unsettled(stack: Stack, plan: Plan) -> frozenset[str]:
    data = frozenset(plan.lists.get("data", "").splitlines())
    return data | {".env"} if stack.root_env else data


def sender() -> str:
    """user@machine; the number of a user that this machine has no name for."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError, ImportError):
        user = f"uid-{os.getuid()}"
    return one_line(f"{user}@{socket.gethostname()}")


def run_archive(plan: Plan, options: Options) -> bytes:
    """The gzip tar that start.sh takes: the runner, its follower, its settings and the steps."""
    settings: Mapping[str, str] = {
        "stack": plan.stack,
        "project": plan.project,
        "release": plan.release,
        "previous": plan.previous,
        "timeout": str(plan.timeout),
        "keep": str(options.keep_releases),
        "lock_wait": str(options.lock_wait),
        "by": sender(),
    }
    texts = {
        **{f"{name}.sh": script(name) for name in ("runner", "login_env", *SOURCED, "follow")},
        "drift.sh": script(*DRIFT),
        "settings": shell.assignments(dict(settings)),
        "services": plan.service_rows,
        "images": "".join(f"{image}\n" for image in plan.images),
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
