"""The variables that a compose file uses, and their values filled in. No I/O."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

# Compose itself, or any login on a server, sets these.
ALWAYS_SET = frozenset({"COMPOSE_PROJECT_NAME", "HOME", "LOGNAME", "PATH", "PWD", "SHELL", "USER"})
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def used_variables(text: str) -> frozenset[str]:
    """The variables that a compose file needs: `$X` and `${X}`, without default, alternative or error.

    As Compose 2.40 does: in values only, not in keys or comments; a variable inside a default counts, also when the default
    is not used. Imports yaml.

    >>> sorted(used_variables("a: $X ${Y} ${Z:-${IN}} ${R:?} $$NO # $COMMENT"))
    ['IN', 'X', 'Y']
    """
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        documents = list(yaml.compose_all(text, Loader=loader))
    except yaml.YAMLError:  # reported where the file is loaded; here all of it is taken as text
        return frozenset(_needed(text))
    values: list[Any] = [node for node in documents if node is not None]
    seen: set[int] = set()
    names: set[str] = set()
    while values:
        node = values.pop()
        if id(node) in seen:  # an alias
            continue
        seen.add(id(node))
        if isinstance(node, yaml.ScalarNode):
            names.update(_needed(node.value))
        else:
            values += [item[1] if isinstance(item, tuple) else item for item in node.value]
    return frozenset(names)


def variables_in(value: object) -> frozenset[str]:
    """As used_variables, for a value that has been loaded already.

    >>> sorted(variables_in({"command": ["run", "$X"], "environment": {"Y": "${Y:-1}"}}))
    ['X']
    """
    if isinstance(value, str):
        return frozenset(_needed(value))
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return frozenset[str]().union(*map(variables_in, inner))


def interpolate(text: str, variables: Mapping[str, str]) -> str:
    """`text` with variables filled in as Compose does; what is unknown and has no default stays as it is, and so does `$$`.

    >>> interpolate("${A}/$B ${C:-${A}} ${A:+yes} ${A:?must} $$A", {"A": "1"})
    '1/$B 1 yes 1 $$A'
    """
    parts: list[str] = []
    at = 0
    while (dollar := text.find("$", at)) >= 0:
        parts.append(text[at:dollar])
        at = dollar + 2
        if text.startswith("${", dollar):
            end = _closing(text, at)
            parts.append(_filled_in_braces(text[at:end], variables))
            at = end + 1
        elif name := _PLAIN.match(text, dollar + 1):
            parts.append(variables.get(name[0], f"${name[0]}"))
            at = name.end()
        else:
            parts.append(text[dollar:at])
    return "".join(parts) + text[at:]


def _filled_in_braces(inside: str, variables: Mapping[str, str]) -> str:
    name = _PLAIN.match(inside)
    rest = inside[name.end() :] if name else ""
    operator = re.match(r":?[-+?]|$", rest)
    if name is None or operator is None:
        return f"${{{inside}}}"
    value = variables.get(name[0])
    is_set = value is not None and (value != "" or ":" not in operator[0])
    if operator[0].endswith("+"):
        return interpolate(rest[operator.end() :], variables) if is_set else ""
    if operator[0].endswith("-") and not is_set:
        return interpolate(rest[operator.end() :], variables)
    return value if is_set and value is not None else f"${{{inside}}}"


def _needed(text: str) -> Iterator[str]:
    at = text.find("$")
    while at >= 0:
        end = at + 2
        if text[at + 1 : at + 2] == "{":
            end = _closing(text, at + 2) + 1
            yield from _needed_in_braces(text[at + 2 : end - 1])
        elif name := _PLAIN.match(text, at + 1):
            end = name.end()
            yield name[0]
        at = text.find("$", end)


def _needed_in_braces(inside: str) -> Iterator[str]:
    name = _PLAIN.match(inside)
    rest = inside[name.end() :] if name else ""
    operator = re.match(r":?[-+?]", rest)
    if name and not rest:
        yield name[0]
    elif operator:
        yield from _needed(rest[operator.end() :])


def _closing(text: str, start: int) -> int:
    """The index of the closing brace, by Compose's rule: only `${` opens another."""
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
