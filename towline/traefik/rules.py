"""The language of Traefik's rules: text → what is called and how it is joined. Knows no matcher by name.

Traefik reads a rule as a Go expression (v3 and v2 alike: pkg/rules over go/parser): `&&` binds tighter than `||`, `!` tightest;
values are Go strings, in backticks or in double quotes with escapes; a line that ends where the rule could end, ends it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeVar, cast

LONGEST = 64 << 10  # characters; what is longer was not written by a person

Operator = Literal["&&", "||", "!"]
Leaf = TypeVar("Leaf")
Value = TypeVar("Value")


class InvalidRule(ValueError):
    """A text that is no rule; the message is a sentence without a full stop."""


@dataclass(frozen=True)
class Call:
    """One matcher as it is written: Call("Host", ("example.com",))."""

    name: str
    values: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.name}({', '.join(f'`{value}`' for value in self.values)})"


@dataclass(frozen=True)
class Rule:
    """A rule in postfix order, `a && !b` as (a, b, "!", "&&"): to be read with a stack, however deep it was nested."""

    terms: tuple[Call | Operator, ...]

    @property
    def calls(self) -> tuple[Call, ...]:
        return tuple(term for term in self.terms if isinstance(term, Call))


def parse_rule(text: str) -> Rule:
    """The rule that `text` is. Raises InvalidRule, saying what is wrong and at which character (counted from 1).

    >>> parse_rule("Host(`a`) && !Path(`/x`)").terms
    (Call(name='Host', values=('a',)), Call(name='Path', values=('/x',)), '!', '&&')
    """
    if len(text) > LONGEST:
        raise InvalidRule(f"is longer than {LONGEST} characters")
    return Rule(tuple(_postfix(_terms(_Tokens(_tokens(text))))))


def fold(
    terms: Iterable[Leaf | Operator],
    value: Callable[[Leaf], Value],
    join: Callable[[Value, Value, Operator], Value],
    negate: Callable[[Value], Value] | None = None,
) -> Value:
    """What terms in postfix order come to: `value` of each that is no operator, joined and negated as the operators say."""
    stack: list[Value] = []
    for term in terms:
        if not isinstance(term, str):
            stack.append(value(term))
        elif term == "!" and negate:
            stack.append(negate(stack.pop()))
        else:
            right, left = stack.pop(), stack.pop()
            stack.append(join(left, right, cast("Operator", term)))
    return stack[0]


# ------------------------------------------------------------------------------------------------ text → tokens


class _Token(NamedTuple):
    """kind: name, text, an operator or bracket as itself, line, end. value: the name, or the text without its quotes."""

    kind: str
    value: str
    at: int

    def __str__(self) -> str:
        kinds = {
            "text": "a text",
            "line": "the end of a line",
            "end": "the end",
            "name": self.value,
            "other": self.value,
        }
        return kinds.get(self.kind, self.kind)


_TOKEN = re.compile(
    r"""(?P<space>[ \t\r\n]+|//[^\n]*|/\*.*?\*/)
    |(?P<name>[^\W\d]\w*)
    |`(?P<raw>[^`]*)`
    |"(?P<quoted>(?:[^"\\\n]|\\[^\n])*)"
    |(?P<mark>&&|\|\||[!(),])""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(?:([abfnrtv\\\"])|x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{3})|.)")
_LETTERS = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\", '"': '"'}


def _tokens(text: str) -> Iterator[_Token]:
    """The tokens, with an `end`; as in Go, a line's end counts behind a name, a text and a closing bracket only."""
    at, ends = 0, False
    while at < len(text):
        found = _TOKEN.match(text, at)
        if not found:
            raise InvalidRule(_unread(text, at))
        if found["space"] is None:
            token = _token(found)
            ends = token.kind in ("name", "text", ")")
            yield token
        elif ends and "\n" in found["space"]:
            ends = False
            yield _Token("line", "", at)
        at = found.end()
    yield _Token("end", "", at)


def _token(found: re.Match[str]) -> _Token:
    if found["name"]:
        return _Token("name", found["name"], found.start())
    if found["mark"]:
        return _Token(found["mark"], "", found.start())
    raw = found["raw"]
    return _Token("text", _unquoted(found) if raw is None else raw.replace("\r", ""), found.start())


def _unread(text: str, at: int) -> str:
    if text[at] in "`\"'":
        wrong = "single quotes hold no value, take backticks" if text[at] == "'" else f"the {text[at]} is never closed"
        return f"{wrong} (character {at + 1})"
    mark = "; it is written && and ||" if text[at] in "&|" else ""
    return f"{text[at]!r} means nothing here (character {at + 1}){mark}"


def _unquoted(found: re.Match[str]) -> str:
    def meant(escape: re.Match[str]) -> str:
        letter, *codes, octal = escape.groups()
        if letter:
            return _LETTERS[letter]
        code = int(octal, 8) if octal else int(next((c for c in codes if c), "ffffffff"), 16)
        if code > 0x10FFFF or (octal and code > 0xFF):
            raise InvalidRule(f"{escape[0]} is no escape of Go's; take backticks (character {found.start() + 1})")
        return chr(code)

    return _ESCAPE.sub(meant, found["quoted"])


# -------------------------------------------------------------------------------------------------- tokens → rule


class _Tokens:
    """The tokens, read one by one, with a look at the next."""

    def __init__(self, tokens: Iterator[_Token]) -> None:
        self._rest = tokens
        self.next = next(tokens)

    def take(self) -> _Token:
        token = self.next
        self.next = next(self._rest, token)
        return token

    def wrong(self, wanted: str) -> InvalidRule:
        hint = "; put && or || at the end of the line, not at the start" if self.next.kind == "line" else ""
        return InvalidRule(f"expected {wanted}, found {self.next} (character {self.next.at + 1}){hint}")


class _Term(NamedTuple):
    """A call, an operator or a bracket, and where it is."""

    term: Call | str
    at: int


def _terms(tokens: _Tokens) -> Iterator[_Term]:
    """The rule's calls, operators and brackets in the order of the text; each is where one may be."""
    operand = True
    while operand or tokens.next.kind != "end":
        kind, at = tokens.next.kind, tokens.next.at
        if not operand and kind == "line":
            _last_line(tokens)
        elif kind not in (("name", "!", "(") if operand else ("&&", "||", ")")):
            raise tokens.wrong("a matcher" if operand else "&& or ||")
        else:
            yield _Term(_call(tokens) if kind == "name" else tokens.take().kind, at)
            operand = kind not in ("name", ")")


def _last_line(tokens: _Tokens) -> None:
    """Past the end of a line that ends the rule: one may follow it, and nothing else."""
    line, after = tokens.take(), tokens.next
    if after.kind != "end":
        tokens.next = line
        raise tokens.wrong("&& or ||")


def _call(tokens: _Tokens) -> Call:
    name, values = tokens.take().value, []
    if tokens.next.kind != "(":
        raise tokens.wrong(f"( after {name}")
    tokens.take()
    while tokens.next.kind != ")":
        if tokens.next.kind != "text":
            raise tokens.wrong(f"a value in backticks or ) in {name}(…)")
        values.append(tokens.take().value)
        if tokens.next.kind not in (",", ")"):
            raise tokens.wrong(f", or ) in {name}(…)")
        if tokens.next.kind == ",":
            tokens.take()
    tokens.take()
    return Call(name, tuple(values))


_BINDING = {"(": 0, "||": 1, "&&": 2, "!": 3}


def _postfix(terms: Iterator[_Term]) -> Iterator[Call | Operator]:
    """Dijkstra's shunting yard: with a stack of its own, so that no depth of brackets is too much."""
    waiting: list[_Term] = []
    for one in terms:
        if isinstance(one.term, Call):
            yield one.term
        elif one.term in ("!", "("):
            waiting.append(one)
        elif one.term == ")":
            yield from _until(waiting, 1)
            if not waiting:
                raise InvalidRule(f"the ) at character {one.at + 1} closes nothing")
            waiting.pop()
        else:
            yield from _until(waiting, _BINDING[one.term])
            waiting.append(one)
    yield from _until(waiting, 1)
    if waiting:
        raise InvalidRule(f"the ( at character {waiting[-1].at + 1} is never closed")


def _until(waiting: list[_Term], binding: int) -> Iterator[Operator]:
    """The waiting operators that bind at least as tightly, taken off."""
    while waiting and isinstance(waiting[-1].term, str) and _BINDING[waiting[-1].term] >= binding:
        yield waiting.pop().term  # type: ignore[misc]
