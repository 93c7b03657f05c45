"""The sandbox's sshd settings and folder, without an sshd."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from towline.errors import TowlineError
from towline.sandbox import default_folder, down, read_status, sshd


def test_settings_let_in_one_user_with_a_key_and_nothing_of_etc_ssh() -> None:
    text = sshd.render_config(sshd.Files(Path("/s p/50%")), "u", 2222, sshd.Limits(1, 3))
    lines = text.splitlines()
    assert {"Port 2222", "ListenAddress 127.0.0.1", "AllowUsers u", "MaxSessions 1", "MaxStartups 3"} <= set(lines)
    assert 'AuthorizedKeysFile "/s p/50%%/authorized_keys"' in lines
    assert 'HostKey "/s p/50%/host_ed25519"' in lines
    assert not any("AcceptEnv" in line or "Include" in line for line in lines)


def test_limits_and_port_are_read_back_from_the_settings(tmp_path: Path) -> None:
    files = sshd.Files(tmp_path)
    assert (sshd.read_limits(files), sshd.read_port(files)) == (None, None)
    files.config.write_text(sshd.render_config(files, "u", 2222, sshd.Limits(1, 3)), encoding="utf-8")
    assert (sshd.read_limits(files), sshd.read_port(files)) == (sshd.Limits(1, 3), 2222)


def test_former_port_is_kept_if_free_and_replaced_if_taken() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = int(other.getsockname()[1])
        assert sshd.choose_port(taken) != taken
    assert sshd.choose_port(taken) == taken


def test_pid_of_another_process_is_not_ours(tmp_path: Path) -> None:
    files = sshd.Files(tmp_path)
    files.pid.write_text("1\n", encoding="ascii")
    assert sshd.read_pid(files) is None
    assert down(tmp_path) is False


def test_missing_folder_is_not_running(tmp_path: Path) -> None:
    assert read_status(tmp_path / "none") is None
    assert down(tmp_path / "none") is False


def test_locked_account_is_an_error_with_the_command_that_unlocks_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sshd, "read_user", lambda: "u")
    shadow = tmp_path / "shadow"
    shadow.write_text("root:*:1:0:::::\nu:!:1:0:::::\n", encoding="utf-8")
    with pytest.raises(TowlineError) as caught:
        sshd.refuse_locked_account(shadow)
    assert "usermod -p '*' u" in caught.value.hint
    shadow.write_text("root:!:1:0:::::\nu:*:1:0:::::\n", encoding="utf-8")
    sshd.refuse_locked_account(shadow)


def test_folder_follows_xdg_only_if_absolute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/u")
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    assert default_folder() == Path("/state/towline/sandbox")
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    assert default_folder() == Path("/home/u/.local/state/towline/sandbox")
