"""Fixtures for tests of your own servers, over one login a host for the whole run.

pytest loads this in every run where towline is installed. So nothing slow is imported, no settings are read and nothing is
said before a test uses a fixture. Works with pytest 7.4 to 9.
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
    "config": ("FILE", "settings file in place of towline.yaml"),
}
FIXTURES = {"towline_host", "towline_stack"}
LINES = pytest.StashKey[list[str]]()  # what the terminal summary says


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("towline", "towline: tests of your own servers")
    for name, (value, text) in OPTIONS.items():
        group.addoption(f"--towline-{name}", metavar=value, default="", help=text)
        parser.addini(f"towline_{name}", text, default="")


# --- the fixtures -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def _towline(pytestconfig: pytest.Config) -> Iterator[Workspace]:
    """The project that pytest was started in, else the one that its rootdir is in; connections of its own."""
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
    """The host: .name, .run("uptime") or .run(["docker", "ps"]) → .ok, .code, .out, .err; .batch([…]), .connection."""
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
    """An absolute path: the option's is relative to where pytest was started, the ini file's to that file. '' for none."""
    option, ini = config.getoption("towline_config"), config.getini("towline_config")
    folder = config.inipath.parent if config.inipath and not option else config.invocation_params.dir
    return os.path.join(folder, os.path.expanduser(option or ini)) if option or ini else ""  # noqa: PTH111, PTH118  # ~nobody


# --- errors in one line -----------------------------------------------------------------------------------------------


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """A TowlineError in a test that uses the fixtures is its message; with `--tb=short` the test's line, too."""
    outcome: Any = yield
    style = item.config.getoption("tbstyle")
    if call.excinfo and style in ("auto", "short", "line") and FIXTURES.intersection(getattr(item, "fixturenames", ())):
        from towline.errors import TowlineError

        if isinstance(call.excinfo.value, TowlineError):
            outcome.get_result().longrepr = _short(call.excinfo, item, style)


def _short(error: pytest.ExceptionInfo[BaseException], item: pytest.Item, style: str) -> object:
    own = error.traceback.filter(lambda entry: entry.path == item.path)
    error.traceback = own or error.traceback  # none is the test's own when a fixture of conftest.py failed
    return error.getrepr(style="short" if own and style == "short" else "value", chain=False)


# --- the ledger's line ------------------------------------------------------------------------------------------------


@pytest.hookimpl(trylast=True)  # after the fixtures are torn down
def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker of pytest-xdist has no terminal: its lines travel to the one that has."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["towline"] = session.config.stash.get(LINES, [])


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    lines = getattr(node, "workeroutput", {}).get("towline", [])  # none of a worker that crashed
    node.config.stash.setdefault(LINES, []).extend(f"{node.gateway.id} {line}" for line in lines)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for line in config.stash.get(LINES, []):
        terminalreporter.write_line(f"towline: {line}")
