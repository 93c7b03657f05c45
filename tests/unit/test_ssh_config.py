"""~/.ssh/config where there is no OpenSSH client: what is wrong in it is one line with file and number."""

from __future__ import annotations

from pathlib import Path

import pytest

from towline.deploy.upload import sender
from towline.errors import SettingsError
from towline.project.settings import Host
from towline.ssh.client_settings import parse_dump, parse_options
from towline.ssh.login import build_connection

SHED = Host("shed", "shed")


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("shutil.which", lambda _name: None)
    (tmp_path / ".ssh").mkdir()
    return tmp_path / ".ssh" / "config"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("Host shed\n  Port abc\n", "~/.ssh/config:2: 'Port abc': expected a number"),
        ("Host shed\n  Port=22x\n", "~/.ssh/config:2: 'Port=22x': expected a number"),
        ('Host "shed\n  Port 22\n', "~/.ssh/config:1: 'Host \"shed' cannot be read"),
        ("Host shed\nMatch nonsense\n", "~/.ssh/config:2: 'Match nonsense' cannot be read"),
        ("Host shed\n  justaword\n", "~/.ssh/config:2: 'justaword' cannot be read"),
        ("CanonicalizeHostname yes\n", "~/.ssh/config: cannot be used"),
        ("CanonicalizeHostname yes\nCanonicalizeMaxDots x\n", "~/.ssh/config:2"),
    ],
)
def test_what_is_wrong_is_one_line(config: Path, text: str, says: str) -> None:
    config.write_text(text)
    with pytest.raises(SettingsError) as caught:
        build_connection(SHED)
    assert str(caught.value).startswith(says)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    "text",
    [
        b"# caf\xe9\nHost shed\n  Port 2222\n",
        b"\xef\xbb\xbfHost shed\r\n  Port 2222\r\n",
        b"Host shed\n  NoSuchDirective yes\n  Port 2222 \n",
        b"Host shed\n  Port 2222\nHost other\n  HostName caf\xe9\n",
    ],
)
def test_what_is_not_about_the_host_ends_nothing(config: Path, text: bytes) -> None:
    config.write_bytes(text)
    assert build_connection(SHED).port == 2222


def test_folder_in_its_place_is_no_config(config: Path) -> None:
    config.mkdir()
    assert build_connection(SHED).port == 22


def test_file_that_cannot_be_read_is_told(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config.touch()

    def refuse(_file: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(SettingsError, match=r"~/\.ssh/config: cannot be read: Permission denied"):
        build_connection(SHED)


def test_user_without_a_name_is_told_to_name_one(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container that was started with a user id of its own."""

    def nobody(_uid: int) -> None:
        raise KeyError("uid not found")

    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "x")
        monkeypatch.delenv(name)
    monkeypatch.setattr("pwd.getpwuid", nobody)
    with pytest.raises(SettingsError, match="no user to log in as") as caught:
        build_connection(SHED)
    assert "ssh: USER@shed" in caught.value.hint
    monkeypatch.delenv("LOGNAME")
    config.write_text("Host shed\n  User ann\n")
    assert build_connection(SHED).user == "ann"
    assert build_connection(Host("shed", "shed", user="bob")).user == "bob"
    monkeypatch.delenv("LOGNAME")
    assert sender().startswith("uid-")


def test_known_hosts_file_may_have_blanks_in_its_path(tmp_path: Path) -> None:
    """`ssh -G` (9.2) writes such a path without quotes."""
    file = tmp_path / "First Last" / "known hosts"
    file.parent.mkdir()
    file.touch()
    dump = f"hostname shed\nport 22\nuser ann\nuserknownhostsfile /gone {file} /other\n"
    assert parse_options(parse_dump(dump), "shed").known_hosts == (Path("/gone"), file, Path("/other"))
