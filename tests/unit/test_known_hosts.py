"""Which keys known_hosts files pin, as OpenSSH reads them; a line that is none ends nothing."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
from pathlib import Path
from typing import cast

import paramiko
import pytest

from towline.errors import HostKeyChanged, HostKeyRevoked, HostKeyUnknown
from towline.ssh.known_hosts import KnownHosts, parse, read_known_hosts


class Key:
    def __init__(self, text: str, kind: str = "ssh-ed25519") -> None:
        self.bytes, self.kind = text.encode(), kind

    def asbytes(self) -> bytes:
        return self.bytes

    def get_name(self) -> str:
        return self.kind

    def get_base64(self) -> str:
        return base64.b64encode(self.bytes).decode()

    @property
    def text(self) -> str:
        return f"{self.kind} {self.get_base64()}"


ONE, TWO, RSA = Key("one"), Key("two"), Key("three", "ssh-rsa")


def known(*lines: str | bytes) -> KnownHosts:
    content = b"\n".join(line if isinstance(line, bytes) else line.encode() for line in lines)
    return KnownHosts(parse(content, "hosts"))


def check(hosts: KnownHosts, host: str, key: Key) -> None:
    hosts.check(host, cast("paramiko.PKey", key))


def hashed(host: str) -> str:
    salt = b"0123456789abcdefghij"
    digest = hmac.new(salt, host.encode(), hashlib.sha1).digest()
    return f"|1|{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()}"


@pytest.mark.parametrize(
    ("line", "host"),
    [
        (f"shed {ONE.text}", "shed"),
        (f"shed {ONE.text} a comment", "shed"),
        (f"  shed\t{ONE.text}\r", "shed"),
        (f"SHED.example {ONE.text}", "shed.EXAMPLE"),
        (f"a,shed,b {ONE.text}", "shed"),
        (f"*.example {ONE.text}", "a.example"),
        (f"sh?d {ONE.text}", "shed"),
        (f"*,!bad.example {ONE.text}", "good.example"),
        (f"[shed]:2222 {ONE.text}", "[shed]:2222"),
        (f"[*.example]:2222 {ONE.text}", "[a.example]:2222"),
        (f"shed {ONE.text}", "[shed]:2222"),
        (f"{hashed('shed')} {ONE.text}", "shed"),
        (f"{hashed('[shed]:2222')} {ONE.text}", "[shed]:2222"),
        (b"shed " + ONE.text.encode() + b" caf\xe9 \xff\xfe", "shed"),
    ],
)
def test_pinned_key_is_taken(line: str | bytes, host: str) -> None:
    check(known("# caf\u00e9", b"# caf\xe9", "", line), host, ONE)


@pytest.mark.parametrize(
    ("line", "host"),
    [
        (f"shed {ONE.text}", "shed2"),
        (f"sh.d {ONE.text}", "shed"),
        (f"*,!shed {ONE.text}", "shed"),
        (f"[shed]:2222 {ONE.text}", "shed"),
        (f"[shed]:2222 {ONE.text}", "[shed]:2223"),
        (f"[hs]ed {ONE.text}", "hed"),
        (f"{hashed('other')} {ONE.text}", "shed"),
        (f"|1|x {ONE.text}", "shed"),
        (f"@unknown shed {ONE.text}", "shed"),
        ("shed", "shed"),
        (b"\xff\xfe\x00", "shed"),
    ],
)
def test_key_of_another_host_or_of_none_is_unknown(line: str | bytes, host: str) -> None:
    with pytest.raises(HostKeyUnknown):
        check(known(line), host, ONE)


def test_each_of_several_keys_of_a_type_counts() -> None:
    hosts = known(f"shed {ONE.text}", f"shed {TWO.text}", f"shed {RSA.text}")
    for key in (ONE, TWO, RSA):
        check(hosts, "shed", key)
    with pytest.raises(HostKeyChanged, match=r"pinned ssh-ed25519 SHA256:\S+ or ssh-ed25519 SHA256:\S+, now .*hosts:1"):
        check(hosts, "shed", Key("four"))


def test_pinned_types_are_asked_for() -> None:
    assert known(f"shed {ONE.text}", f"@revoked shed {RSA.text}").key_types("shed") == {"ssh-ed25519"}
    assert known(f"shed {RSA.text}").key_types("shed") == {"ssh-rsa", "rsa-sha2-256", "rsa-sha2-512"}


def test_own_port_comes_before_the_name_alone() -> None:
    hosts = known(f"shed {ONE.text}", f"[shed]:2222 {TWO.text}")
    check(hosts, "[shed]:2222", TWO)
    with pytest.raises(HostKeyChanged) as caught:
        check(hosts, "[shed]:2222", ONE)
    assert "ssh-keygen -R '[shed]:2222'" in caught.value.hint
    with pytest.raises(HostKeyChanged) as caught:
        check(known(f"shed {ONE.text}"), "[shed]:2222", TWO)
    assert caught.value.hint.endswith("ssh-keygen -R shed")


@pytest.mark.parametrize(
    "line", [f"@revoked * {ONE.text}", f"@revoked shed {ONE.text}", f"@revoked [shed]:2222 {ONE.text}"]
)
def test_revoked_key_is_refused_though_it_is_pinned(line: str) -> None:
    host = "[shed]:2222" if "2222" in line else "shed"
    with pytest.raises(HostKeyRevoked, match="hosts:2") as caught:
        check(known(f"{host} {ONE.text}", line), host, ONE)
    assert caught.value.exit_code == 3
    check(known(f"{host} {TWO.text}", line), host, TWO)


def test_revoked_line_that_cannot_be_read_refuses_every_key() -> None:
    with pytest.raises(HostKeyRevoked, match="cannot be read"):
        check(known(f"shed {ONE.text}", "@revoked shed ssh-ed25519 !!!"), "shed", ONE)


def test_certificate_authority_is_told_and_pins_no_key() -> None:
    with pytest.raises(HostKeyUnknown, match=r"hosts:1: an authority is trusted for it, but it showed no certificate"):
        check(known(f"@cert-authority *.example {ONE.text}"), "a.example", ONE)
    check(known(f"@cert-authority *.example {TWO.text}", f"a.example {ONE.text}"), "a.example", ONE)


def test_line_of_the_host_that_cannot_be_read_is_named() -> None:
    with pytest.raises(HostKeyUnknown, match=r"hosts:2: its key cannot be read"):
        check(known("other ssh-ed25519 !!!", "shed ssh-ed25519 AAA=!"), "shed", ONE)


def test_those_of_the_files_that_are_there_are_read(tmp_path: Path) -> None:
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "known_hosts").write_text(f"a {ONE.text}\n")
    (tmp_path / "more").write_text(f"b {TWO.text}\n")
    os.mkfifo(tmp_path / ".ssh" / "known_hosts2")
    own = tmp_path / ".ssh" / "known_hosts"
    hosts = read_known_hosts([own, own.with_name("known_hosts2"), tmp_path / "more", tmp_path / "none", tmp_path])
    check(hosts, "a", ONE)
    check(hosts, "b", TWO)


def test_file_that_cannot_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hosts").touch()

    def refuse(_file: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(HostKeyUnknown, match="hosts: Permission denied"):
        check(read_known_hosts([tmp_path / "hosts"]), "shed", ONE)
