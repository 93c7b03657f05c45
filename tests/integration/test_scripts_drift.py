"""drift.sh: edited files, hashes and stale mounts, found on the real Docker Engine; under dash and busybox."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import pytest

from tests.integration.conftest import Shell, make_shell
from towline.facts.drift import DriftFact, StaleMount, command, parse
from towline.sandbox.wait import wait_until
from towline.ssh.session import Result

COUNT = itertools.count()
BASE = "busybox:1.37"
RELEASE = "20260101-000000"
STATS = "%f\t%s\t%Z\t%i\t%n"
COMPOSE = f"""
x-base: &base {{image: "{BASE}", command: sleep 600, init: true, stop_grace_period: 1s, network_mode: none}}
services:
  web:
    <<: *base
    volumes: ["./conf/a b.conf:/etc/a b.conf:ro", "./site:/var/run/site", "data:/data"]
    healthcheck: {{test: ["CMD", "true"], interval: 60s}}
  plain: {{<<: *base, depends_on: [web]}}
volumes: {{data: {{}}}}
"""
TREE = {"compose.yaml": COMPOSE, "conf/a b.conf": "old\n", "site/index.html": "page\n", "back\\slash": "x"}


@dataclass
class Live:
    """A stack's folders as a deploy leaves them, and what drift.sh tells of them."""

    shell: Shell
    root: Path
    project: str
    as_user: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        return self.root / "shop"

    @property
    def home(self) -> Path:
        return self.root / ".towline" / "shop"

    def write(self, tree: dict[str, str], links: dict[str, str] | None = None) -> None:
        """The live folder and its current release hold this, and the state of all of it is noted."""
        for path, text in tree.items():
            (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / path).write_text(text)
        lines = [f"f\t0644\t{len(text)}\t{sha256(text.encode()).hexdigest()}\t{path}\t" for path, text in tree.items()]
        for path, target in (links or {}).items():
            (self.folder / path).symlink_to(target)
            lines.append(f"l\t0777\t0\t-\t{path}\t{target}")
        release = self.home / "releases" / RELEASE
        release.mkdir(parents=True)
        for file in (release / "manifest", self.home / "live.manifest"):
            file.write_text("".join(f"{line}\n" for line in lines))
        (release / "compose_files").write_text("compose.yaml\n")
        (release / "override.json").write_text('{"services": {"web": {"labels": {"towline.inputs": "abc"}}}}')
        (release / "images").write_text("web\tbusybox:1.37\tsha256:abc\n")
        (self.home / "current").write_text(f"{RELEASE}\n")
        self.note([*tree, *(links or {})])

    def note(self, paths: list[str]) -> None:
        noted = subprocess.run(("stat", "-c", STATS, "--", *paths), cwd=self.folder, capture_output=True, check=True)
        (self.home / "live.stat").write_bytes(noted.stdout)

    def compose(self, *words: str) -> None:
        files = f"compose.yaml:{self.home}/releases/{RELEASE}/override.json"
        self.docker("compose", "--project-name", self.project, *words, COMPOSE_FILE=files)

    def docker(self, *words: str, **env: str) -> None:
        done = subprocess.run(
            ("docker", *words), cwd=self.folder, capture_output=True, text=True, env=os.environ | env, check=False
        )
        assert done.returncode == 0, done.stderr

    def container(self, service: str) -> str:
        return f"{self.project}-{service}-1"

    def look(self) -> DriftFact:
        before = sorted((path, path.lstat().st_mtime_ns) for path in self.root.rglob("*"))
        _, *words = command(str(self.root), "shop", self.project)
        done = subprocess.run(
            (*self.as_user, *self.shell.sh, *words),
            capture_output=True,
            env=self.shell.env() | {"TMPDIR": str(self.tmp)},
            check=False,
        )
        assert done.stderr == b""
        assert done.returncode == 0
        assert list(self.tmp.iterdir()) == []
        assert sorted((path, path.lstat().st_mtime_ns) for path in self.root.rglob("*")) == before
        return parse(Result(0, done.stdout))

    @property
    def tmp(self) -> Path:
        return self.root.parent / "tmp"


@pytest.fixture(params=["dash", "busybox"])
def real_shell(request: pytest.FixtureRequest, busybox_folder: Path, tmp_path: Path) -> Shell:
    """As `shell`, but for docker, which is the real one."""
    tools = str(busybox_folder) if request.param == "busybox" else os.environ["PATH"]
    made = make_shell(request.param, tools, tmp_path / "docker-here")
    (tmp_path / "docker-here" / "docker").unlink()
    docker = shutil.which("docker")
    assert docker, "docker is missing: apt-get install -y docker.io docker-compose-v2"
    (tmp_path / "docker-here" / "docker").symlink_to(docker)
    return made


@pytest.fixture
def live(engine: None, real_shell: Shell) -> Iterator[Live]:
    # not in tmp_path: the engine, and the user who is not root, have to get there
    top = Path(tempfile.mkdtemp(prefix="drift-", dir="/tmp"))
    top.chmod(0o755)
    (top / "tmp").mkdir(mode=0o777)
    (top / "tmp").chmod(0o777)
    made = Live(real_shell, top / "the root", f"drift{os.getpid()}n{next(COUNT)}")
    try:
        yield made
    finally:
        if (made.home / "current").exists() and (made.folder / "compose.yaml").exists():
            made.compose("down", "--volumes", "--timeout", "1", "--remove-orphans")
        shutil.rmtree(top)


def next_second() -> None:
    now = int(time.time())
    assert wait_until(lambda: time.time() >= now + 1.01, 5)


def not_root(live: Live) -> None:
    """From now on as somebody who may use Docker and no more."""
    group = Path("/var/run/docker.sock").stat().st_gid
    setpriv = shutil.which("setpriv")
    assert setpriv, "setpriv is missing: apt-get install -y util-linux"
    live.as_user = (setpriv, "--reuid=65534", "--regid=65534", f"--groups={group}")
    if live.shell.name == "busybox":  # its applets, where that user gets to them
        tools = live.root.parent / "tools"
        tools.mkdir()
        shutil.copy(str(shutil.which("busybox")), tools)
        subprocess.run((tools / "busybox", "--install", "-s", tools), check=True)
        (tools / "docker").symlink_to(str(shutil.which("docker")))
        live.shell = Shell("busybox", (str(tools / "busybox"), "sh"), str(tools), live.shell.asked_docker)


# --- files --------------------------------------------------------------------------------------------------------------


def test_stack_without_a_release_has_no_drift(live: Live) -> None:
    assert live.look() == DriftFact()
    live.folder.mkdir(parents=True)
    assert live.look() == DriftFact()


def test_edited_and_missing_files_are_found(live: Live) -> None:
    names = ["a", "b b", "sub/c", "-n", "it's", "back\\slash", "ümläut", "gone", "sub/folder", "same"]
    live.write({name: f"{name}\n" for name in names}, {"link": "a", "other": "a"})
    assert live.look() == DriftFact(kept={"web": "sha256:abc"})
    next_second()  # change times count in whole seconds; the runner notes nothing that is younger
    for name in names[1:7]:
        (live.folder / name).write_text(f"{name}!"[: len(name) + 1])
    for name in ("gone", "sub/folder", "link"):
        (live.folder / name).unlink()
    (live.folder / "sub/folder").mkdir()
    (live.folder / "link").symlink_to("b b")
    (live.folder / "same").touch()
    (live.folder / "data").write_text("a container's own")
    fact = live.look()
    assert fact.edited == tuple(sorted([*names[1:7], "link", "sub/folder"], key=str.encode))
    assert fact.missing == ("gone",)


def test_whole_live_folder_gone_is_all_files_missing(live: Live) -> None:
    live.write({"a": "", "b": ""})
    shutil.rmtree(live.folder)
    assert live.look().missing == ("a", "b")


def test_state_that_was_noted_for_another_release_is_not_believed(live: Live) -> None:
    live.write({"a": "1"})
    (live.folder / "a").write_text("2")
    live.note(["a"])
    assert live.look().edited == ()  # nothing was read
    (live.home / "live.manifest").write_text(f"f\t0644\t1\t{'0' * 64}\ta\t\n")
    assert live.look().edited == ("a",)


# --- hashes and containers ----------------------------------------------------------------------------------------------


def test_hashes_are_those_on_the_containers(live: Live) -> None:
    live.write(TREE)
    live.compose("up", "--detach")
    fact = live.look()
    form = '{{index .Config.Labels "com.docker.compose.config-hash"}}'
    for service in ("web", "plain"):
        label = subprocess.check_output(("docker", "inspect", "--format", form, live.container(service)), text=True)
        assert fact.hashes[service] == label.strip()
    assert fact == DriftFact(hashes=fact.hashes, kept={"web": "sha256:abc"})


def test_hash_of_a_service_that_borrows_a_network_is_not_told(live: Live) -> None:
    live.write(
        {"compose.yaml": COMPOSE.replace("plain: {<<: *base,", "plain: {<<: *base, network_mode: 'service:web',")}
    )
    live.compose("up", "--detach")
    assert set(live.look().hashes) == {"web"}


def test_files_that_compose_refuses_have_no_hashes(live: Live) -> None:
    live.write(TREE)
    (live.folder / "compose.yaml").write_text("services: [")
    fact = live.look()
    (live.folder / "compose.yaml").write_text(COMPOSE)
    assert (fact.edited, fact.hashes) == (("compose.yaml",), {})


def test_only_what_ended_by_itself_and_well_is_once(live: Live) -> None:
    ends = {
        "job": "true",
        "fails": "false",
        "stopped": "trap 'exit 0' TERM; touch /up; sleep 600 & wait",
        "again": "true",
    }
    services = "".join(
        f'  {name}:\n    image: {BASE}\n    network_mode: none\n    command: [sh, -c, "{text}"]\n'
        + ("    restart: always\n" if name == "again" else "")
        for name, text in ends.items()
    )
    live.write(
        {"compose.yaml": f"services:\n{services}  web: {{image: '{BASE}', command: 'true', network_mode: none}}\n"}
    )
    live.compose("up", "--detach")
    live.docker("wait", live.container("job"), live.container("fails"), live.container("web"))
    live.docker("exec", live.container("stopped"), "sh", "-c", "until [ -e /up ]; do :; done")
    live.docker("stop", live.container("stopped"))
    live.docker("stop", live.container("again"))
    assert live.look().once == {"job", "web"}


# --- stale mounts -------------------------------------------------------------------------------------------------------


def replaced(live: Live, text: str) -> None:
    (live.folder / "new").write_text(text)
    (live.folder / "new").rename(live.folder / "conf/a b.conf")


def edited_in_place(live: Live) -> None:
    (live.folder / "conf/a b.conf").write_text("new\n")


def folder_made_again(live: Live) -> None:
    shutil.rmtree(live.folder / "site")
    (live.folder / "site").mkdir()
    (live.folder / "site/index.html").write_text("page\n")


def folder_moved_away(live: Live) -> None:
    (live.folder / "site").rename(live.folder / "site.before")
    (live.folder / "site").mkdir()


def parent_moved_away(live: Live) -> None:
    (live.folder / "conf").rename(live.folder / "conf.before")
    (live.folder / "conf").mkdir()
    (live.folder / "conf/a b.conf").write_text("new\n")


def file_in_folder_replaced(live: Live) -> None:
    (live.folder / "new").write_text("new page\n")
    (live.folder / "new").rename(live.folder / "site/index.html")


def both(live: Live) -> None:
    replaced(live, "new\n")
    folder_made_again(live)


CASES: dict[str, tuple[Callable[[Live], None], list[str]]] = {
    "replaced": (lambda live: replaced(live, "new\n"), ["conf/a b.conf"]),
    "replaced by the same": (lambda live: replaced(live, "old\n"), []),
    "edited in place": (edited_in_place, []),
    "removed": (lambda live: (live.folder / "conf/a b.conf").unlink(), ["conf/a b.conf"]),
    "folder made again": (folder_made_again, ["site"]),
    "folder removed": (lambda live: shutil.rmtree(live.folder / "site"), ["site"]),
    "folder moved away": (folder_moved_away, ["site"]),
    "parent moved away": (parent_moved_away, ["conf/a b.conf"]),
    "file in folder replaced": (file_in_folder_replaced, []),
    "both": (both, ["conf/a b.conf", "site"]),
}


@pytest.mark.parametrize("case", CASES)
def test_stale_mounts_are_those_that_the_container_sees_otherwise(live: Live, case: str) -> None:
    """To root, who may look into the container's mounts, and to a user of Docker, who has to ask in the container."""
    live.write(TREE)
    live.compose("up", "--detach")
    change, paths = CASES[case]
    change(live)
    stale = [StaleMount("web", live.container("web"), path) for path in paths]
    assert sorted(live.look().stale, key=lambda one: one.path) == stale
    not_root(live)
    assert sorted(live.look().stale, key=lambda one: one.path) == stale
    if all((live.folder / path).exists() for path in paths):
        live.docker("restart", "--time", "1", live.container("web"))
        assert live.look().stale == ()
        live.as_user = ()
        assert live.look().stale == ()


@pytest.mark.parametrize("who", ["root", "a user of Docker"])
def test_image_without_cat_is_judged_from_outside(live: Live, who: str) -> None:
    """Without its tools the container cannot be asked: the kernel tells root, the file's change time anybody else."""
    bare = "  bare: {<<: *base, volumes: ['./x:/x', './site:/site']}\n  plain:"
    live.write(TREE | {"compose.yaml": COMPOSE.replace("  plain:", bare), "x": "old\n"})
    live.compose("up", "--detach")
    live.docker("exec", live.container("bare"), "rm", "/bin/cat", "/bin/ls")
    if who != "root":
        not_root(live)
    assert live.look().stale == ()
    next_second()
    (live.folder / "new").write_text("new\n")
    (live.folder / "new").rename(live.folder / "x")
    assert live.look().stale == (StaleMount("bare", live.container("bare"), "x"),)


def test_stopped_container_is_not_stale(live: Live) -> None:
    live.write(TREE)
    live.compose("up", "--detach")
    live.docker("stop", "--time", "1", live.container("web"))
    replaced(live, "new\n")
    assert live.look().stale == ()


def test_root_that_is_a_symlink_is_followed(live: Live) -> None:
    live.write(TREE)
    (live.root.parent / "link").symlink_to(live.root)
    live.compose("up", "--detach")
    replaced(live, "new\n")
    live.root = live.root.parent / "link"
    assert [one.path for one in live.look().stale] == ["conf/a b.conf"]
