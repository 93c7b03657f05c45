"""The texts of the scripts: one name space for what the runner sources, lines that fit, and no `echo` of what others wrote."""

from __future__ import annotations

import re
from collections import Counter
from importlib.resources import files

import pytest

from towline.checks import declared_commands
from towline.deploy import lock
from towline.facts import compose_model, disk, engine, engine_api, inventory, registry, release
from towline.remote import COMPARISON, DRIFT, SOURCED, script

LONGEST = 120
NAMES = sorted(path.name.removesuffix(".sh") for path in files("towline.remote").joinpath("scripts").iterdir())
IN_PYTHON = (declared_commands, lock, compose_model, disk, engine, engine_api, inventory, registry, release)
TEXTS = {f"{name}.sh": script(name) for name in NAMES} | {
    f"{module.__name__} {name}": value
    for module in IN_PYTHON
    for name, value in vars(module).items()
    if isinstance(value, str) and re.search(r'\$(\d|\(|@)|"\$', value)
}
ECHO_OF_A_VARIABLE = re.compile(r"\becho\b[^\n;|&)]*\$")


def test_texts_of_the_modules_are_found() -> None:
    assert {text.split()[0] for text in TEXTS if text.startswith("towline")} == {
        module.__name__ for module in IN_PYTHON
    }


def test_runner_sources_what_lies_beside_it() -> None:
    assert re.findall(r"^\. \./(\w+)\.sh$", script("runner"), re.MULTILINE) == list(SOURCED)


SENT = {
    ("runner", *SOURCED): 50,
    DRIFT: 15,
    (*COMPARISON, "survey"): 25,
    ("runs", "state"): 5,
    ("runs", "interrupted"): 2,
    ("runs", "lock", "current", "prune"): 6,
}


@pytest.mark.parametrize(("names", "least"), SENT.items(), ids=[names[-1] for names in SENT])
def test_no_function_hides_another(names: tuple[str, ...], least: int) -> None:
    defined = Counter(re.findall(r"^(\w+)\(\)", script(*names), re.MULTILINE))
    assert len(defined) >= least
    assert [name for name, times in defined.items() if times > 1] == []


@pytest.mark.parametrize("name", TEXTS)
def test_lines_fit(name: str) -> None:
    assert [line for line in TEXTS[name].splitlines() if len(line) > LONGEST] == []


@pytest.mark.parametrize("name", TEXTS)
def test_foreign_text_is_printed_by_printf(name: str) -> None:
    """dash's echo takes the backslashes in a file's content, a name or a log line for escapes."""
    assert ECHO_OF_A_VARIABLE.findall(TEXTS[name]) == []


@pytest.mark.parametrize("line", ['echo "$1"', "x || echo a $b", "echo $(cat x)", 'echo "a `b` ${c}"'])
def test_echo_of_a_variable_is_found(line: str) -> None:
    assert ECHO_OF_A_VARIABLE.search(line)


@pytest.mark.parametrize("line", ['printf "%s\\n" "$1"', 'echo k; x "$1"', "echo yes || echo no", "echo"])
def test_echo_of_a_fixed_text_is_allowed(line: str) -> None:
    assert not ECHO_OF_A_VARIABLE.search(line)


@pytest.mark.parametrize("name", NAMES)
def test_header_says_what_the_script_does(name: str) -> None:
    first, second, *_ = script(name).splitlines()
    assert first == "#!/bin/sh"
    assert re.match(rf"# {name}\.sh( [A-Z\[<y][^:]*)?: ", second)
