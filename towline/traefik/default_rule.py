"""Traefik's rule for a container that names none: a Go template, as far as it can be told what it gives.

Told are `.Name`, `.ContainerName`, `index .Labels "key"` and the handful of functions that such rules use, also piped.
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
    """What a template can name: name: Traefik's own for the service, container: the container's."""

    name: str
    container: str
    labels: Mapping[str, str]


def normalize(name: str) -> str:
    """The name with whatever is no letter and no number as `-`, none doubled and none at the ends.

    >>> normalize("web_my.stack"), normalize("/a--b_")
    ('web-my-stack', 'a-b')
    """
    letters = groupby(name, key=lambda sign: unicodedata.category(sign)[0] in "LN")
    return "-".join("".join(group) for is_word, group in letters if is_word)


def rule_from(template: str, data: TemplateData) -> str | None:
    """The rule that the template gives; None when it has something in it that is not told here."""
    parts = re.split(r"\{\{(.*?)\}\}", template, flags=re.DOTALL)
    told = [_action(part, data) if i % 2 else part for i, part in enumerate(parts)]
    return None if None in told else "".join(part or "" for part in told)


def _action(text: str, data: TemplateData) -> str | None:
    """What one `{{ … }}` gives: each function of a pipe takes what came before as its last argument."""
    value: str | None = None
    for i, (name, *words) in enumerate(_stages(text)):
        given = [_word(word, data) for word in words] + [value] * (i > 0)
        if (name, words[:1], len(given)) == ("index", [".Labels"], 2):
            value = data.labels.get(given[1] or "", "")
        else:
            value = _call(name, given) if given else _word(name, data)
        if value is None:
            return None
    return value


def _stages(text: str) -> list[list[str]]:
    words = re.findall(r'"[^"]*"|`[^`]*`|\||[^\s|"`]+|.', text)
    solid = [word for word in words if word.strip()]
    return [list(group) for bar, group in groupby(solid, key=lambda word: word == "|") if not bar]


def _call(name: str, given: list[str | None]) -> str | None:
    function = _FUNCTIONS.get((name, len(given)))
    return function(*given) if function and None not in given else None


def _word(word: str, data: TemplateData) -> str | None:
    """A text in quotes, or one of the names."""
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
    ("trimAll", 2): lambda signs, text: text.strip(signs),
}
