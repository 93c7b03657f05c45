"""What the sandbox would install: apt sources are read, recipes planned, nothing is run."""

from __future__ import annotations

from pathlib import Path

import pytest

from towline.errors import TowlineError
from towline.sandbox import engine, sshd
from towline.sandbox.packages import (
    Recipe,
    Source,
    System,
    install,
    parse_deb822,
    parse_list,
    parse_system,
    read_sources,
)

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
MIRROR = "http://mirror.example/debian"
BOOKWORM = System("debian", codename="bookworm", name="Debian GNU/Linux 12 (bookworm)")
TRIXIE = System("debian", codename="trixie")
UBUNTU = System("ubuntu", ("debian",), "noble")
FEDORA = System("fedora", name="Fedora Linux 42")

DEB822 = f"""\
Types: deb
# a comment inside a stanza
URIs: {MIRROR}
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: {KEYRING}

Types: deb deb-src
Enabled: no
URIs: {MIRROR}
Suites: bookworm-backports
Components: main

Types: deb
URIs: http://other.example/apt
Suites: bookworm
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 xsFNBF
 -----END PGP PUBLIC KEY BLOCK-----
"""
LIST = f"""\
# deb http://off.example bookworm main
deb-src {MIRROR} bookworm main
deb [arch=amd64 signed-by={KEYRING}] {MIRROR} bookworm main contrib # ours
deb {MIRROR} bookworm-updates main
"""
OWN = [
    Source("http://vpn.example/stable/debian", "bookworm", ("main",), "/usr/share/keyrings/vpn.gpg"),
    Source(MIRROR, "bookworm", ("main", "contrib"), KEYRING),
    Source(MIRROR + "-security", "bookworm-security", ("main",), KEYRING),
    Source("http://engine.example", "bookworm", ("stable",), "/etc/apt/keyrings/engine.asc"),
]


@pytest.fixture
def said() -> list[str]:
    return []


def test_os_release_is_parsed() -> None:
    text = 'PRETTY_NAME="Linux Mint 22"\nID=linuxmint\nID_LIKE="ubuntu debian"\nVERSION_CODENAME=wilma\n'
    assert parse_system(text) == System("linuxmint", ("ubuntu", "debian"), "wilma", "Linux Mint 22")


def test_deb822_sources_are_read_without_the_disabled_and_with_comments_inside() -> None:
    assert list(parse_deb822(DEB822)) == [
        Source(MIRROR, "bookworm", ("main", "contrib"), KEYRING),
        Source(MIRROR, "bookworm-updates", ("main", "contrib"), KEYRING),
        Source("http://other.example/apt", "bookworm", ("main",), ""),
    ]


def test_one_line_sources_are_read_without_comments_and_source_packages() -> None:
    assert list(parse_list(LIST)) == [
        Source(MIRROR, "bookworm", ("main", "contrib"), KEYRING),
        Source(MIRROR, "bookworm-updates", ("main",), ""),
    ]


def test_sources_come_from_every_file_but_no_cd(tmp_path: Path) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list").write_text("deb cdrom:[Debian]/ bookworm main\n", encoding="utf-8")
    (tmp_path / "sources.list.d" / "a.list").write_text(LIST, encoding="utf-8")
    (tmp_path / "sources.list.d" / "b.sources").write_text(DEB822, encoding="utf-8")
    assert [source.suite for source in read_sources(tmp_path)] == [
        "bookworm",
        "bookworm-updates",
        "bookworm",
        "bookworm-updates",
        "bookworm",
    ]


def test_debian_13_takes_its_own_engine() -> None:
    packages = "docker.io docker-cli iptables ca-certificates docker-compose docker-buildx"
    assert engine.plan_install(TRIXIE, []).lines()[-1].endswith(f" --no-install-recommends {packages}")


def test_ubuntu_takes_its_own_engine() -> None:
    assert engine.plan_install(UBUNTU, []).commands == (
        ("apt-get", "-q", "update"),
        ("apt-get", "-q", "-o", "DPkg::Lock::Timeout=120", "install", "-y", "--no-install-recommends",
         "docker.io", "iptables", "ca-certificates", "docker-compose-v2", "docker-buildx"),
    )  # fmt: skip


def test_running_engine_without_compose_gets_compose_only() -> None:
    assert engine.plan_install(TRIXIE, [], engine=False).commands[-1][-3:] == (
        "--no-install-recommends",
        "docker-compose",
        "docker-buildx",
    )


def test_debian_12_takes_only_the_engine_from_the_newer_suite_of_its_own_mirror() -> None:
    recipe = engine.plan_install(BOOKWORM, OWN)
    sources = list(parse_deb822(recipe.files[engine.APT_FOLDER / "towline.sources"]))
    assert sources == [*OWN[1:3], Source(MIRROR, "forky", ("main",), KEYRING)]
    pins = recipe.files[engine.APT_FOLDER / "preferences"].split("\n\n")
    assert pins[1] == "Package: *\nPin: release n=forky\nPin-Priority: -1\n"
    assert not any("/etc/apt" in word for command in recipe.commands for word in command)


def test_debian_12_without_a_debian_source_says_so() -> None:
    with pytest.raises(TowlineError, match="no Debian source for bookworm"):
        engine.plan_install(BOOKWORM, OWN[:1])


def test_debian_11_is_not_tried() -> None:
    assert engine.plan_install(System("debian", codename="bullseye"), OWN).by_hand == (engine.ANYWHERE,)


def test_sshd_is_installed_with_its_own_service_kept_off() -> None:
    recipe = sshd.plan_install(BOOKWORM)
    assert list(recipe.files) == [Path("/etc/ssh/sshd_not_to_be_run")]
    assert recipe.commands[-1][-1] == "openssh-server"


def test_other_system_gets_its_own_commands(said: list[str]) -> None:
    recipes = [sshd.plan_install(FEDORA), engine.plan_install(FEDORA, [])]
    with pytest.raises(TowlineError) as caught:
        install(recipes, said.append, FEDORA)
    assert caught.value.message.startswith("missing: openssh-server and Docker Engine with compose v2 (")
    assert caught.value.hint.splitlines() == [
        "run:",
        "sudo dnf install -y openssh-server",
        "sudo dnf install -y moby-engine docker-compose docker-buildx",
    ]
    assert said == []


def test_user_who_is_not_root_gets_every_command_once(monkeypatch: pytest.MonkeyPatch, said: list[str]) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(TowlineError, match="only root can install") as caught:
        install([sshd.plan_install(TRIXIE), engine.plan_install(TRIXIE, [])], said.append, TRIXIE)
    lines = caught.value.hint.splitlines()
    assert lines.count("sudo apt-get -q update") == 1
    assert all(line.startswith(("sudo ", "printf ", "'", "run:")) for line in lines)


def test_nothing_missing_needs_no_root(monkeypatch: pytest.MonkeyPatch, said: list[str]) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    install([], said.append, FEDORA)
    assert said == []


def test_lines_by_hand_write_the_same_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    recipe = Recipe("x", commands=(("do", "it now"),), files={Path("/a b/c"): "it's\n"})
    assert recipe.lines() == [
        "mkdir -p '/a b'",
        "printf %s 'it'\"'\"'s\n' | tee '/a b/c' >/dev/null",
        "do 'it now'",
    ]
