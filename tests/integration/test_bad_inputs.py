"""Bad input through the real command line: one clear line, exit code 2, and no connection opened.

The project's host is a listener of this test: whoever connects to it is caught.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
COMMAND = (sys.executable, "-c", "from towline.cli.console import main; main()")
DEPLOY = "deploy --stack=web"
HOST = "hosts: {prod: {ssh: 'nobody@127.0.0.1:LISTENER'}}\n"  # LISTENER: its port
WEB = "services: {web: {image: nginx}}\n"
GOOD = {"towline.yaml": HOST, "stacks/web/compose.yaml": WEB, "infrastructure/traefik/compose.yml": WEB}
SECONDS = 10  # that a command may take before it counts as hanging; each takes about 0.2


@dataclass(frozen=True)
class Bad:
    """One bad input: what is laid over the good project (None: removed), the words, what the line must say."""

    name: str
    says: tuple[str, ...]
    files: dict[str, str | bytes | None] = field(default_factory=dict)
    words: str = DEPLOY
    arrange: Callable[[Path], object] = lambda web: None


def compose(name: str, text: str | bytes, *says: str, words: str = DEPLOY) -> Bad:
    """A bad compose file of the stack `web`; the line has to name that file."""
    return Bad(name, ("stacks/web/compose.yaml", *says), {"stacks/web/compose.yaml": text}, words)


def web(name: str, keys: str, *says: str) -> Bad:
    """A bad key of the service `web`; the line has to name file and service."""
    return compose(name, f"services: {{web: {{image: nginx, {keys}}}}}\n", "services.web.", *says)


def settings(name: str, text: str, *says: str, words: str = DEPLOY) -> Bad:
    """A bad towline.yaml; the line has to name it."""
    return Bad(name, ("towline.yaml", *says), {"towline.yaml": text}, words)


def mounted(web: Path, target: str) -> None:
    """A symlink to `target` in a folder that a service mounts."""
    (web / "compose.yaml").write_text("services: {web: {image: x, volumes: ['./conf:/conf:ro']}}\n")
    (web / "conf").mkdir()
    (web / "conf" / "link").symlink_to(target)


def folder(name: str, arrange: Callable[[Path], object], *says: str) -> Bad:
    """Something in the stack's folder that cannot be sent; the line has to name it."""
    return Bad(name, ("stacks/web", *says), arrange=arrange)


def dotenv(name: str, text: str, *says: str) -> Bad:
    """A bad .env, in a project without a towline.yaml."""
    return Bad(name, (".env", *says), {"towline.yaml": None, ".env": text})


def command_line(words: str, *says: str) -> Bad:
    """A bad command line."""
    return Bad(words, says, words=words)


def host(keys: str, ssh: str = "nobody@127.0.0.1:LISTENER") -> str:
    return f"hosts: {{prod: {{ssh: '{ssh}', {keys}}}}}\n"


def make_socket(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(os.path.relpath(folder / "run.sock"))  # a socket's path may not be long


COMMAND_LINES = [
    command_line("deploy --stack=treafik", "no stack 'treafik'", "did you mean traefik?"),
    command_line("deploy", "--stack=NAME is missing", "traefik, web"),
    command_line(f"{DEPLOY} --host=prd", "no host 'prd'", "did you mean prod?"),
    command_line("get-containers --host=prd", "no host 'prd'", "did you mean prod?"),
    command_line("test-connectivity --host=prd", "no host 'prd'", "did you mean prod?"),
    command_line("deploy-all --host=prd", "no host 'prd'", "did you mean prod?"),
    command_line(f"{DEPLOY} --timeout=soon", "--timeout=soon", "whole seconds"),
    command_line(f"{DEPLOY} --timeout=-1", "--timeout=-1", "whole seconds"),
    command_line(f"{DEPLOY} --timeout=0", "--timeout=0", "seconds"),
    command_line(f"{DEPLOY} --lock-wait=long", "--lock-wait=long", "whole seconds"),
    command_line("deploy-all --timeout=1m", "--timeout=1m", "whole seconds"),
    command_line("list-stacks --format=xml", "--format=xml", "json", "table"),
    command_line("get-containers --format=xml", "--format=xml", "json", "table"),
    command_line(f"{DEPLOY} --config=nope.yaml", "nope.yaml: no such settings file"),
    command_line(f"{DEPLOY} --config=stacks", "stacks: no such settings file"),
    command_line(f"{DEPLOY} --ledger=no/such/folder/ledger.jsonl", "no/such/folder", "folder"),
    command_line(f"{DEPLOY} --ledger=stacks", "--ledger", "stacks"),
    command_line(f"{DEPLOY} --ledger=/proc/x", "--ledger=/proc/x: cannot be written"),
    command_line("deploy '--stack=w\x1b[2Jb'", "no stack 'w\\x1b[2Jb'"),
]

SETTINGS = [
    settings("broken towline.yaml", "hosts: {\n  prod: [\n", "towline.yaml:3: broken YAML"),
    settings("towline.yaml is a list", "- prod\n", "expected a mapping, got a list"),
    settings("duplicate key in towline.yaml", HOST * 2, "towline.yaml:2", "duplicate key 'hosts'"),
    settings("unknown key", f"{HOST}default_hots: prod\n", "'default_hots'", "did you mean default_host?"),
    settings("unknown key of a host", host("rot: x"), "hosts.prod", "'rot'", "did you mean root?"),
    settings("host without an address", "hosts: {prod: {root: x}}\n", "hosts.prod.ssh: is missing"),
    settings("bad host address", host("", "no body@h"), "hosts.prod.ssh", "not an address"),
    settings("bad port", host("", "nobody@127.0.0.1:99999"), "hosts.prod.ssh: port '99999'", "1 to 65535"),
    settings("key file is missing", host("identity: keys/id"), "identity", "'keys/id': no such file"),
    settings("known_hosts file is missing", host("known_hosts: pins"), "known_hosts", "'pins': no such file"),
    settings("max_sessions 0", host("max_sessions: 0"), "hosts.prod.max_sessions", ">= 1", "got 0"),
    settings("unknown engine", host("engine: podman"), "engine: expected compose or swarm", "'podman'"),
    settings("root with ..", host("root: ../x"), "hosts.prod.root: '../x' has '..' in it"),
    settings("root with a colon", host("root: 'a:b'"), "hosts.prod.root: 'a:b' has a ':' in it"),
    Bad("towline.yaml is a folder", ("towline.yaml: cannot be read: Is a directory",), {"towline.yaml": None},
        arrange=lambda web: (web.parents[1] / "towline.yaml").mkdir()),
    Bad("towline.yaml is a pipe", ("towline.yaml: is not a file",), {"towline.yaml": None},
        arrange=lambda web: os.mkfifo(web.parents[1] / "towline.yaml")),
    Bad(".env is not UTF-8", (".env: is not UTF-8 text",), {"towline.yaml": None, ".env": b"SSH_HOST=h\nA=caf\xe9\n"}),
    dotenv(".env with NUL", "SSH_HOST=a\0b\n", "SSH_HOST: 'a\\x00b' is not an address"),
    settings("unknown default_host", f"{HOST}default_host: prd\n", "no host 'prd'", "did you mean prod?"),
    settings("unknown strategy", f"{HOST}defaults: {{strategy: blue}}\n", "defaults.strategy", "'blue'"),
    settings("negative timeout", f"{HOST}defaults: {{timeout: -5}}\n", "defaults.timeout", ">= 1", "got -5"),
    settings("bad towline.yaml and --list", "hosts: 7\n", "expected a mapping, got 7", words="list-stacks"),
    dotenv("SSH_PORT is no number", "SSH_HOST=127.0.0.1\nSSH_PORT=twenty\n", "SSH_PORT: port 'twenty'"),
    dotenv("SSH_HOST is no address", "SSH_HOST=no host\n", "SSH_HOST: 'no host' is not an address"),
    dotenv("SSH_KEY is missing", "SSH_HOST=127.0.0.1\nSSH_KEY=id\n", "SSH_KEY: 'id': no such file"),
    Bad("no project here", ("no project in", "stacks/"), dict.fromkeys(GOOD),
        arrange=lambda web: shutil.rmtree(web.parent)),
    Bad("no stacks", ("no stack 'web'; there are none",), dict.fromkeys(list(GOOD)[1:]),
        arrange=lambda web: shutil.rmtree(web.parent)),
    Bad("two hosts and no default", ("no default_host", "--host: prod, test"),
        {"towline.yaml": "hosts: {prod: {ssh: a.test}, test: {ssh: b.test}}\n"}),
    Bad("sandbox that does not run", ("the sandbox does not run", "sandbox.up"),
        {"towline.yaml": f"{HOST}default_host: sandbox\n"}),
]  # fmt: skip

COMPOSE_FILES = [
    compose("broken YAML", "services:\n  web: {image: nginx\n", "compose.yaml:3: broken YAML"),
    compose("broken YAML and a listing", "services: [\n", "broken YAML", words="get-containers"),
    compose("duplicate key", WEB + WEB, "compose.yaml:2", "duplicate key 'services'"),
    compose("not UTF-8", b"services: {web: {image: caf\xe9}}\n", "is not UTF-8 text"),
    compose("UTF-16", "services: {}\n".encode("utf-16"), "is not UTF-8 text"),
    compose("tab", "services:\n\tweb: {image: nginx}\n", "compose.yaml:2: broken YAML"),
    compose("NUL", "services: {web: {image: 'a\0b'}}\n", "broken YAML"),
    compose("colours", "services: {web: {image: '\x1b[2J'}}\n", "broken YAML"),
    Bad("compose file is a pipe", ("stacks/web/compose.yaml: is not a file",), {"stacks/web/compose.yaml": None},
        arrange=lambda web: os.mkfifo(web / "compose.yaml")),
    Bad(".env is a pipe", ("stacks/web/.env: is a fifo",),
        {"stacks/web/compose.yaml": "services: {web: {image: nginx}}\nnetworks: {a: {name: '$A'}}\n"},
        arrange=lambda web: os.mkfifo(web / ".env")),
    compose("a list", "- web\n", "expected a mapping, got a list"),
    compose("empty", "", "services: there are none"),
    compose("service is text", "services: {web: nginx}\n", "services.web: expected a mapping, got 'nginx'"),
    compose("no image and no build", "services: {web: {restart: always}}\n", "neither image nor build"),
    compose("unknown x-towline key", f"{WEB}x-towline: {{need: []}}\n", "'need'", "did you mean needs?"),
    compose("unknown stack needed", f"{WEB}x-towline: {{needs: [trafik]}}\n", "'trafik'", "did you mean traefik?"),
    compose("unknown host", f"{WEB}x-towline: {{host: prd}}\n", "x-towline.host", "did you mean prod?"),
    compose("unknown strategy", f"{WEB}x-towline: {{strategy: blue}}\n", "x-towline.strategy", "got 'blue'"),
    compose("invalid project name", f"name: My Site\n{WEB}", "invalid project name 'My Site'", "name: mysite"),
    web("bind outside", "volumes: ['../../secret:/s']", "volumes[0]", "leaves the stack's folder"),
    web("env_file outside", "env_file: ../common.env", "env_file", "leaves the stack's folder"),
    web("env_file missing", "env_file: [app.env]", "env_file[0]: 'app.env': no such file"),
    web("build outside", "build: ../lib", "build.context", "leaves the stack's folder"),
    web("build folder missing", "build: {context: src}", "build.context: 'src': no such folder"),
    Bad(
        "a circle of needs",
        ("dependency cycle between stacks: traefik → web → traefik",),
        {
            "stacks/web/compose.yaml": f"{WEB}x-towline: {{needs: [traefik]}}\n",
            "infrastructure/traefik/compose.yml": f"{WEB}x-towline: {{needs: [web]}}\n",
        },
        "deploy-all",
    ),
    Bad(
        "two stacks with one name",
        ("infrastructure/web and stacks/web have the same name",),
        {"infrastructure/web/compose.yaml": WEB},
    ),
    Bad(
        "two stacks with one project name",
        ("stacks/shop and stacks/web", "project 'web'"),
        {"stacks/shop/compose.yaml": f"name: web\n{WEB}"},
    ),
    Bad(
        "folder's name is no project name",
        ("stacks/Shop/compose.yaml", "invalid project name 'Shop'", "name: shop"),
        {"stacks/Shop/compose.yaml": WEB},
    ),
]  # fmt: skip

FOLDERS = [
    folder("file called -", lambda web: (web / "-").write_text("x"), "the name '-' cannot be sent"),
    Bad("empty folder", ("stacks/shop has no compose file",), {}, "deploy --stack=shop",
        lambda web: (web.parent / "shop").mkdir()),
    Bad("folder without a compose file", ("stacks/web has no compose file", "compose.yaml"),
        {"stacks/web/compose.yaml": None, "stacks/web/README": "none here\n"}),
    folder("symlink that leaves", lambda web: mounted(web, "../../../x"), "/conf/link: the symlink leaves"),
    folder("absolute symlink", lambda web: mounted(web, "/etc"), "/conf/link: the symlink leaves"),
    folder("fifo", lambda web: os.mkfifo(web / "pipe"), "/pipe: is a fifo"),
    folder("socket", make_socket, "/run.sock: is a socket"),
    folder("control character", lambda web: (web / "a\nb").touch(), "has control characters"),
    folder("backslash", lambda web: (web / "a\\b").touch(), "has a backslash"),
    folder("reserved name", lambda web: (web / ".towline").touch(), "the name .towline is reserved"),
    folder("bad ignore file", lambda web: (web / ".towlineignore").write_bytes(b"\xff"), "is not UTF-8 text"),
]  # fmt: skip


@pytest.fixture(scope="module")
def listener() -> Iterator[socket.socket]:
    """The port that the project's host is said to listen on; nothing ever answers there."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield server


def project(top: Path, port: int, files: dict[str, str | bytes | None]) -> Path:
    """A folder with the good project, and `files` laid over it. Returns the folder of the stack `web`."""
    (top / "stacks/web").mkdir(parents=True)
    for name, text in {**GOOD, **files}.items():
        if text is not None:
            (top / name).parent.mkdir(parents=True, exist_ok=True)
            raw = text if isinstance(text, bytes) else text.encode()
            (top / name).write_bytes(raw.replace(b"LISTENER", str(port).encode()))
    return top / "stacks/web"


def environment(top: Path) -> dict[str, str]:
    return {"HOME": str(top), "PYTHONPATH": str(TOP), "PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}


def towline(top: Path, words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *shlex.split(words)],
        cwd=top,
        env=environment(top),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def was_contacted(listener: socket.socket) -> bool:
    """Whether anybody connected since the last time."""
    contacted = False
    with contextlib.suppress(BlockingIOError):
        while True:
            listener.accept()[0].close()
            contacted = True
    return contacted


@pytest.mark.parametrize("bad", [*COMMAND_LINES, *SETTINGS, *COMPOSE_FILES, *FOLDERS], ids=lambda bad: bad.name)
def test_bad_input_is_one_clear_line_and_no_connection(
    bad: Bad, tmp_path: Path, listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    top = tmp_path / "project"
    monkeypatch.chdir(tmp_path)
    bad.arrange(project(top, listener.getsockname()[1], bad.files))
    try:
        result = towline(top, bad.words)
    except subprocess.TimeoutExpired:
        pytest.fail(f"did not end; connected: {was_contacted(listener)}")
    assert not was_contacted(listener)
    assert re.fullmatch(r"error: [^\n]+\n(  hint: [^\n]+\n)?", result.stderr), result.stderr
    assert [words for words in bad.says if words not in result.stderr] == [], result.stderr
    assert (result.returncode, result.stdout) == (2, "")


def test_good_input_does_connect(tmp_path: Path, listener: socket.socket) -> None:
    """The trap works: the project that the bad inputs are laid over is good but for them."""
    project(tmp_path / "project", listener.getsockname()[1], {})
    command = [*COMMAND, *shlex.split(DEPLOY)]
    with subprocess.Popen(
        command, cwd=tmp_path / "project", env=environment(tmp_path), stderr=subprocess.DEVNULL
    ) as running:
        contacted, _, _ = select.select([listener], [], [], SECONDS)
        running.kill()
    assert contacted
    assert was_contacted(listener)
