"""What `inv test` installs for the tests of the page, as values."""

from __future__ import annotations

import pytest

from towline.cli import suite
from towline.sandbox import packages
from towline.sandbox.packages import System

INSTALL = "apt-get -q -o DPkg::Lock::Timeout=120 install -y --no-install-recommends chromium-headless-shell"


def on(monkeypatch: pytest.MonkeyPatch, system: str, *programs: str) -> None:
    monkeypatch.setattr(packages, "read_system", lambda: System(system))
    monkeypatch.setattr(packages, "find_program", lambda name: f"/usr/bin/{name}" if name in programs else None)


def test_browser_on_debian_is_the_one_without_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    on(monkeypatch, "debian")
    recipe = suite.missing_browser()
    assert recipe
    assert [" ".join(command) for command in recipe.commands] == ["apt-get -q update", INSTALL]


def test_browser_on_ubuntu_is_its_drivers_own(monkeypatch: pytest.MonkeyPatch) -> None:
    on(monkeypatch, "ubuntu")
    recipe = suite.missing_browser()
    assert recipe
    assert [command[1:] for command in recipe.commands] == [
        ("-m", "playwright", "install", "--with-deps", "--only-shell", "chromium")
    ]


@pytest.mark.parametrize("program", suite.BROWSERS)
def test_any_chromium_that_is_there_will_do(program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    on(monkeypatch, "debian", program)
    assert suite.find_browser() == f"/usr/bin/{program}"
    assert suite.missing_browser() is None
