"""Foreign text reaches the terminal printable, whoever prints it; a stream that takes nothing ends no task."""

from __future__ import annotations

import ast
import io
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.unit.test_layers import modules
from towline import terminal
from towline.deploy.events import Event
from towline.deploy.planning.comparison import ServicePlan
from towline.deploy.planning.plan import Plan
from towline.deploy.runner import Outcome
from towline.errors import TowlineError
from towline.report.console import console
from towline.report.deploy_view import DeployView
from towline.report.tables import as_json, as_table

HOSTILE = "\x1b[31mred\x1b[0m \x1b]52;c;aGk=\x07\x1b]0;title\x07\x1b[2J\x9b2J\x9d0;t\x9c \u202eRTL\u2066\u200f\u200b"
HOSTILE += " \b\r\x07 [/] [bold"
FORBIDDEN = set(HOSTILE) - set(" ;/[]") - set(map(chr, range(0x20, 0x7F)))


# --- nobody goes round it -------------------------------------------------------------------------------------------


def calls(file: Path) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


@pytest.mark.parametrize(("module", "file"), list(modules()), ids=lambda value: value if isinstance(value, str) else "")
def test_only_the_terminal_writes_to_the_streams(module: str, file: Path) -> None:
    """A new message cannot forget to be made printable: there is no other way to show it."""
    names = {"print", "sys.stdout.write", "sys.stderr.write", "os.write", "Console", "rich.print"}
    found = {name for name, _ in calls(file) if name in names}
    streams = {
        ast.unparse(node)
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and ast.unparse(node) in ("sys.stdout", "sys.stderr")
    }
    texts = [node for name, node in calls(file) if name == "Exit" and node.args]
    if module not in ("towline.terminal",):
        assert (found, streams, texts) == (set(), set(), [])


# --- what is shown --------------------------------------------------------------------------------------------------


def harmless(text: str) -> bool:
    return not FORBIDDEN & set(text.replace("\n", ""))


def test_lines_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.say(HOSTILE)
    terminal.show(HOSTILE)
    out, err = capsys.readouterr()
    assert harmless(out) and harmless(err)
    assert "red" in out and "red" in err


def test_error_as_text_is_printable() -> None:
    assert harmless(str(TowlineError(HOSTILE, HOSTILE)))


def test_json_keeps_every_byte_and_shows_none() -> None:
    text = as_json([{"name": HOSTILE + "\x7f\ud800\U000e0041ü"}])
    assert harmless(text)
    assert "ü" in text
    assert json.loads(text) == [{"name": HOSTILE + "\x7f\ud800\U000e0041ü"}]


def test_cell_of_a_table_is_one_line() -> None:
    table = as_table([{"name": f"a\nb\t{HOSTILE}", "all": ["x\ny"]}], ["name", "all"])
    assert len(table.splitlines()) == 2
    assert harmless(table)


Shown = Callable[[], list[str]]


@pytest.fixture
def shown(capsys: pytest.CaptureFixture[str]) -> Shown:
    """The lines on stderr, which are harmless."""

    def lines() -> list[str]:
        text = capsys.readouterr().err
        assert harmless(text)
        return text.splitlines()

    return lines


EVENTS = (
    "step",
    "restore",
    "stale",
    "rebuild",
    "aside",
    "network",
    "waiting",
    "unhealthy",
    "log",
    "unreadable",
    "x",
    HOSTILE,
)
KEYS = ("name", "state", "code", "output", "after", "release", "service", "path", "kept", "holder", "why", "line")


@pytest.mark.parametrize("name", EVENTS)
@pytest.mark.parametrize("keys", [KEYS, ()], ids=["hostile", "empty"])
def test_any_event_is_shown_as_a_line_or_passed_over(shown: Shown, name: str, keys: tuple[str, ...]) -> None:
    with DeployView(str, verbose=True) as view:
        view.event(Event(name, 1.0, dict.fromkeys(keys, HOSTILE)))
    assert len(shown()) <= 1


def test_plan_is_shown_a_line_each(shown: Shown) -> None:
    services = (ServicePlan(HOSTILE, "recreate", (HOSTILE, f"a\n{HOSTILE}")),)
    with DeployView(str) as view:
        view.planned(
            Plan(HOSTILE, "p", HOSTILE, HOSTILE, HOSTILE, strategy="update", services=services, notes=(HOSTILE,))
        )
        view.note(f"{HOSTILE}\nerror: forged")
    assert len(shown()) == 4


def test_output_is_shown_line_by_line(shown: Shown) -> None:
    with DeployView(str, verbose=True) as view:
        view.output(f"{HOSTILE}\n10%\r20%\r\n\xff\n".encode("latin-1", errors="replace"))
    assert [line for line in shown() if "20%" in line] == ["    │ 20%"]


def test_end_of_a_run_without_events_is_told(shown: Shown) -> None:
    with DeployView(str) as view:
        view.ended(Plan("web", "web", "r", "r", ""), Outcome(result="deployed"))
    assert "web runs and is healthy" in shown()[0]


def test_what_looks_like_markup_ends_no_print(shown: Shown) -> None:
    console(stderr=True).print("[/] and [red")
    assert shown() == ["[/] and [red"]


# --- streams that take nothing, or not all --------------------------------------------------------------------------


class Narrow(io.TextIOWrapper):
    def __init__(self, encoding: str) -> None:
        super().__init__(io.BytesIO(), encoding=encoding)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_terminal_without_such_characters_gets_others(monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, Narrow(encoding))
    terminal.show("web ✓ · … 漢")
    terminal.show_json(["漢"])
    console(stderr=True).print("[green]✓[/] web │")
    assert sys.stdout.buffer.getvalue().decode(encoding).splitlines()[0].startswith("web + ")  # type: ignore[attr-defined]
    assert json.loads(sys.stdout.buffer.getvalue().partition(b"\n")[2]) == ["漢"]  # type: ignore[attr-defined]
    assert sys.stderr.buffer.getvalue() == b"+ web |\n"  # type: ignore[attr-defined]


def test_stream_that_is_not_there(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    terminal.say("to nobody")
    console(stderr=True).print("to nobody")
    assert capsys.readouterr().out == ""


class Full(io.StringIO):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def write(self, text: str) -> int:
        raise self.error


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (OSError(28, "No space left on device"), "No space left"),
        (BrokenPipeError(), ""),
        (ValueError("closed"), "closed"),
    ],
)
def test_stream_that_takes_nothing(monkeypatch: pytest.MonkeyPatch, error: Exception, lost: str) -> None:
    monkeypatch.setattr(sys, "stdout", Full(error))
    stream = terminal.Stream("stdout")
    stream.write("x")
    assert stream.lost.startswith(lost) and bool(stream.lost) == bool(lost)
