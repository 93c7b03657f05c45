"""The variables that a compose file uses. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

# Compose itself, or any login on a server, sets these.
ALWAYS_SET = frozenset({"COMPOSE_PROJECT_NAME", "HOME", "LOGNAME", "PATH", "PWD", "SHELL", "USER"})
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def used_variables(text: str) -> frozenset[str]:
    """The variables that a compose file uses bare: `$X` and `${X}`, without default, alternative or required-error.

    As Compose 2.40: values only, not keys or comments; what stands inside a default counts, also when the default is not
    taken. Imports yaml.

    >>> sorted(used_variables("a: $X ${Y} ${Z:-${IN}} ${R:?} $$NO # $COMMENT"))
    ['IN', 'X', 'Y']
    """
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        documents = list(yaml.compose_all(text, Loader=loader))
    except yaml.YAMLError:  # whoever loads the file says so; till then all of it is text
        return frozenset(_bare(text))
    values: list[Any] = [node for node in documents if node is not None]
    seen: set[int] = set()
    found: set[str] = set()
    while values:
        node = values.pop()
        if id(node) in seen:  # an alias
            continue
        seen.add(id(node))
        if isinstance(node, yaml.ScalarNode):
            found.update(_bare(node.value))
        else:
            values += [item[1] if isinstance(item, tuple) else item for item in node.value]
    return frozenset(found)


def variables_in(value: object) -> frozenset[str]:
    """The same of a value that has been loaded already.

    >>> sorted(variables_in({"command": ["run", "$X"], "environment": {"Y": "${Y:-1}"}}))
    ['X']
    """
    if isinstance(value, str):
        return frozenset(_bare(value))
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return frozenset[str]().union(*map(variables_in, inner))


def _bare(text: str) -> Iterator[str]:
    at = text.find("$")
    while at >= 0:
        end = at + 2
        if text[at + 1 : at + 2] == "{":
            end = _closing(text, at + 2) + 1
            yield from _braced(text[at + 2 : end - 1])
        elif name := _PLAIN.match(text, at + 1):
            end = name.end()
            yield name[0]
        at = text.find("$", end)


def _braced(inside: str) -> Iterator[str]:
    name = _PLAIN.match(inside)
    rest = inside[name.end() :] if name else ""
    operator = re.match(r":?[-+?]", rest)
    if name and not rest:
        yield name[0]
    elif operator:
        yield from _bare(rest[operator.end() :])


def _closing(text: str, start: int) -> int:
    """Where the brace closes, by Compose's rule: only `${` opens another."""
    depth, at = 1, start
    while at < len(text):
        if text[at] == "}":
            depth -= 1
            if depth == 0:
                return at
        elif text.startswith("${", at):
            depth += 1
            at += 1
        at += 1
    return len(text)
