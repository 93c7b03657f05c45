"""A project of stacks on this machine's real Docker Engine, behind a real sshd; all of it gone afterwards."""

from __future__ import annotations

import itertools
import json
import os
import pty
import select
import socket
import subprocess
import tempfile
import textwrap
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import pytest

from tests.conftest import BASE, CONSOLE, Ran, clean_environment, run_towline, running_box
from towline import sandbox
from towline.sandbox import sshd
from towline.sandbox.wait import wait_until

# What almost every test deploys: a page from a built image, healthy within a second.
PAGE = """
services:
  web:
    build: .
    init: true
    command: httpd -f -p 8080 -h /www
    ports: ["127.0.0.1:{port}:8080"]
    healthcheck:
      test: ["CMD", "wget", "-qO-", "http://127.0.0.1:8080/"]
      interval: 2s
      timeout: 2s
      retries: 3
      start_period: 30s
      start_interval: 200ms
"""
DOCKERFILE = f"FROM {BASE}\nCOPY index.html /www/index.html\n"


def docker(*words: str, check: bool = True) -> str:
    done = subprocess.run(["docker", *words], capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, done.stderr
    return done.stdout.strip()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def page(port: int, path: str = "/") -> str:
    """The page's text, '' when nobody answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=3) as answer:
            return answer.read().decode()
    except OSError:
        return ""


@dataclass
class Project:
    """A folder of stacks, its host (a sandbox sshd), and what they leave on the engine. Names are the test's own."""

    folder: Path
    box: sandbox.Sandbox
    prefix: str
    root: Path
    home: Path
    ports: dict[str, int] = field(default_factory=dict)

    def name(self, short: str) -> str:
        return f"{self.prefix}-{short}"

    def write(self, short: str, files: dict[str, str | bytes], kind: str = "stacks") -> Path:
        """A stack (or more of its files). Values are dedented."""
        folder = self.folder / kind / self.name(short)
        for path, content in files.items():
            file = folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, bytes):
                file.write_bytes(content)
            else:
                file.write_text(textwrap.dedent(content).lstrip("\n"))
        return folder

    def write_page(self, short: str = "web", text: str = "v1\n", **more: str) -> Path:
        """A stack that serves `text`, on self.ports[short]."""
        port = self.ports.setdefault(short, free_port())
        files = {"compose.yaml": PAGE.format(port=port), "Dockerfile": DOCKERFILE, "index.html": text}
        return self.write(short, files | more)

    def page(self, short: str = "web", path: str = "/") -> str:
        return page(self.ports[short], path)

    def tow(self, *words: str, timeout: float = 180, **env: str) -> Ran:
        return run_towline(self.folder, *words, home=self.home, timeout=timeout, **env)

    def start(self, *words: str) -> subprocess.Popen[str]:
        """`towline WORDS`, in a process group of its own, not waited for."""
        # a suite that was started in the background would hand on that Ctrl-C is ignored
        return subprocess.Popen(
            ["env", "--default-signal=INT", *CONSOLE, *words],
            cwd=self.folder,
            env=clean_environment(self.home),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def tow_on_terminal(self, *words: str, timeout: float = 60) -> tuple[int, str]:
        """`towline WORDS` on a terminal of its own: exit code, and all that was written there."""
        ours, theirs = pty.openpty()
        env = clean_environment(self.home) | {"TERM": "xterm-256color"}
        command = [*CONSOLE, *words]
        client = subprocess.Popen(command, cwd=self.folder, env=env, stdin=theirs, stdout=theirs, stderr=theirs)
        os.close(theirs)
        written = b""
        with (
            suppress(OSError),
            os.fdopen(ours, "rb", buffering=0) as terminal,
        ):  # it ends with an error, not with an end
            until = time.monotonic() + timeout
            while select.select([terminal], [], [], until - time.monotonic())[0]:
                written += terminal.read(4096)
        client.kill()
        return client.wait(), written.decode(errors="replace")

    def live(self, short: str = "web") -> Path:
        return self.root / self.name(short)

    def state(self, short: str = "web") -> Path:
        return self.root / ".towline" / self.name(short)

    def docker(self, *words: str) -> str:
        """`docker WORDS` on the host's engine."""
        return docker(*words)

    def containers(self, short: str = "web") -> dict[str, str]:
        """Service → id of its container."""
        form = '{{.Label "com.docker.compose.service"}} {{.ID}}'
        lines = self.docker("ps", "-a", "--no-trunc", *self._label(short), "--format", form).splitlines()
        return dict(line.split(" ") for line in lines)

    def _label(self, short: str) -> tuple[str, str]:
        return "--filter", f"label=com.docker.compose.project={self.name(short)}"

    def settings(self, **values: object) -> None:
        """towline.yaml with one host, prod: the sandbox's sshd."""
        host = {
            "ssh": f"{self.box.user}@127.0.0.1:{self.box.port}",
            "identity": str(self.box.identity),
            "known_hosts": str(self.box.known_hosts),
            "root": str(self.root),
            **values,
        }
        (self.folder / "towline.yaml").write_text(json.dumps({"hosts": {"prod": host}, "default_host": "prod"}))

    def counts(self, since: int = 0) -> sshd.Counts:
        return sshd.count(self.box.log, since)

    def clear(self) -> None:
        folders = [*self.folder.glob("stacks/*"), *self.folder.glob("infrastructure/*")]
        started = docker("ps", "-a", "--format", '{{.Label "com.docker.compose.project"}}').split()  # by hand, too
        for name in {
            *(folder.name for folder in folders),
            *(name for name in started if name.startswith(f"{self.prefix}-")),
        }:
            clear_project(name)


def clear_project(name: str) -> None:
    """Everything that compose and towline made for the project: by its label, and by the tags of its name."""
    label = ("--filter", f"label=com.docker.compose.project={name}")
    removals = {
        ("rm", "-f", "-v"): docker("ps", "-aq", *label),
        ("network", "rm"): docker("network", "ls", "-q", *label),
        ("volume", "rm", "-f"): docker("volume", "ls", "-q", *label),
        ("rmi", "-f"): "\n".join(
            docker("images", "--format", "{{.Repository}}:{{.Tag}}", "--filter", f"reference={pattern}")
            for pattern in (f"towline/{name}/*", f"{name}-*")
        ),
    }
    for words, found in removals.items():
        if found.split():
            docker(*words, *found.split(), check=False)


@pytest.fixture(scope="session")
def box(engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[sandbox.Sandbox]:
    """This worker's sshd: MaxSessions 2, MaxStartups 2."""
    with running_box(tmp_path_factory.mktemp("sandbox")) as made:
        yield made


_numbers = itertools.count()
P = TypeVar("P", bound=Project)


def new_project(box: sandbox.Sandbox, tmp_path: Path, kind: type[P]) -> P:
    prefix = f"t{os.getpid():x}{next(_numbers)}"
    folder, root, home = tmp_path / "project", tmp_path / "server", tmp_path / "home"
    for path in (folder / "stacks", root, home):
        path.mkdir(parents=True)
    project = kind(folder, box, prefix, root, home)
    project.settings()
    return project


@pytest.fixture
def project(box: sandbox.Sandbox, tmp_path: Path) -> Iterator[Project]:
    made = new_project(box, tmp_path, Project)
    yield made
    made.clear()


@pytest.fixture
def tight_project(engine: None, tmp_path: Path) -> Iterator[Project]:
    """The same on a server with MaxSessions 1 and MaxStartups 1."""
    with running_box(tmp_path / "tight", max_sessions=1, max_startups=1) as box:
        made = new_project(box, tmp_path, Project)
        yield made
        made.clear()


# --- an engine of the tests' own, to be restarted under them ---------------------------------------------------------


@dataclass
class OwnEngine:
    """A second dockerd in a network namespace of its own: beside the machine's it would fight over docker0."""

    folder: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"unix://{self.folder}/docker.sock"

    @property
    def space(self) -> str:
        return f"towline-{os.getpid()}"

    def make_space(self) -> None:
        subprocess.run(["ip", "netns", "add", self.space], check=True)
        subprocess.run(["ip", "-n", self.space, "link", "set", "lo", "up"], check=True)

    def start(self) -> None:
        (self.folder / "daemon.json").write_text("{}")
        # not `ip netns exec`: that mounts a /sys of its own, without the cgroups that dockerd asks for
        words = ["nsenter", f"--net=/run/netns/{self.space}", "dockerd", "--host", self.address]
        words += ["--config-file", f"{self.folder}/daemon.json", "--pidfile", f"{self.folder}/pid"]
        words += ["--data-root", f"{self.folder}/data", "--exec-root", f"{self.folder}/exec"]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(words, stdout=log, stderr=log, start_new_session=True)
        assert wait_until(self.answers, 30), (self.folder / "log").read_text()[-2000:]

    def answers(self) -> bool:
        done = subprocess.run(["docker", "-H", self.address, "info"], capture_output=True, check=False)
        return done.returncode == 0

    def stop(self) -> None:
        assert self.process
        self.process.terminate()
        self.process.wait(60)

    def restart(self) -> None:
        self.stop()
        self.start()

    def docker(self, *words: str) -> str:
        return docker("-H", self.address, *words)


@dataclass
class OwnProject(Project):
    """A project on an engine of the test's own: its pages are asked for in that engine's network namespace."""

    space: str = ""
    address: str = ""

    def docker(self, *words: str) -> str:
        return docker("-H", self.address, *words)

    def page(self, short: str = "web", path: str = "/") -> str:
        words = ["ip", "netns", "exec", self.space, "busybox", "wget", "-q", "-O", "-"]
        done = subprocess.run([*words, f"http://127.0.0.1:{self.ports[short]}{path}"], capture_output=True, check=False)
        return done.stdout.decode()


@pytest.fixture(scope="session")
def own_engine(engine: None) -> Iterator[OwnEngine]:
    # below the system's temp folder: a socket's path may have 107 characters at most
    with tempfile.TemporaryDirectory(prefix="towline-engine-", ignore_cleanup_errors=True) as folder:
        own = OwnEngine(Path(folder))
        own.make_space()
        own.start()
        saved = subprocess.run(["docker", "save", BASE], capture_output=True, check=True).stdout
        subprocess.run(["docker", "-H", own.address, "load"], input=saved, capture_output=True, check=True)
        yield own
        own.stop()
        subprocess.run(["ip", "netns", "delete", own.space], check=True)


@contextmanager
def own_project(own_engine: OwnEngine, tmp_path: Path) -> Iterator[OwnProject]:
    """A project whose host's engine is the test's own."""
    with running_box(tmp_path / "box", docker_host=own_engine.address) as box:
        made = new_project(box, tmp_path, OwnProject)
        made.space, made.address = own_engine.space, own_engine.address
        yield made
        for container in own_engine.docker("ps", "-aq").split():
            own_engine.docker("rm", "-f", "-v", container)
