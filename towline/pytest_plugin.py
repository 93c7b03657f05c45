"""Fixtures for tests of your own servers, over one login per host for the whole run.

pytest loads this in every run where towline is installed. So nothing slow is imported, no settings are read and nothing is
printed before a test uses a fixture. Works with pytest 7.4 to 9.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from towline.testing import HostUnderTest, StackUnderTest
    from towline.workspace import Workspace

OPTIONS = {
    "host": ("NAME", "host of towline.yaml; default: the stack's own, else default_host"),
    "config": ("FILE", "settings file to use in place of towline.yaml"),
}
FIXTURES = {"towline_host", "towline_stack"}
LINES = pytest.StashKey[list[str]]()  # for the terminal summary


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("towline", "towline: tests of your own servers")
    for name, (value, text) in OPTIONS.items():
        group.addoption(f"--towline-{name}", metavar=value, default="", help=text)
        parser.addini(f"towline_{name}", text, default="")


# --- the fixtures -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def _towline(pytestconfig: pytest.Config) -> Iterator[Workspace]:
    """The project that pytest was started in, else the one that its rootdir is in. Its connections end with the fixture."""
    from towline.ssh.connection import Connections
    from towline.workspace import Workspace

    notes: list[str] = []
    connections = Connections(note=notes.append)
    yield Workspace(
        host=_host(pytestconfig),
        config=_settings_file(pytestconfig),
        folders=(pytestconfig.invocation_params.dir, pytestconfig.rootpath),
        connections=connections,
    )
    connections.close()
    lines = [*notes, *(ledger.line() for ledger in connections.ledgers)]
    pytestconfig.stash.setdefault(LINES, []).extend(lines)


@pytest.fixture(scope="session")
def towline_host(_towline: Workspace) -> HostUnderTest:
    """The default host: .name, .run("uptime") or .run(["docker", "ps"]) → .ok, .code, .out, .err; .batch([…]), .connection."""
    from towline.testing import HostUnderTest

    return HostUnderTest(_towline.connection())


@pytest.fixture(scope="session")
def towline_stack(_towline: Workspace) -> Callable[[str], StackUnderTest]:
    """towline_stack("web"): .services, .containers(), .read_file(path), .service(name) → .running, .healthy, .exec(…)."""
    from towline.testing import stack_under_test

    return partial(stack_under_test, _towline)


def _host(config: pytest.Config) -> str:
    return str(config.getoption("towline_host") or config.getini("towline_host"))


def _settings_file(config: pytest.Config) -> str:
    """An absolute path, or ''. The option is relative to the folder that pytest was started in, the setting to its ini file."""
    option, ini = config.getoption("towline_config"), config.getini("towline_config")
    folder = config.inipath.parent if config.inipath and not option else config.invocation_params.dir
    return os.path.join(folder, os.path.expanduser(option or ini)) if option or ini else ""  # noqa: PTH111, PTH118  # ~nobody


# --- errors in one line -----------------------------------------------------------------------------------------------


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Report a TowlineError in a test that uses the fixtures as its message alone; with `--tb=short` also the test's line."""
    outcome: Any = yield
    style = item.config.getoption("tbstyle")
    if call.excinfo and style in ("auto", "short", "line") and FIXTURES.intersection(getattr(item, "fixturenames", ())):
        from towline.errors import TowlineError

        if isinstance(call.excinfo.value, TowlineError):
            outcome.get_result().longrepr = _short(call.excinfo, item, style)


def _short(error: pytest.ExceptionInfo[BaseException], item: pytest.Item, style: str) -> object:
    entries = error.traceback.filter(lambda entry: entry.path == item.path)
    error.traceback = entries or error.traceback  # no entry is in the test's file when a fixture of conftest.py failed
    return error.getrepr(style="short" if entries and style == "short" else "value", chain=False)


# --- the ledger's line ------------------------------------------------------------------------------------------------


@pytest.hookimpl(trylast=True)  # after the fixtures are torn down
def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker of pytest-xdist has no terminal: its lines are sent to the controller, which has one."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["towline"] = session.config.stash.get(LINES, [])


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    lines = getattr(node, "workeroutput", {}).get("towline", [])  # a worker that crashed has none
    node.config.stash.setdefault(LINES, []).extend(f"{node.gateway.id} {line}" for line in lines)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for line in config.stash.get(LINES, []):
        terminalreporter.write_line(f"towline: {line}")
