"""survey.sh, host.sh and the scripts of declared checks, under dash and busybox; on the real Docker Engine where it counts."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.integration.conftest import Shell
from tests.integration.test_ask import make_certificate
from tests.integration.test_scripts_drift import (
    BASE,
    RELEASE,
    TREE,
    Live,
    live,
    next_second,
    not_root,
    real_shell,
    replaced,
)
from towline.checks import declared_commands
from towline.facts import certificate, engine_api, host, survey
from towline.facts.container import Container
from towline.facts.drift import StaleMount
from towline.facts.survey import StackSurvey, Survey
from towline.project.declared_checks import Check, Command, File, Retry
from towline.project.stack import Stack
from towline.ssh import batch
from towline.ssh.batch import ResultReader
from towline.ssh.session import Result

__all__ = ["live", "real_shell"]  # fixtures

DEAD_SOCKET = "unix:///nowhere/docker.sock"


def make_stack(name: str, project: str = "") -> Stack:
    return Stack(name, project or name, "stack", Path("/x") / name, Path("/x"), ("compose.yaml",), ())


def asked(shell: Shell, root: Path, *stacks: Stack, as_user: tuple[str, ...] = (), **env: str) -> list[Result]:
    """The four answers of a survey, each script run by the shell, as the login."""
    results = []
    for words in survey.commands(str(root), stacks):
        command = (*as_user, *shell.sh, *words[1:])
        done = subprocess.run(
            command, env=shell.env() | env, capture_output=True, stdin=subprocess.DEVNULL, check=False
        )
        results.append(Result(done.returncode, done.stdout, done.stderr))
    return results


def look(shell: Shell, root: Path, *stacks: Stack, as_user: tuple[str, ...] = (), **env: str) -> Survey:
    results = asked(shell, root, *stacks, as_user=as_user, **env)
    assert results[2].err == ""
    return survey.parse(results, stacks, (time.time(), time.time()))


def look_at(live: Live, **env: str) -> StackSurvey:
    stack = make_stack("shop", live.project)
    found = look(live.shell, live.root, stack, as_user=live.as_user, TMPDIR=str(live.tmp), **env)
    assert list(live.tmp.iterdir()) == []
    return found.stacks["shop"]


def container(found: Survey, live: Live, service: str) -> Container:
    (one,) = found.containers_of(live.project, service)
    return one


# ------------------------------------------------------------------------------------------------- without containers


def test_machine_is_told_by_its_own_means(shell: Shell) -> None:
    fact = host.parse(shell.command(host.command()))
    assert abs(fact.now - time.time()) < 5
    assert (fact.user, fact.cpus) == ("root" if os.getuid() == 0 else fact.user, os.cpu_count())
    assert fact.kernel.startswith(os.uname().release)
    assert fact.memory > fact.memory_free > 0
    assert fact.uptime > 0
    assert Path("/etc/os-release").read_text().count(f'"{fact.os}"') == 1


def test_server_without_docker_is_told_as_that(real_shell: Shell, tmp_path: Path) -> None:
    if real_shell.name == "busybox":
        (tmp_path / "docker-here" / "docker").unlink()
        bare = real_shell
    else:  # dash's tools lie where docker lies: those that the scripts need, without it
        folder = tmp_path / "bare"
        folder.mkdir()
        for tool in ("awk", "cat", "cut", "date", "find", "getent", "grep", "head", "id", "ls", "mkdir", "mkfifo", "mktemp",
                     "mv", "readlink", "rm", "sed", "sh", "sha256sum", "sort", "stat", "tail", "timeout", "tr", "uname",
                     "wc", "xargs", "cmp"):  # fmt: skip
            (folder / tool).symlink_to(str(shutil.which(tool)))
        bare = Shell("dash", real_shell.sh, str(folder), real_shell.asked_docker)
    found = look(bare, tmp_path / "none", make_stack("shop"))
    assert (found.engine.socket, found.containers) == ("none", ())
    assert "not found" in found.engine.problem
    assert found.stacks["shop"].current == ""
    assert found.disks[0].path == "/"


def test_engine_that_does_not_answer_is_told_and_the_rest_too(real_shell: Shell, tmp_path: Path) -> None:
    found = look(real_shell, tmp_path / "none", make_stack("a.b-c_d"), make_stack("shop"), DOCKER_HOST=DEAD_SOCKET)
    assert found.engine.socket == "absent"
    assert "/nowhere/docker.sock" in found.engine.problem
    assert set(found.stacks) == {"a.b-c_d", "shop"}
    assert found.disks != ()


def test_host_without_any_stack_is_looked_at(real_shell: Shell, tmp_path: Path) -> None:
    found = look(real_shell, tmp_path / "none")
    assert (found.engine.problem, found.stacks) == ("", {})
    assert {"bridge", "host", "none"} <= found.engine.networks


def test_nothing_is_looked_for_where_there_are_no_folders(real_shell: Shell, tmp_path: Path) -> None:
    """find without a folder would look in the login's home."""
    make_certificate(tmp_path, "a.example")
    done = subprocess.run(
        (*real_shell.sh, *survey.commands(str(tmp_path / "none"), ())[2][1:]),
        env=real_shell.env() | {"DOCKER_HOST": DEAD_SOCKET}, cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert [line for line in done.stdout.splitlines() if line.startswith("cert")] == []


# ------------------------------------------------------------------------------------------------------- the live folder

SECRETS = {
    "PLAIN": "hunter2",
    "QUOTED": '"hunter2 # not a comment"',
    "MULTI": '"-----BEGIN KEY-----\nhunter2=\nabc=\nEND="',
    "SINGLE": "'hunter2\nFAKE=x\n'",
    "TABBED": "hunter2\thunter2",
}


def test_variables_are_told_by_name_and_never_by_value(live: Live) -> None:
    env = "".join(f"{name}={value}\n" for name, value in SECRETS.items())
    env += "# NOTE=1\n\nNONE=\nNOTHING=\"\"\nNIL=''\nBLANK=  \nexport OUT=1\n  INDENTED=1\nLAST=1"
    live.write({".env": env})
    results = asked(live.shell, live.root, make_stack("shop", live.project), DOCKER_HOST=DEAD_SOCKET)
    assert "hunter2" not in results[2].out
    found = survey.parse(results, [make_stack("shop", live.project)], (0, 0)).stacks["shop"]
    assert {name for name, is_set in found.env.items() if is_set} == {*SECRETS, "OUT", "INDENTED", "LAST"}
    assert {name for name, is_set in found.env.items() if not is_set} == {"NONE", "NOTHING", "NIL", "BLANK"}


def test_edited_and_missing_files_are_found_though_the_engine_is_down(live: Live) -> None:
    live.write({"a": "1", "b b": "2", "gone": "3"})
    next_second()
    (live.folder / "b b").write_text("x")
    (live.folder / "gone").unlink()
    found = look_at(live, DOCKER_HOST=DEAD_SOCKET)
    assert (found.current, found.drift.edited, found.drift.missing) == (RELEASE, ("b b",), ("gone",))
    assert found.live_folder == str(live.folder)


def test_certificates_travel_and_their_keys_never(live: Live, tmp_path: Path) -> None:
    made = make_certificate(tmp_path, "a.example")
    other = make_certificate(tmp_path, "b.example")
    crlf = made.pem.replace(b"\n", b"\r\n")
    live.write({"x": ""})
    tls = live.folder / "tls dir"
    tls.mkdir()
    (tls / "key first.pem").write_bytes(made.key + made.pem + other.pem)
    (tls / "windows.crt").write_bytes(crlf)
    (tls / "only.key.pem").write_bytes(made.key)
    (tls / "notes.txt").write_bytes(made.pem)
    (tls / "broken.cer").write_bytes(made.pem[:80])
    results = asked(live.shell, live.root, make_stack("shop", live.project), DOCKER_HOST=DEAD_SOCKET)
    secret = made.key.splitlines()[1].decode()
    assert secret not in results[2].out
    found = survey.parse(results, [make_stack("shop", live.project)], (0, 0)).stacks["shop"].certs
    assert set(found) == {"tls dir/key first.pem", "tls dir/windows.crt"}
    assert {certificate.parse(der).names for der in found.values()} == {("a.example",)}


# --------------------------------------------------------------------------------------------------------- containers

LABELLED = f"""
services:
  web:
    image: {BASE}
    command: httpd -f -p 80 -h /etc
    init: true
    stop_grace_period: 1s
    ports: ["127.0.0.1::80"]
    volumes: ["./tls:/tls", "./conf/a b.conf:/etc/a b.conf:ro"]
    labels: {{traefik.http.routers.x.rule: "Host(`localhost.localdomain`) || Host(`none.invalid`) || Host(`x.localhost`)"}}
    healthcheck: {{test: ["CMD", "echo", "all is\twell"], interval: 60s, start_period: 10s, start_interval: 100ms}}
    logging: {{options: {{max-size: 1m}}}}
  fails: {{image: "{BASE}", command: "false", network_mode: none}}
"""


def test_containers_ports_names_and_logs_are_told(live: Live) -> None:
    live.write({"compose.yaml": LABELLED, "conf/a b.conf": "old\n", "tls/x": ""})
    (live.home / "releases" / RELEASE / "override.json").write_text("{}")
    live.compose("up", "--detach", "--wait", "web")
    live.compose("up", "--detach", "fails")
    live.docker("wait", live.container("fails"))
    replaced(live, "new\n")
    found = look(live.shell, live.root, make_stack("shop", live.project))
    web, fails = container(found, live, "web"), container(found, live, "fails")
    assert (web.state, web.health, web.said, web.log_limited, web.oom) == (
        "running",
        "healthy",
        "all is\twell",
        True,
        False,
    )
    assert (fails.state, fails.code, fails.log_limited, fails.address) == ("exited", 1, False, "")
    assert [(one.inside, one.outside.address) for one in web.held] == [("80/tcp", "127.0.0.1")]
    assert web.wanted[0].outside.port == 0 < web.held[0].outside.port
    assert web.held[0].outside in found.listeners
    assert web.address in set(web.networks.values()) - {""}
    assert web.compose != ""
    assert {"none.invalid", "localhost.localdomain"} <= found.names.keys()
    assert "x.localhost" not in found.names
    assert found.names["none.invalid"] == ()
    assert found.stacks["shop"].drift.stale == (StaleMount("web", web.name, "conf/a b.conf"),)
    assert found.engine.compose.endswith("/docker-compose")


@pytest.mark.parametrize("who", ["root", "a user of Docker"])
def test_of_several_mounts_only_the_stale_one_is_told(live: Live, who: str) -> None:
    three = "".join(
        f"  {name}: {{image: '{BASE}', command: sleep 600, init: true, stop_grace_period: 1s, network_mode: none, "
        f"volumes: ['./{name} conf/x:/x', './site:/a b/site', './{name} conf:/conf']}}\n"
        for name in ("one", "two", "three")
    )
    tree = {"compose.yaml": f"services:\n{three}", "site/index.html": "page\n"}
    live.write(tree | {f"{name} conf/x": "old\n" for name in ("one", "two", "three")})
    (live.home / "releases" / RELEASE / "override.json").write_text("{}")
    real = live.folder.rename(live.root / "elsewhere")
    live.folder.symlink_to(real)  # a live folder that is a symlink
    live.compose("up", "--detach")
    if who != "root":
        not_root(live)
    assert look_at(live).drift.stale == ()
    (live.folder / "new").write_text("new\n")
    (live.folder / "new").rename(live.folder / "two conf/x")
    expected = (StaleMount("two", live.container("two"), "two conf/x"),)
    assert look_at(live).drift.stale == expected
    assert live.look().stale == expected


def test_stack_s_own_containers_are_looked_at_and_no_other_s(live: Live) -> None:
    live.write(TREE)
    live.compose("up", "--detach")
    replaced(live, "new\n")
    stacks = (make_stack("shop", live.project), make_stack("other", f"{live.project}x"))
    found = look(live.shell, live.root, *stacks)
    assert [one.path for one in found.stacks["shop"].drift.stale] == ["conf/a b.conf"]
    assert found.stacks["other"].drift.stale == ()
    assert found.containers_of(f"{live.project}x") == ()


# -------------------------------------------------------------------------------------------------- a full temp folder


@contextmanager
def full_folder(tmp_path: Path, kind: str) -> Iterator[Path]:
    """A folder that takes nothing: a tiny file system that is full, one that is read-only, or none at all."""
    folder = tmp_path / "full"
    if kind == "missing":
        yield folder
        return
    assert os.getuid() == 0, "mounting a tiny tmpfs needs root"
    folder.mkdir()
    subprocess.run(("mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder), check=True)
    try:
        if kind == "full":
            with pytest.raises(OSError), (folder / "filler").open("wb", buffering=0) as filler:
                while True:
                    filler.write(b"x" * 4096)
        else:
            subprocess.run(("mount", "-o", "remount,ro", folder), check=True)
        yield folder
    finally:
        subprocess.run(("umount", folder), check=True)


@pytest.mark.parametrize("kind", ["full", "read-only", "missing"])
@pytest.mark.parametrize("parallel", [False, True], ids=["in turn", "parallel"])
def test_batch_works_where_the_temp_folder_takes_nothing(
    shell: Shell, tmp_path: Path, kind: str, parallel: bool
) -> None:
    commands = [("readlink", "/proc/self/fd/1"), ("sh", "-c", "mktemp -d; exit 3")]
    text = batch.script(commands, parallel=parallel, stop=False, timeout=None)
    with full_folder(tmp_path, kind) as folder:
        env = shell.env() | {"TMPDIR": str(folder)}
        done = subprocess.run((*shell.sh, "-s"), input=text, env=env, capture_output=True, check=False)
        left = sorted(path.name for path in folder.iterdir()) if folder.exists() else []
    assert done.returncode == 0, done.stderr
    kept, made = list(ResultReader().feed(done.stdout))
    assert (kept.code, made.code) == (0, 3)
    assert re.fullmatch(r"/dev/shm/[^/]+/0\.o\n", kept.out)
    assert not Path(kept.out.strip()).parent.exists()
    assert made.out.startswith("/dev/shm/")  # what the commands make is there too
    Path(made.out.strip()).rmdir()
    assert left == (["filler"] if kind == "full" else [])


def test_survey_in_a_batch_gives_its_findings_where_the_temp_folder_is_full(live: Live, tmp_path: Path) -> None:
    live.write({"a": "1"})
    stacks = [make_stack("shop", live.project)]
    commands = survey.commands(str(live.root), stacks)
    text = batch.script(commands, parallel=True, stop=False, timeout=None)
    with full_folder(tmp_path, "full") as folder:
        env = live.shell.env() | {"TMPDIR": str(folder)}
        done = subprocess.run((*live.shell.sh, "-s"), input=text, env=env, capture_output=True, check=True)
    found = survey.parse(list(ResultReader().feed(done.stdout)), stacks, (0, 0))
    assert (found.engine.problem, found.stacks["shop"].current) == ("", RELEASE)
    assert found.engine.version != ""


def test_engine_s_api_is_asked_in_one_process(real_shell: Shell, tmp_path: Path) -> None:
    result = real_shell.command(engine_api.command("/info", "/nothing", "/networks"))
    info, nothing, networks = engine_api.parse(result.stdout, 3)
    assert info[0]["Driver"] != ""
    assert nothing == []
    assert {"bridge", "host", "none"} <= {network["Name"] for network in networks[0]}


# ------------------------------------------------------------------------------------------------- declared checks

STACK = make_stack("shop")


def run(
    shell: Shell, check: Check, root: Path = Path("stacks"), stack: Stack = STACK, cwd: Path | None = None
) -> Result:
    words = declared_commands.command(check, stack, str(root))
    assert words is not None
    return shell.command(words, cwd=cwd)


def test_command_s_code_and_output_come_back(shell: Shell) -> None:
    assert run(shell, Command("x", words=("sh", "-c", "echo out; echo err >&2; exit 3"))) == Result(3, b"out\nerr\n")
    assert run(shell, Command("x", words=("printf", "%s|", "a  b", "*", "$HOME"))).out == "a  b|*|$HOME|\n"


def test_command_that_takes_too_long_is_ended(shell: Shell) -> None:
    begun = time.monotonic()
    assert run(shell, Command("x", words=("sleep", "30"), timeout=1)).code in declared_commands.TOO_LATE
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize(("times", "code", "tried"), [(0, 1, 1), (1, 1, 2), (5, 0, 3)])
def test_command_is_tried_again_until_it_is_right(
    shell: Shell, tmp_path: Path, times: int, code: int, tried: int
) -> None:
    words = ("sh", "-c", f"cd {tmp_path}; echo x >>tries; [ $(wc -l <tries) -ge 3 ]")
    assert run(shell, Command("x", Retry(times, 0.01), words=words)).code == code
    assert (tmp_path / "tries").read_text().count("x") == tried


def test_command_is_tried_again_until_it_says_what_it_should(shell: Shell, tmp_path: Path) -> None:
    words = ("sh", "-c", f"cd {tmp_path}; echo x >>tries; cat tries")
    result = run(shell, Command("x", Retry(9, 0.01), words=words, contains="x\nx\nx"))
    assert result == Result(0, b"x\nx\nx\n")


def test_command_runs_in_a_service_and_says_when_there_is_none(live: Live) -> None:
    live.write(TREE)
    live.compose("up", "--detach", "web")
    stack = make_stack("shop", live.project)
    shell = live.shell
    inside = run(shell, Command("x", words=("sh", "-c", "echo $0 $(cat '/etc/a b.conf')"), service="web"), stack=stack)
    assert inside == Result(0, b"sh old\n")
    assert run(shell, Command("x", words=("false",), service="web"), stack=stack).code == 1
    assert run(shell, Command("x", words=("true",), service="plain"), stack=stack).code == declared_commands.NOT_RUNNING


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A root with the live folder of `shop`: backups of three ages, and files with odd names."""
    folder = tmp_path / "root" / "shop"
    (folder / "backup").mkdir(parents=True)
    for name, age in (("c.gz", 300), ("a.gz", 100), ("b b.gz", 200)):
        (folder / "backup" / name).write_text(name)
        os.utime(folder / "backup" / name, (time.time() - age,) * 2)
    (folder / "-x %n").write_text("odd")
    (folder / "-x %n").chmod(0o600)
    (folder / "link").symlink_to("nowhere")
    return tmp_path / "root"


def tell(shell: Shell, root: Path, path: str) -> list[str]:
    result = run(shell, File("x", path=path), root, cwd=root)
    assert result.ok, result
    return result.out.strip().split(" ", 4)


def test_newest_file_of_a_pattern_is_told(shell: Shell, files: Path) -> None:
    mode, owner, size, age, name = tell(shell, files, "backup/*.gz")
    assert (size, name) == ("4", "backup/a.gz")
    assert 99 <= float(age) <= 110
    assert (mode, owner) == ("644", Path("/").owner() if os.getuid() == 0 else owner)
    assert tell(shell, files, "backup/b*.gz")[4] == "backup/b b.gz"


def test_one_file_is_told_whatever_its_name(shell: Shell, files: Path) -> None:
    assert tell(shell, files, "./-x %n")[::4] == ["600", "./-x %n"]
    assert tell(shell, files, "-x %n")[4] == "-x %n"
    assert tell(shell, files, "link")[4] == "link"
    assert tell(shell, files, str(files / "shop" / "backup"))[4] == str(files / "shop" / "backup")


@pytest.mark.parametrize("path", ["none", "backup/*.zip", "/none/at/all"])
def test_file_that_is_not_there_is_told(shell: Shell, files: Path, path: str) -> None:
    assert run(shell, File("x", path=path), files).code == 2


def test_without_a_live_folder_nothing_is_looked_for_elsewhere(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    assert run(shell, File("x", path="data"), tmp_path / "none", cwd=tmp_path).code == 2
