"""Traefik's rule for a container that names none: a Go template → the rule that it yields, where that can be determined.

Supported are `.Name`, `.ContainerName`, `index .Labels "key"` and the functions that such rules commonly use, also piped.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import groupby

DEFAULT = "Host(`{{ normalize .Name }}`)"  # pkg/provider/docker: DefaultTemplateRule


@dataclass(frozen=True)
class TemplateData:
    """What a template can refer to. name: Traefik's for the service. container: the container's name."""

    name: str
    container: str
    labels: Mapping[str, str]


def normalize(name: str) -> str:
    """The name with `-` for whatever is no letter and no number, none doubled and none at the ends.

    >>> normalize("web_my.stack"), normalize("/a--b_")
    ('web-my-stack', 'a-b')
    """
    groups = groupby(name, key=lambda character: unicodedata.category(character)[0] in "LN")
    return "-".join("".join(group) for is_word, group in groups if is_word)


def rule_from(template: str, data: TemplateData) -> str | None:
    """The rule that the template yields; None when it has something in it that is not supported."""
    parts = re.split(r"\{\{(.*?)\}\}", template, flags=re.DOTALL)
    texts = [_action(part, data) if i % 2 else part for i, part in enumerate(parts)]
    return None if None in texts else "".join(text or "" for text in texts)


def _action(text: str, data: TemplateData) -> str | None:
    """What one `{{ … }}` yields: each function of a pipe takes the value before it as its last argument."""
    value: str | None = None
    for i, (name, *words) in enumerate(_stages(text)):
        arguments = [_word(word, data) for word in words] + [value] * (i > 0)
        if (name, words[:1], len(arguments)) == ("index", [".Labels"], 2):
            value = data.labels.get(arguments[1] or "", "")
        else:
            value = _call(name, arguments) if arguments else _word(name, data)
        if value is None:
            return None
    return value


def _stages(text: str) -> list[list[str]]:
    words = re.findall(r'"[^"]*"|`[^`]*`|\||[^\s|"`]+|.', text)
    visible = [word for word in words if word.strip()]
    return [list(group) for is_bar, group in groupby(visible, key=lambda word: word == "|") if not is_bar]


def _call(name: str, arguments: list[str | None]) -> str | None:
    function = _FUNCTIONS.get((name, len(arguments)))
    return function(*arguments) if function and None not in arguments else None


def _word(word: str, data: TemplateData) -> str | None:
    """The value of a quoted string, of `.Name` or of `.ContainerName`."""
    if word[0] in '"`' and len(word) > 1 and "\\" not in word:
        return word[1:-1]
    return {".Name": data.name, ".ContainerName": data.container}.get(word)


_FUNCTIONS: Mapping[tuple[str, int], Callable[..., str]] = {
    ("normalize", 1): normalize,
    ("lower", 1): str.lower,
    ("upper", 1): str.upper,
    ("trim", 1): str.strip,
    ("trimPrefix", 2): lambda prefix, text: text.removeprefix(prefix),
    ("trimSuffix", 2): lambda suffix, text: text.removesuffix(suffix),
    ("replace", 3): lambda old, new, text: text.replace(old, new),
    ("trimAll", 2): lambda characters, text: text.strip(characters),
}
