"""The sandbox's real sshd, used with the real OpenSSH client and with paramiko."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import paramiko
import pytest

from towline import sandbox
from towline.errors import TowlineError
from towline.sandbox import Sandbox, sshd
from towline.sandbox.wait import wait_until

Up = Callable[..., Sandbox]


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    """`sandbox.up` in a folder of its own (with a space in its name), and `sandbox.down` afterwards."""
    folder = tmp_path / "a box"

    def start(**limits: int) -> Sandbox:
        return sandbox.up(folder=folder, engine=False, limits=sshd.Limits(**limits), say=lambda _: None)  # type: ignore[arg-type]

    yield start
    sandbox.down(folder)


def openssh(box: Sandbox, *command: str, **changes: Path) -> subprocess.CompletedProcess[str]:
    ssh = shutil.which("ssh")
    assert ssh, "the OpenSSH client is missing: apt-get install -y openssh-client"
    words = [ssh, "-F", "none", "-n", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-p", str(box.port)]
    words += ["-o", f'UserKnownHostsFile="{changes.get("known_hosts", box.known_hosts)}"']
    words += ["-o", "GlobalKnownHostsFile=/dev/null", "-o", "StrictHostKeyChecking=yes"]
    words += ["-i", str(changes.get("identity", box.identity)), f"{box.user}@127.0.0.1", *command]
    return subprocess.run(words, capture_output=True, text=True, check=False)


def log_in(box: Sandbox) -> paramiko.SSHClient:
    client = paramiko.SSHClient()
    client.load_host_keys(str(box.known_hosts))
    client.connect(
        "127.0.0.1",
        box.port,
        box.user,
        key_filename=str(box.identity),
        look_for_keys=False,
        allow_agent=False,
    )
    return client


def test_one_command_is_one_login_and_one_session(up: Up) -> None:
    box = up()
    assert openssh(box, "true").returncode == 0
    assert wait_until(lambda: sshd.count(box.log).sessions == 1, 5)
    assert sshd.count(box.log) == sshd.Counts(connections=1, logins=1, sessions=1, peak=1)


def test_third_session_is_refused_and_counted(up: Up) -> None:
    box = up()
    with log_in(box) as client:
        first, _, _ = client.exec_command("cat")
        second, _, _ = client.exec_command("cat")
        with pytest.raises(paramiko.ChannelException) as caught:
            client.exec_command("true")
        assert caught.value.code == 2
        first.channel.close()
        second.channel.close()
    assert sshd.count(box.log) == sshd.Counts(connections=1, logins=1, sessions=2, peak=2, refused=1)


def test_second_session_is_refused_at_max_sessions_1(up: Up) -> None:
    box = up(max_sessions=1, max_startups=1)
    with log_in(box) as client:
        held, _, _ = client.exec_command("cat")
        with pytest.raises(paramiko.ChannelException):
            client.exec_command("true")
        held.channel.close()


def test_up_again_keeps_the_process(up: Up) -> None:
    box = up()
    assert up() == box
    assert sandbox.read_status(box.folder) == box


def test_other_limits_restart_it_on_the_same_port_with_the_same_keys(up: Up) -> None:
    before = up()
    identity = before.identity.read_bytes()
    after = up(max_sessions=1)
    assert after.pid != before.pid
    assert (after.port, after.identity.read_bytes()) == (before.port, identity)
    assert openssh(after, "true").returncode == 0


def test_down_stops_exactly_that_process_and_keeps_the_files(up: Up, tmp_path: Path) -> None:
    box = up()
    other = sandbox.up(folder=tmp_path / "other", engine=False, say=lambda _: None)
    try:
        assert sandbox.down(box.folder) is True
        assert sandbox.down(box.folder) is False
        assert sandbox.read_status(box.folder) is None
        assert box.identity.exists()
        assert sandbox.read_status(other.folder) == other
        assert openssh(other, "true").returncode == 0
    finally:
        sandbox.down(other.folder)


def test_sshd_runs_in_a_process_session_of_its_own(up: Up) -> None:
    assert os.getsid(up().pid) != os.getsid(0)


def test_session_gets_a_plain_environment(up: Up, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOWLINE_SECRET", "x")
    assert "TOWLINE_SECRET" not in openssh(up(), "env").stdout


def test_another_key_and_another_host_key_are_refused(up: Up, tmp_path: Path) -> None:
    box = up()
    assert openssh(box, "true", identity=box.folder / "host_ed25519").returncode == 255
    wrong = tmp_path / "known_hosts"
    key = (box.folder / "id_ed25519.pub").read_text(encoding="ascii")
    wrong.write_text(f"[127.0.0.1]:{box.port} {key}", encoding="ascii")
    assert "REMOTE HOST IDENTIFICATION HAS CHANGED" in openssh(box, "true", known_hosts=wrong).stderr


def test_private_files_are_private(up: Up) -> None:
    box = up()
    paths = (box.folder, box.identity, box.folder / "host_ed25519")
    assert [oct(path.stat().st_mode & 0o777) for path in paths] == ["0o700", "0o600", "0o600"]


def test_settings_that_sshd_refuses_are_an_error_with_its_message(up: Up) -> None:
    with pytest.raises(TowlineError, match=r"(?s)sshd refuses its settings.*line \d+"):
        up(max_startups=0)


def test_sandbox_is_a_host(up: Up) -> None:
    box = up()
    host = box.host()
    assert (host.name, host.address, host.port, host.user) == ("sandbox", "127.0.0.1", box.port, box.user)
    assert (host.identity, host.known_hosts, host.root) == (box.identity, (box.known_hosts,), str(box.root))
