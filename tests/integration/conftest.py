"""What the integration tests share: a real sshd, a connection to it, and the server's scripts under dash and under busybox."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import shutil
import signal
import stat
import subprocess
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.conftest import running_box
from towline.bundle.manifest import Manifest
from towline.bundle.working_tree import load_working_tree
from towline.commands.shell import Command, WithEnvironment
from towline.deploy.planning.plan import Options, Plan, plan_deploy
from towline.deploy.planning.situation import CurrentState, DesiredState, Release
from towline.deploy.upload import release_stream, run_archive
from towline.engines.steps import Step
from towline.facts import stack as stacks
from towline.facts.compose_model import Model
from towline.facts.stack import StackFact
from towline.project.stack import Stack
from towline.remote import script
from towline.remote.paths import StackPaths
from towline.sandbox import Sandbox, sshd
from towline.sandbox.wait import wait_until
from towline.ssh.connection import Connection
from towline.ssh.session import Result

# --- the connection ---------------------------------------------------------------------------------------------------


@dataclass
class Client:
    """A connection to a sandbox, the notes that it gave, and what sshd logged about it."""

    box: Sandbox
    connection: Connection
    notes: list[str]
    since: int

    def counts(self) -> sshd.Counts:
        """What sshd logged since this client was made."""
        return sshd.count(self.box.log, self.since)

    def log(self) -> str:
        return self.box.log.read_bytes()[self.since :].decode(errors="replace")

    def ledger_agrees(self) -> bool:
        """Whether our ledger and sshd's log have the same counts."""
        names = ("logins", "sessions", "peak", "refused")
        ours = {name: getattr(self.connection.ledger, name) for name in names}
        theirs = {name: getattr(self.counts(), name) for name in names}
        assert ours == theirs
        return True


@pytest.fixture(scope="session")
def tight(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A sandbox at MaxSessions 1 and MaxStartups 1."""
    with running_box(tmp_path_factory.mktemp("tight"), max_sessions=1, max_startups=1) as box:
        yield box


@pytest.fixture(scope="session")
def roomy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A sandbox at MaxSessions 2 and MaxStartups 2, as `inv sandbox.up` makes it."""
    with running_box(tmp_path_factory.mktemp("roomy")) as box:
        yield box


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder with an empty .ssh, no agent."""
    folder = tmp_path / "home"
    (folder / ".ssh").mkdir(parents=True, mode=0o700)
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return folder


def client_of(box: Sandbox, **changes: object) -> Client:
    """A client of the box, with `changes` to its host; nothing is opened yet, and every earlier login has ended."""
    assert wait_until(lambda: serving(box) == [], 10)
    notes: list[str] = []
    host = dataclasses.replace(box.host(), **changes)  # type: ignore[arg-type]
    return Client(box, Connection(host, notes.append), notes, box.log.stat().st_size)


@pytest.fixture
def client(tight: Sandbox, home: Path) -> Iterator[Client]:
    """A client of the box with MaxSessions 1."""
    made = client_of(tight)
    yield made
    made.connection.close()


def kill_logins(box: Sandbox) -> None:
    """Kill the sshd processes that serve logins; the commands that they started go on."""
    for pid in serving(box):
        os.kill(pid, signal.SIGKILL)


def serving(box: Sandbox) -> list[int]:
    """The sshd processes below the box's, the ones that serve logins."""
    parents = dict(_sshd_processes())
    found = [box.pid]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found[1:]


def _sshd_processes() -> Iterator[tuple[int, int]]:
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                head, _, rest = (folder / "stat").read_text().rpartition(")")
            except OSError:
                continue
            if "(sshd" in head and rest.split()[0] != "Z":
                yield int(folder.name), int(rest.split()[1])


# --- the scripts ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Shell:
    """A POSIX sh with the tools that it finds. `docker` there fails on whatever it is asked."""

    name: str
    sh: tuple[str, ...]
    path: str
    asked_docker: Path

    def run(
        self, *words: str, stdin: bytes = b"", cwd: Path | None = None, variables: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        env = {**self.env(), **(variables or {})}
        return subprocess.run(
            (*self.sh, *words), input=stdin, capture_output=True, env=env, cwd=cwd, check=False, timeout=60
        )

    def env(self) -> dict[str, str]:
        return {"PATH": self.path, "LC_ALL": "C"}

    def command(self, command: Command, stdin: bytes = b"", cwd: Path | None = None) -> Result:
        """A command built for `sh`, run by this shell."""
        assert command[0] == "sh"
        variables = command.environment if isinstance(command, WithEnvironment) else None
        done = self.run(*command[1:], stdin=stdin, cwd=cwd, variables=variables)
        return Result(done.returncode, done.stdout, done.stderr)


MODEL = Model()  # of a stack without services: these tests are about files

DOCKER = """#!/bin/sh
echo "$*" >>{asked}
echo "docker was not to be asked: $*" >&2
exit 99
"""


@pytest.fixture(scope="session")
def busybox_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    busybox = shutil.which("busybox")
    assert busybox, "busybox is missing: apt-get install -y busybox"
    folder = tmp_path_factory.mktemp("busybox")
    subprocess.run((busybox, "--install", "-s", str(folder)), check=True)
    return folder


def make_shell(name: str, tools: str, folder: Path) -> Shell:
    """The shell `name`, finding `tools` (a PATH) and a docker that must not be asked."""
    found = shutil.which(name, path=tools)
    assert found, f"{name} is missing: apt-get install -y {name}"
    folder.mkdir()
    fake = folder / "docker"
    fake.write_text(DOCKER.format(asked=folder / "asked"))
    fake.chmod(0o755)
    sh = (found, "sh") if name == "busybox" else (found,)
    return Shell(name, sh, f"{folder}:{tools}", folder / "asked")


@pytest.fixture(params=["dash", "busybox"])
def shell(request: pytest.FixtureRequest, busybox_folder: Path, tmp_path: Path) -> Iterator[Shell]:
    """dash with the system's own tools (GNU), and busybox with nothing but its applets (no flock among Debian's)."""
    tools = str(busybox_folder) if request.param == "busybox" else os.environ["PATH"]
    made = make_shell(request.param, tools, tmp_path / "docker-here")
    yield made
    assert not made.asked_docker.exists(), made.asked_docker.read_text()


Tree = Mapping[str, object]


def write_tree(folder: Path, tree: Tree) -> None:
    """The folder holds exactly this: text, bytes, (text, mode), a Path for a symlink's target, None for an empty folder."""
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    for name, what in tree.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        content, mode = what if isinstance(what, tuple) else (what, 0o644)
        if content is None:
            path.mkdir()
        elif isinstance(content, Path):
            path.symlink_to(content)
        else:
            path.write_bytes(content if isinstance(content, bytes) else str(content).encode())
            path.chmod(mode)


def read_tree(folder: Path) -> dict[str, object]:
    """Path → ('f', mode, bytes), ('l', target) or, for an empty folder, 'd'."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = ("l", str(path.readlink()))
        elif path.is_dir():
            if not any(path.iterdir()):
                found[name] = "d"
        else:
            found[name] = ("f", stat.S_IMODE(path.stat().st_mode), path.read_bytes())
    return found


@dataclass
class Run:
    """One run of runner.sh: its folder, and its process once started."""

    folder: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def result(self) -> str:
        file = self.folder / "result"
        return file.read_text().strip() if file.exists() else ""

    def events(self, name: str = "") -> list[dict[str, object]]:
        file = self.folder / "events"
        rows = [json.loads(row) for row in file.read_text().splitlines()] if file.exists() else []
        return [row for row in rows if not name or row["event"] == name]

    def at(self, step: str, state: str = "begin") -> bool:
        return any((row["name"], row["state"]) == (step, state) for row in self.events("step"))

    def output(self) -> str:
        return (self.folder / "output").read_text(errors="replace")


@dataclass
class Server:
    """A server's root and the stack `web`: the scripts run there as the client has them run, under one shell."""

    shell: Shell
    root: Path
    local: Path
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)
    _runs: int = 0

    @property
    def paths(self) -> StackPaths:
        return StackPaths(str(self.root), "web")

    @property
    def live(self) -> Path:
        return self.root / "web"

    @property
    def home(self) -> Path:
        return self.root / ".towline" / "web"

    @property
    def stack(self) -> Stack:
        return Stack("web", "web", "stack", self.local, self.local.parent, ("compose.yaml",), ())

    def fact(self) -> StackFact:
        return stacks.parse([self.shell.command(command) for command in stacks.commands(self.paths)])

    def files(self, release: str) -> Path:
        return self.home / "releases" / release / "files"

    # a release ---------------------------------------------------------------------------------------------------

    def plan(self, tree: Tree) -> tuple[Plan, Manifest]:
        write_tree(self.local, tree)
        manifest = load_working_tree(self.stack).manifest
        return self._planned(manifest), manifest

    def _planned(self, manifest: Manifest) -> Plan:
        return plan_deploy(DesiredState(self.stack, Release(MODEL, manifest)), CurrentState(self.fact()), Options())

    def stream(self, plan: Plan, manifest: Manifest) -> bytes:
        return b"".join(release_stream(self.stack, manifest, plan))

    def receive(self, plan: Plan, manifest: Manifest, stream: bytes) -> Result:
        words = (str(self.root), "web", plan.release, plan.base or "-", manifest.digest)
        return self.shell.command(("sh", "-c", script("saving", "receive"), "towline", *words), stdin=stream)

    def send(self, tree: Tree, *, live: bool = True) -> Plan:
        """Send a release of this content as a deploy does; `live`: it counts as the current good one from now on."""
        plan, manifest = self.plan(tree)
        result = self.receive(plan, manifest, self.stream(plan, manifest))
        assert result.ok, result.err
        assert read_tree(self.files(plan.release)) == read_tree(self.local)
        if live:
            self.call_current(plan.release)
        return plan

    def call_current(self, release: str) -> None:
        (self.home / "current").write_text(f"{release}\n")
        (self.home / "releases" / release / "outcome").write_text("good\n")

    # a run -------------------------------------------------------------------------------------------------------

    def make_run(
        self, release: str, steps: Iterable[Step], undo: Iterable[Step] = (), *, lock_wait: int = 0
    ) -> tuple[str, bytes]:
        """A new run's id, and the archive that start.sh takes."""
        self._runs += 1
        name = f"20260101-0000{self._runs:02}"
        plan = dataclasses.replace(
            self._planned(Manifest()), run=name, release=release, steps=tuple(steps), undo=tuple(undo)
        )
        return name, run_archive(plan, Options(lock_wait=lock_wait))

    def start(
        self,
        release: str,
        steps: Iterable[Step],
        undo: Iterable[Step] = (),
        *,
        lock_wait: int = 0,
        shell: Shell | None = None,
    ) -> Run:
        """The runner, started as start.sh does, but for the following. shell: another one, for the runner alone."""
        name, archive = self.make_run(release, steps, undo, lock_wait=lock_wait)
        made = shell or self.shell
        return self.launch(name, archive, (*made.sh, "./runner.sh"), made.env())

    def launch(self, name: str, archive: bytes, words: Iterable[str], env: Mapping[str, str]) -> Run:
        """The run's folder from its archive, and `words` started in it as its runner."""
        run = Run(self.home / "run" / name)
        run.folder.mkdir(parents=True)
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            tar.extractall(run.folder)
        with (run.folder / "output").open("ab") as output:
            run.process = subprocess.Popen(
                tuple(words),
                cwd=run.folder,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        (run.folder / "pid").write_text(f"{run.process.pid}\n")
        self.started.append(run.process)
        return run

    def run(self, release: str, steps: Iterable[Step], undo: Iterable[Step] = (), *, shell: Shell | None = None) -> Run:
        """A run carried to its end."""
        run = self.start(release, steps, undo, shell=shell)
        assert run.process
        run.process.wait(timeout=60)
        return run

    def apply(self, release: str, *, staged: bool = True) -> Run:
        """`stage` and `apply`, which must succeed."""
        stage = (Step("stage", ("stage", release)),) if staged else ()
        run = self.run(release, (*stage, Step("apply", ("apply", release))))
        assert run.result == "deployed", run.output()
        return run

    def clean_up(self) -> None:
        for process in self.started:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # the group outlives its leader
            process.wait(timeout=10)


@pytest.fixture
def server(shell: Shell, tmp_path: Path) -> Iterator[Server]:
    """A server where nothing has been deployed yet."""
    root = tmp_path / "the root"
    root.mkdir()
    made = Server(shell, root, tmp_path / "local" / "web")
    yield made
    made.clean_up()
