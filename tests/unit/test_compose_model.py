"""Recorded output in, a model out; and one session in which the server's compose renders it."""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import tarfile
import time
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from towline.bundle.manifest import Entry, Manifest
from towline.bundle.working_tree import WorkingTree
from towline.commands.shell import Command
from towline.errors import RemoteFailed, TowlineError
from towline.facts.compose_model import (
    SCRIPT,
    Model,
    Rendered,
    command,
    parse_model,
    read_model,
)
from towline.project.stack import Stack
from towline.remote import script as remote_script
from towline.ssh.session import Result

# docker compose 2.40.3, `config --format json`
RECORDED = """\
/tmp/svc/rec
{
 "configs": {
  "inline": {"name": "shop_inline", "content": "level info"},
  "motd": {"name": "shop_motd", "file": "/tmp/svc/rec/conf/motd"}
 },
 "name": "shop",
 "networks": {"default": {"name": "shop_default", "ipam": {}}},
 "secrets": {
  "cert": {"name": "shop_cert", "file": "/tmp/svc/rec/cert.pem"},
  "level": {"name": "shop_level", "environment": "LEVEL"},
  "token": {"name": "shop_token", "file": "/tmp/svc/rec/token.txt"}
 },
 "services": {
  "api": {
   "build": {
    "context": "/tmp/svc/rec/backend",
    "dockerfile": "Dockerfile",
    "args": {"V": "1"},
    "additional_contexts": {"base": "service:base", "shared": "/tmp/svc/rec/shared"}
   },
   "command": null,
   "configs": [{"source": "motd"}, {"source": "inline"}],
   "entrypoint": null,
   "environment": {"API_KEY": "hunter22"},
   "networks": {"default": null},
   "secrets": [{"source": "token", "target": "/run/secrets/token"}, {"source": "level", "target": "/run/secrets/level"}]
  },
  "base": {
   "build": {"context": "/tmp/svc/rec", "dockerfile": "/tmp/svc/rec/backend/Base"},
   "command": null,
   "entrypoint": null,
   "networks": {"default": null}
  },
  "cert": {
   "command": null,
   "entrypoint": null,
   "image": "busybox:1.37",
   "networks": {"default": null},
   "secrets": [{"source": "cert", "target": "/run/secrets/cert"}]
  },
  "log": {
   "command": null,
   "entrypoint": null,
   "environment": {"LEVEL": "info"},
   "image": "busybox:1.37",
   "networks": {"default": null}
  },
  "side": {
   "command": null,
   "depends_on": {"api": {"condition": "service_started", "restart": true, "required": true}},
   "entrypoint": null,
   "image": "busybox:1.37",
   "network_mode": "service:api"
  },
  "web": {
   "command": ["httpd", "-f", "--home=/tmp/svc/rec/static"],
   "depends_on": {"api": {"condition": "service_started", "restart": true, "required": true}},
   "entrypoint": null,
   "image": "busybox:1.36",
   "labels": {"team": "a"},
   "networks": {"default": null},
   "ports": [{"mode": "ingress", "target": 80, "published": "8080", "protocol": "tcp"}],
   "volumes": [
    {
     "type": "bind",
     "source": "/tmp/svc/rec/conf/nginx.conf",
     "target": "/etc/nginx.conf",
     "read_only": true,
     "bind": {"create_host_path": true}
    },
    {"type": "bind", "source": "/tmp/svc/rec/static", "target": "/srv", "bind": {"create_host_path": true}},
    {"type": "volume", "source": "data", "target": "/data", "volume": {}},
    {
     "type": "bind",
     "source": "/etc/localtime",
     "target": "/etc/localtime",
     "read_only": true,
     "bind": {"create_host_path": true}
    }
   ]
  }
 },
 "volumes": {"data": {"name": "shop_data"}}
}
"""


def bundle(folder: Path, files: dict[str, str], links: dict[str, str] | None = None) -> Manifest:
    """The files written to `folder`, and their manifest."""
    entries = [Entry("l", 0o777, 0, "-", path, target, folder / path) for path, target in (links or {}).items()]
    for path, text in files.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        entries.append(Entry("f", 0o644, len(text), sha256(text.encode()).hexdigest(), path, "", file))
    return Manifest(tuple(sorted(entries, key=lambda entry: entry.path.encode())))


def tree(folder: Path, files: dict[str, str], links: dict[str, str] | None = None) -> WorkingTree:
    """The stack of these files, none of them kept: they are read again."""
    stack = Stack("shop", "shop", "stack", folder, folder.parent, ("compose.yaml",), ())
    return WorkingTree(stack, bundle(folder, files, links))


# ------------------------------------------------------------------------------------------------ text → model


def test_paths_below_the_folder_become_relative() -> None:
    model = parse_model(RECORDED)

    web = model.services["web"]
    assert [volume["source"] for volume in web["volumes"]] == [
        "./conf/nginx.conf",
        "./static",
        "data",
        "/etc/localtime",
    ]
    assert web["command"] == ["httpd", "-f", "--home=./static"]
    assert model.services["api"]["build"] == {
        "context": "./backend",
        "dockerfile": "Dockerfile",
        "args": {"V": "1"},
        "additional_contexts": {"base": "service:base", "shared": "./shared"},
    }
    assert model.services["base"]["build"] == {"context": ".", "dockerfile": "backend/Base"}
    assert model.secrets["cert"] == {"name": "shop_cert", "file": "./cert.pem"}
    assert model.configs["motd"] == {"name": "shop_motd", "file": "./conf/motd"}
    assert dict(model.volumes) == {"data": {"name": "shop_data"}}
    assert dict(model.networks) == {"default": {"name": "shop_default", "ipam": {}}}


def test_the_same_files_give_the_same_model_in_whatever_folder() -> None:
    assert parse_model(RECORDED.replace("/tmp/svc/rec", "/var/tmp/tmp.Xy1")) == parse_model(RECORDED)


def test_a_folder_whose_name_only_begins_alike_is_left_alone() -> None:
    text = '/srv/a\n{"services": {"x": {"command": ["/srv/ab", "/data/srv/a/b", "/srv/a", "/srv/a.b", "P=/srv/a:ro"]}}}'

    assert parse_model(text).services["x"]["command"] == ["/srv/ab", "/data/srv/a/b", ".", "/srv/a.b", "P=.:ro"]


def test_a_model_of_nothing_is_empty() -> None:
    assert parse_model('/srv\n{"services": {}, "volumes": null}') == Model()


@pytest.mark.parametrize(
    "text", ["", "hunter22", '{"services": {}}', "/srv\nhunter22", "/srv\n[]", '/srv\n{"services": ["hunter22"]}']
)
def test_anything_else_is_an_error_that_quotes_nothing(text: str) -> None:
    with pytest.raises(TowlineError) as caught:
        parse_model(text)

    assert "hunter22" not in str(caught.value)


# ---------------------------------------------------------------------------------------------------- command


def stack(*files: str, profiles: tuple[str, ...] = ()) -> Stack:
    return Stack("shop", "shop", "stack", Path("/p/stacks/shop"), Path("/p"), files, (), profiles=profiles)


def test_command_names_project_and_files() -> None:
    words = ("a.yaml:b.yaml", "docker", "compose", "--project-name", "shop")

    assert command(stack("a.yaml", "b.yaml"), "stacks/web") == (
        *("sh", "-c", remote_script("login_env") + SCRIPT, "towline", "stacks/web", *words),
        *("config", "--format", "json"),
    )


def test_command_names_the_profiles_of_x_towline() -> None:
    assert command(stack("a.yaml", profiles=("one", "two")), "stacks/web")[-7:-3] == (
        "--profile",
        "one",
        "--profile",
        "two",
    )


def run_with(docker: str, tmp_path: Path, shell: str, env_file: str = "") -> subprocess.CompletedProcess[bytes]:
    """The command with a stand-in for docker, in a root that is reached by a symlink. env_file: the text of a .env that is sent."""
    for name in ("bin", "real", "real/web"):
        (tmp_path / name).mkdir(exist_ok=True)
    if not (tmp_path / "stacks").exists():
        (tmp_path / "stacks").symlink_to("real")
    program = tmp_path / "bin" / "docker"
    program.write_text(f"#!/bin/sh\n{docker}\n")
    program.chmod(0o755)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        member = tarfile.TarInfo("compose.yaml")
        member.size = 5
        tar.addfile(member, io.BytesIO(b"hello"))
        if env_file:
            member = tarfile.TarInfo(".env")
            member.size = len(env_file)
            tar.addfile(member, io.BytesIO(env_file.encode()))
    path = f"{tmp_path}/bin:/usr/bin:/bin"
    env = {"PATH": path, "COMPOSE_FILE": "x", "COMPOSE_PROFILES": "y", "PWD": "/", "DB_HOST": "login", "MODE": "login"}
    _, _, *words = command(stack("compose.yaml"), "stacks/web")
    return subprocess.run(
        (*shell.split(), "-c", *words), input=packed.getvalue(), env=env, cwd=tmp_path, capture_output=True, check=False
    )


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_compose_runs_in_a_physical_folder_with_nothing_of_the_logins_settings(tmp_path: Path, shell: str) -> None:
    shown = 'pwd; echo "$PWD ${COMPOSE_FILE-unset} ${COMPOSE_PROFILES-unset}"; cat compose.yaml; stat -c " %a" .'
    done = run_with(shown, tmp_path, shell)

    folder, here, rest, end = done.stdout.decode().split("\n", 3)
    assert (done.returncode, done.stderr, folder) == (0, b"", here)
    assert folder.startswith(f"{tmp_path}/real/")
    assert (rest, end) == (f"{folder} compose.yaml unset", "hello 700\n")
    assert [path.name for path in (tmp_path / "real").iterdir()] == ["web"]


@pytest.mark.parametrize("shell", ["dash", "busybox sh"])
def test_env_file_that_the_live_release_brought_goes_with_it(tmp_path: Path, shell: str) -> None:
    state = tmp_path / "real" / ".towline" / "web"
    for folder in (state, tmp_path / "real" / "web"):
        folder.mkdir(parents=True)
    (tmp_path / "real" / "web" / ".env").write_text("A=1\n")
    (state / "live.manifest").write_text("f\t0600\t4\tx\t.env\t\n")
    for current, used in (("20261127-120000", False), ("", True)):
        (state / "current").write_text(current)
        assert ("\nenv_file\t" in run_with("echo", tmp_path, shell).stdout.decode()) == used


@pytest.mark.parametrize("shell", ["dash", "busybox sh"])
def test_folder_of_a_rendering_that_was_killed_goes_after_an_hour(tmp_path: Path, shell: str) -> None:
    for name, minutes in (("old", 61), ("new", 59)):
        folder = tmp_path / "real" / ".towline" / f".render.{name}"
        folder.mkdir(parents=True)
        os.utime(folder, (time.time() - minutes * 60,) * 2)
    assert run_with("echo", tmp_path, shell).returncode == 0
    assert [path.name for path in (tmp_path / "real" / ".towline").iterdir()] == [".render.new"]


@pytest.mark.parametrize("shell", ["dash", "busybox sh"])
def test_variable_of_the_login_does_not_win_over_the_stacks(tmp_path: Path, shell: str) -> None:
    done = run_with('echo "${DB_HOST-unset} $MODE"', tmp_path, shell, "# a\nexport DB_HOST=stack\nPATH=/nowhere\n")
    assert done.stdout.decode().split("\n")[1:] == ["unset login", ""]


@pytest.mark.parametrize("shell", ["dash", "busybox sh"])
def test_env_file_that_is_only_there_is_used_and_told(tmp_path: Path, shell: str) -> None:
    (tmp_path / "real" / "web").mkdir(parents=True)
    (tmp_path / "real" / "web" / ".env").write_text("DB_PASS=x y\nDB_HOST: there\n")
    done = run_with('stat -c %a .env; grep HOST .env; echo "${DB_HOST-unset}"', tmp_path, shell)
    file = f"{tmp_path}/stacks/web/.env"
    rows = ["env_file\t" + file, "variable\tDB_HOST", "variable\tDB_PASS", "600", "DB_HOST: there", "unset", ""]
    assert done.stdout.decode().split("\n")[1:] == rows


@pytest.mark.parametrize("shell", ["dash", "busybox sh"])
def test_what_the_model_mounts_and_the_server_lacks_is_told(tmp_path: Path, shell: str) -> None:
    there = tmp_path / "stacks" / "web"
    (there / "data").mkdir(parents=True)
    (there / "here.txt").write_text("")
    (there / "dangling").symlink_to("nowhere")
    (tmp_path / "there").mkdir()
    own = ["here.txt", "data", "dangling", "gone.txt", "gone/deep/x.conf", "here.txt/x"]
    far = [f"{tmp_path}/there", f"{tmp_path}/gone one", "/", "no/path", f"{tmp_path}/un\\u0026sure", f"{tmp_path}/$$x"]
    lines = [*(f'  "source": "$PWD/{path}",' for path in own), '  "file": "$PWD/gone.key"']
    lines += [f'  "source": "{path}",' for path in far]
    shown = "\n".join(lines).replace("$$", "\\$\\$")
    folder, *rest = run_with(f"cat <<E\n{shown}\nE", tmp_path, shell).stdout.decode().split("\n")

    absent = [line.partition("\t")[2] for line in rest if line.startswith("absent\t")]
    assert sorted(absent) == ["./gone.key", "./gone.txt", "./gone/deep/x.conf", f"{tmp_path}/gone one"]
    assert rest[len(absent)] == f'  "source": "{folder}/here.txt",'


def test_what_cannot_be_looked_into_is_not_told_as_absent(tmp_path: Path) -> None:
    """The engine may see there; root sees everywhere."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o600)
    done = run_with(f'echo \'  "source": "{closed}/x.conf"\'', tmp_path, "sh")
    assert ("absent" in done.stdout.decode()) == (os.geteuid() == 0)


def test_the_folder_goes_and_the_code_stays_when_compose_fails(tmp_path: Path) -> None:
    done = run_with("echo broken >&2; exit 15", tmp_path, "sh")

    assert (done.returncode, done.stderr) == (15, b"broken\n")
    assert [path.name for path in (tmp_path / "real").iterdir()] == ["web"]


# -------------------------------------------------------------------------------------------------- read_model


class Socket:
    """A connection that answers one upload."""

    host = SimpleNamespace(name="prod", root="stacks")

    def __init__(self, result: Result) -> None:
        self.result = result
        self.sent: list[str] = []
        self.commands: list[Command] = []

    def upload(self, chunks: Iterable[bytes], command: Command, name: str, timeout: float) -> Result:
        content = io.BytesIO(gzip.decompress(b"".join(chunks)))
        with tarfile.open(fileobj=content) as tar:
            self.sent += tar.getnames()
        self.commands.append(command)
        return self.result


FILES = {
    "compose.yaml": "services: {a: {image: a, env_file: a.env}}",
    "a.env": "my pass+word s3cret\nB='tops3cret",
    "x": "",
}


def test_one_session_brings_the_model(tmp_path: Path) -> None:
    folder, _, rest = RECORDED.partition("\n")
    line: Any = Socket(Result(0, f"{folder}\nabsent\t./conf/motd\nabsent\t/srv/a b\n{rest}".encode()))

    read = read_model(line, tree(tmp_path, FILES))
    assert read == Rendered(parse_model(RECORDED), frozenset({"./conf/motd", "/srv/a b"}))
    words = command(stack("compose.yaml"), "stacks/shop")
    assert (line.sent, line.commands) == (["a.env", "compose.yaml"], [words])


@pytest.mark.parametrize(
    ("err", "said"),
    [
        (
            "validating /tmp/t.1/compose.yaml: services.a must be a mapping\n",
            "validating compose.yaml: services.a must be a mapping",
        ),
        ("a\nb\nc\nd\n", "b · c · d"),
        ("", "exit code 15"),
        # as docker compose 2.40.3 says it
        (
            'failed to read /tmp/t.1/a.env: line 1: unexpected character "+" in variable name "my pass+word s3cret"\n',
            'failed to read a.env: line 1: unexpected character "+" in variable name "[secret]"',
        ),
        (
            "failed to read /tmp/t.1/a.env: line 2: unterminated quoted value 'tops3cret\n",
            "failed to read a.env: line 2: unterminated quoted value '[secret]",
        ),
    ],
)
def test_what_compose_refuses_is_told_in_its_words_without_secrets(tmp_path: Path, err: str, said: str) -> None:
    line: Any = Socket(Result(15, b"/tmp/t.1\n", err.encode()))

    with pytest.raises(RemoteFailed) as caught:
        read_model(line, tree(tmp_path, FILES))

    where, _, words = str(caught.value).partition(": docker compose config: ")
    assert (where.endswith("/compose.yaml:1") if "services.a " in said else where == "shop", words) == (True, said)
