"""towline.ssh_manager, as scripts of the older system call it."""

from __future__ import annotations

import inspect
import os
import socket
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.integration.test_connection_sessions import commands_running
from towline import ssh_manager
from towline.errors import SettingsError
from towline.sandbox import Sandbox, sshd
from towline.sandbox.wait import wait_until
from towline.workspace import shared_connections

SETTINGS = """
hosts:
  shed: {{ssh: "{user}@127.0.0.1:{port}", identity: {identity}, known_hosts: {known_hosts}}}
"""


@pytest.fixture
def manager(tight: Sandbox, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The module, in the working folder of a project whose host is the sandbox; not connected yet."""
    text = SETTINGS.format(user=tight.user, port=tight.port, identity=tight.identity, known_hosts=tight.known_hosts)
    (tmp_path / "towline.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TOWLINE_CONFIG", raising=False)
    forget_connections()
    yield ssh_manager
    forget_connections()


def forget_connections() -> None:
    """As in a new process."""
    if shared_connections.cache_info().currsize:
        shared_connections().close()
    shared_connections.cache_clear()
    vars(ssh_manager.ssh_manager).pop("host", None)
    vars(ssh_manager.ssh_manager).pop("_workspace", None)


@pytest.fixture
def since(tight: Sandbox) -> int:
    return tight.log.stat().st_size


def test_example_of_the_documentation_runs(manager: ModuleType, tight: Sandbox, since: int) -> None:
    paragraphs = inspect.cleandoc(manager.__doc__ or "").split("\n\n")
    example = "\n\n".join(part for part in paragraphs if part.startswith("    "))
    assert "run_ssh_command" in example
    assert "ssh_session" in example
    names: dict[str, Any] = {}
    exec(textwrap.dedent(example), names)
    assert isinstance(names["ok"], bool)
    assert (isinstance(names["out"], str), isinstance(names["err"], str)) == (True, True)
    counts = sshd.count(tight.log, since)
    assert (counts.logins, counts.sessions, counts.peak) == (1, 3, 1)


def test_all_calls_share_one_login(manager: ModuleType, tight: Sandbox, since: int) -> None:
    assert manager.run_ssh_command("echo one") == (True, "one\n", "")
    assert manager.run_multiple_commands(["echo two", "echo three"]) == (True, "two\nthree\n", "")
    with manager.ssh_session() as session:
        session.add_command("echo four")
        session.add_command("echo five")
        assert session.execute() == (True, "four\nfive\n", "")
    counts = sshd.count(tight.log, since)
    assert (counts.connections, counts.logins, counts.sessions, counts.peak) == (1, 1, 3, 1)


def test_older_import_has_the_same_functions_and_attributes(manager: ModuleType, tight: Sandbox) -> None:
    from towline.ssh_manager import SSHManager
    from towline.ssh_manager import ssh_manager as older

    assert older.run_ssh_command("echo one") == manager.run_ssh_command("echo one") == (True, "one\n", "")
    assert (older.ssh_host, older.ssh_user) == (manager.ssh_host, manager.ssh_user) == ("127.0.0.1", tight.user)
    assert SSHManager().connection() is older.connection() is manager.connection()
    other = SSHManager("example.com:2222", "ann")
    assert (other.ssh_host, other.ssh_user, other.host.port) == ("example.com", "ann", 2222)
    with pytest.raises(AttributeError):
        _ = manager.ssh_port


def test_command_is_read_by_a_shell(manager: ModuleType) -> None:
    ok, out, err = manager.run_ssh_command("x='a  b'; printf '%s|' \"$x\" | tr a c; echo no >&2")
    assert (ok, out, err) == (True, "c  b|", "no\n")


def test_failure_is_told_with_what_it_said(manager: ModuleType) -> None:
    assert manager.run_ssh_command("echo half; echo why >&2; exit 3") == (False, "half\n", "why\n")


def test_bytes_that_are_no_text_are_replaced(manager: ModuleType) -> None:
    assert manager.run_ssh_command(r"printf 'a\377b'").stdout == "a�b"


def test_many_stop_at_the_first_failure(manager: ModuleType, tmp_path: Path) -> None:
    ok, out, _ = manager.run_multiple_commands(["echo one", "false", f"touch {tmp_path}/mark"])
    assert (ok, out) == (False, "one\n")
    assert not (tmp_path / "mark").exists()


def test_folder_and_variables_hold_for_the_commands_after(manager: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "a b").mkdir()
    ok, out, _ = manager.run_multiple_commands([f"cd '{tmp_path}/a b' # there", "x=1", 'pwd; echo "$x"'])
    assert (ok, out) == (True, f"{tmp_path}/a b\n1\n")


def test_the_next_call_starts_afresh(manager: ModuleType) -> None:
    manager.run_multiple_commands(["cd /", "x=1"])
    assert manager.run_ssh_command('echo "${x:-none}"').stdout == "none\n"


def test_no_commands_are_a_success_without_a_login(manager: ModuleType, tight: Sandbox, since: int) -> None:
    assert manager.run_multiple_commands([]) == (True, "", "")
    with manager.ssh_session() as session:
        assert session.execute() == (True, "", "")
    assert sshd.count(tight.log, since).connections == 0


def test_execute_runs_only_what_was_added_since(manager: ModuleType) -> None:
    with manager.ssh_session() as session:
        session.add_command("echo one")
        assert session.execute().stdout == "one\n"
        session.add_command("echo two")
        assert session.execute().stdout == "two\n"


def test_commands_that_were_added_are_run_at_the_end_of_the_block(manager: ModuleType) -> None:
    with manager.ssh_session() as session:
        session.add_command("echo one")
        session.add_command("false")
    assert session.answer == (False, "one\n", "")
    with manager.ssh_session(timeout=1) as session:
        session.add_command("sleep 30")
    assert session.answer == (False, "", "timed out after 1 s\n")


def test_error_in_the_block_leaves_them_alone(manager: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), manager.ssh_session() as session:
        session.add_command(f"touch {tmp_path}/mark")
        _ = 1 / 0
    assert not (tmp_path / "mark").exists()


def test_host_that_cannot_be_reached_is_an_answer(manager: ModuleType, tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # nobody listens
        text = f"hosts: {{shed: {{ssh: 'a@127.0.0.1:{closed.getsockname()[1]}'}}}}\n"
        (tmp_path / "towline.yaml").write_text(text)
        ok, out, err = manager.run_ssh_command("true")
    assert (ok, out) == (False, "")
    assert "127.0.0.1" in err
    assert manager.run_multiple_commands(["true"])[0] is False


@pytest.mark.parametrize("many", [False, True])
def test_overdue_command_is_ended_there_and_told(manager: ModuleType, many: bool) -> None:
    nap = f"3600.{os.getpid()}{int(many)}3"
    call = manager.run_multiple_commands if many else manager.run_ssh_command
    texts = ["echo begun", f"sleep {nap}"]
    ok, out, err = call(texts if many else "; ".join(texts), timeout=1)
    assert (ok, out, err) == (False, "begun\n", "timed out after 1 s\n")
    assert wait_until(lambda: f"sleep {nap}" not in commands_running(), 5)


def variables(box: Sandbox) -> dict[str, str]:
    """The host as SSH_… variables name it."""
    return {"SSH_HOST": "127.0.0.1", "SSH_USER": box.user, "SSH_PORT": str(box.port), "SSH_KEY": str(box.identity)}


def test_a_lone_env_file_is_enough(
    manager: ModuleType, tight: Sandbox, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "only-env"
    folder.mkdir()
    (home / ".ssh" / "known_hosts").write_text(tight.known_hosts.read_text())
    (folder / ".env").write_text("".join(f"{name}={value}\n" for name, value in variables(tight).items()))
    monkeypatch.chdir(folder)
    assert manager.run_ssh_command("echo there").stdout == "there\n"


def test_host_of_the_environment_counts_before_that_of_the_env_file(
    manager: ModuleType, tight: Sandbox, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    (home / ".ssh" / "known_hosts").write_text(tight.known_hosts.read_text())
    monkeypatch.chdir(folder)
    (tmp_path / "towline.yaml").unlink()
    for name, value in variables(tight).items():
        monkeypatch.setenv(name, value)
    assert manager.run_ssh_command("echo there").stdout == "there\n"


def test_project_of_the_scripts_own_folder_is_found(
    manager: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import __main__

    (tmp_path / "scripts").mkdir()
    monkeypatch.setattr(__main__, "__file__", str(tmp_path / "scripts" / "old.py"), raising=False)
    monkeypatch.chdir("/")
    assert manager.run_ssh_command("echo there").stdout == "there\n"


def test_wrong_settings_are_told_before_any_connection(manager: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "towline.yaml").write_text("hosts: {shed: {sssh: a@b}}\n")
    with pytest.raises(SettingsError, match="sssh"):
        manager.run_ssh_command("true")
