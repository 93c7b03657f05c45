"""receive.sh: a release arrives whole or leaves nothing; under dash with GNU tools and under busybox."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from tests.integration.conftest import Server, read_tree
from towline.bundle.manifest import Manifest
from towline.deploy.planning.plan import Plan
from towline.remote import script

TREE = {"compose.yaml": "services: {}\n", "conf/a.txt": "a" * 2000, "conf/b.txt": "b", "run.sh": ("#!/bin/sh\n", 0o755)}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def releases(server: Server) -> list[str]:
    folder = server.home / "releases"
    return names(folder) if folder.exists() else []


def inode(path: Path) -> int:
    return path.stat().st_ino


def test_first_release_arrives_whole(server: Server) -> None:
    plan = server.send(TREE)
    assert releases(server) == [plan.release]
    kept = ["compose_files", "files", "in_place", "manifest", "meta.json", "outcome", "override.json"]
    assert names(server.home / "releases" / plan.release) == kept
    assert server.fact().manifest is not None
    assert not server.live.exists()


def test_what_is_on_the_server_is_private_above_the_stack(server: Server) -> None:
    server.send(TREE)
    assert (server.root / ".towline").stat().st_mode & 0o777 == 0o700


def test_second_release_has_only_what_changed_sent_and_the_rest_linked(server: Server) -> None:
    first = server.send(TREE)
    before = read_tree(server.files(first.release))
    second = server.send(TREE | {"conf/b.txt": "new", "more.txt": "more"})
    assert sorted(entry.path for entry in second.uploads) == ["conf/b.txt", "more.txt"]
    old, new = server.files(first.release), server.files(second.release)
    assert inode(old / "conf/a.txt") == inode(new / "conf/a.txt")
    assert inode(old / "conf/b.txt") != inode(new / "conf/b.txt")
    assert read_tree(old) == before


@pytest.mark.parametrize(
    "after",
    [
        pytest.param({"compose.yaml": "services: {}\n", "conf/a.txt": "a" * 2000}, id="files gone, nothing sent"),
        pytest.param(TREE | {"run.sh": "#!/bin/sh\n"}, id="mode only"),
        pytest.param(TREE | {"link": Path("conf/a.txt")}, id="symlink only"),
        pytest.param(TREE | {"empty": None}, id="empty folder only"),
        pytest.param({**TREE, "moved/a.txt": "a" * 2000, "conf/a.txt": "x"}, id="renamed and rewritten"),
        pytest.param({"compose.yaml": "services: {}\n", "conf": "a file now"}, id="folder to file"),
        pytest.param({k: v for k, v in TREE.items() if k != "run.sh"} | {"run.sh/x": "x"}, id="file to folder"),
        pytest.param({**TREE, "conf/b.txt": Path("a.txt")}, id="file to symlink"),
        pytest.param({"compose.yaml": "services: {}\n", "conf": Path("run.sh"), "run.sh": "r"}, id="folder to symlink"),
        pytest.param({"compose.yaml": "services: {}\n", "deep/er/conf/a.txt": "a" * 2000}, id="everything moved"),
    ],
)
def test_every_kind_of_change_arrives_and_leaves_the_release_before(server: Server, after: dict[str, object]) -> None:
    first = server.send(TREE)
    before = read_tree(server.files(first.release))
    second = server.send(after)
    assert releases(server) == [first.release, second.release]
    assert read_tree(server.files(first.release)) == before


def test_symlink_to_a_folder_and_back(server: Server) -> None:
    linked = {"compose.yaml": "{}", "b/x": "x", "a": Path("b")}
    first = server.send(linked)
    server.send({"compose.yaml": "{}", "b/x": "x", "a/x": "x"})
    server.send(linked)
    assert read_tree(server.files(first.release))["b/x"] == ("f", 0o644, b"x")


def test_renamed_file_is_not_sent_again_and_keeps_its_inode(server: Server) -> None:
    big = os.urandom(300_000)
    first = server.send({"compose.yaml": "{}", "old name.bin": big})
    plan, manifest = server.plan({"compose.yaml": "{}", "new name.bin": big, "sub/copy.bin": big})
    stream = server.stream(plan, manifest)
    assert len(stream) < 10_000
    result = server.receive(plan, manifest, stream)
    assert result.ok, result.err
    new = server.files(plan.release)
    assert read_tree(new) == read_tree(server.local)
    assert inode(new / "new name.bin") == inode(server.files(first.release) / "old name.bin")


def test_hard_to_write_names_arrive(server: Server) -> None:
    names = [
        "a b.txt",
        " lead",
        "trail ",
        "-n",
        "-rf/x",
        "ümläut/日本.txt",
        "it's",
        '"q"',
        "$HOME",
        "*",
        "a&b;c",
        "#x",
        "~",
    ]
    names += [f"{'long' * 40}/{'name' * 30}.txt", "%s"]
    first = {name: f"content of {name}" for name in names}
    server.send(first | {"compose.yaml": "{}"})
    server.send(
        {name: text if i % 2 else text + "!" for i, (name, text) in enumerate(first.items())} | {"compose.yaml": "{}"}
    )
    server.send({"compose.yaml": "{}"})


def test_private_and_executable_modes_are_kept(server: Server) -> None:
    plan = server.send(
        {"compose.yaml": "{}", ".env": ("PASSWORD=x", 0o600), "run.sh": ("x", 0o755), "key": ("k", 0o600)}
    )
    files = server.files(plan.release)
    modes = {name: oct((files / name).stat().st_mode & 0o777) for name in (".env", "run.sh", "key", "compose.yaml")}
    assert modes == {".env": "0o600", "run.sh": "0o755", "key": "0o600", "compose.yaml": "0o644"}


# --- what does not arrive whole -----------------------------------------------------------------------------------------


Sent = tuple[Plan, Manifest, bytes]


def refused_without_a_trace(server: Server, plan: Plan, manifest: Manifest, stream: bytes) -> str:
    """What receive.sh said as it refused the stream; nothing is left of it, and the release before is as it was."""
    before, old = releases(server), {name: read_tree(server.files(name)) for name in releases(server)}
    result = server.receive(plan, manifest, stream)
    assert result.code != 0
    assert releases(server) == before
    assert {name: read_tree(server.files(name)) for name in before} == old
    return result.err


NEW = TREE | {"conf/b.txt": os.urandom(40_000), "more.txt": "m" * 5000}


@pytest.fixture
def sent(server: Server) -> Sent:
    """A second release's plan and what is sent of it."""
    server.send(TREE)
    plan, manifest = server.plan(NEW)
    return plan, manifest, server.stream(plan, manifest)


def test_nothing_at_all_is_refused(server: Server, sent: Sent) -> None:
    assert refused_without_a_trace(server, sent[0], sent[1], b"")


@pytest.mark.parametrize("share", [0.01, 0.2, 0.5, 0.9])
def test_truncated_stream_is_refused(server: Server, sent: Sent, share: float) -> None:
    plan, manifest, stream = sent
    assert refused_without_a_trace(server, plan, manifest, stream[: int(len(stream) * share)])


@pytest.mark.parametrize("less", [1, 4, 8, 9, 20, 60])
def test_stream_that_lacks_its_very_end_is_refused_or_whole(server: Server, sent: Sent, less: int) -> None:
    plan, manifest, stream = sent
    result = server.receive(plan, manifest, stream[:-less])
    if result.ok:
        assert read_tree(server.files(plan.release)) == read_tree(server.local)
    else:
        assert plan.release not in releases(server)
    assert [name for name in releases(server) if name.endswith(".part")] == []


def test_stream_that_ends_between_two_members_is_refused(server: Server, sent: Sent) -> None:
    """GNU tar takes a tar that ends there for whole: the sums must tell."""
    plan, manifest, stream = sent
    tar = gzip.decompress(stream)
    ends = [at for at in range(512, len(tar), 512) if b"ustar" in tar[at + 257 : at + 262]]
    assert len(ends) >= 4
    for end in ends:
        assert refused_without_a_trace(server, plan, manifest, gzip.compress(tar[:end]))


def test_flipped_bit_in_a_file_is_refused(server: Server, sent: Sent) -> None:
    plan, manifest, stream = sent
    tar = bytearray(gzip.decompress(stream))
    tar[tar.index(b"m" * 5000) + 2500] ^= 1
    assert "more.txt" in refused_without_a_trace(server, plan, manifest, gzip.compress(bytes(tar)))


def test_flipped_bit_on_the_way_is_refused(server: Server, sent: Sent) -> None:
    plan, manifest, stream = sent
    broken = bytearray(stream)
    broken[len(broken) // 2] ^= 0x10
    assert refused_without_a_trace(server, plan, manifest, bytes(broken))


def test_wrong_sum_is_refused(server: Server) -> None:
    server.send(TREE)
    plan, manifest = server.plan(NEW)
    send = (replace(entry, sha256="0" * 64) if entry.path == "more.txt" else entry for entry in plan.uploads)
    wrong = server.stream(replace(plan, uploads=tuple(send)), manifest)
    assert refused_without_a_trace(server, plan, manifest, wrong)


def test_file_missing_from_the_tar_and_its_sums_is_refused(server: Server) -> None:
    server.send(TREE)
    plan, manifest = server.plan(NEW)
    fewer = tuple(entry for entry in plan.uploads if entry.path != "more.txt")
    assert refused_without_a_trace(server, plan, manifest, server.stream(replace(plan, uploads=fewer), manifest))


def test_previous_release_that_is_gone_is_refused(server: Server, sent: Sent) -> None:
    plan, manifest, stream = sent
    shutil.rmtree(server.files(plan.previous))
    assert server.receive(plan, manifest, stream).code != 0
    assert releases(server) == [plan.previous]


def test_second_sender_of_the_same_id_is_refused_and_the_first_stays(server: Server) -> None:
    plan = server.send(TREE)
    result = server.receive(plan, Manifest(), b"")
    assert result.code != 0
    assert read_tree(server.files(plan.release)) == read_tree(server.local)


def test_release_is_never_moved_into_another_of_its_id(server: Server) -> None:
    plan, manifest = server.plan({"compose.yaml": "ours"})
    stream = server.stream(plan, manifest)
    assert server.receive(plan, manifest, stream).ok
    before = read_tree(server.home / "releases" / plan.release)
    refused = server.receive(plan, manifest, stream)
    assert (refused.code, refused.err) == (1, f"there is a release {plan.release} already\n")
    assert read_tree(server.home / "releases" / plan.release) == before
    assert releases(server) == [plan.release]


def test_left_over_of_a_broken_transfer_is_swept_and_one_under_way_is_not(server: Server) -> None:
    folder = server.home / "releases"
    for name, pid in {"20200101-000000.part": 4_000_000, "20200101-000001.part": os.getpid()}.items():
        (folder / name).mkdir(parents=True)
        (folder / name / "pid").write_text(f"{pid}\n")
    plan = server.send(TREE)
    assert releases(server) == ["20200101-000001.part", plan.release]


def test_full_disk_leaves_nothing(server: Server) -> None:
    """On a file system of one megabyte, which the new release does not fit in; the one before is still whole."""
    tree = {"compose.yaml": "{}", "big.bin": os.urandom(2_000_000)}
    plan, manifest = server.plan(tree)
    unshare = shutil.which("unshare")
    assert unshare, "unshare is missing: apt-get install -y util-linux"
    own = () if os.geteuid() == 0 else ("--map-root-user",)
    text = (
        'root=$1; mount -t tmpfs -o size=1m tmpfs "$root" || exit 70; shift; mkdir -p "$root/.towline/web/releases/old"; '
        '"$@"; code=$?; ls -A "$root/.towline/web/releases"; exit $code'
    )
    command = (
        *server.shell.sh,
        "-c",
        script("saving", "receive"),
        "towline",
        str(server.root),
        "web",
        plan.release,
        "-",
        manifest.digest,
    )
    done = subprocess.run(
        (unshare, "--mount", *own, "/bin/sh", "-c", text, "full", str(server.root), *command),
        input=server.stream(plan, manifest),
        capture_output=True,
        env={"PATH": f"{server.shell.path}:/usr/sbin:/usr/bin:/sbin:/bin"},
        check=False,
        timeout=30,
    )
    assert done.returncode == 1, done.stderr
    assert b"space" in done.stderr.lower()
    assert done.stdout == b"old\n"
