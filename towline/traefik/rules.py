"""The syntax of Traefik's rules: text → calls of matchers and the operators between them. Knows no matcher by name.

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
    """A rule that Traefik does not take; the message is a sentence without a full stop."""


@dataclass(frozen=True)
class Call:
    """A matcher as it is written: Call("Host", ("example.com",))."""

    name: str
    values: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.name}({', '.join(f'`{value}`' for value in self.values)})"


@dataclass(frozen=True)
class Rule:
    """A rule in postfix order, `a && !b` as (a, b, "!", "&&"): it can be read with a stack, however deep it was nested."""

    terms: tuple[Call | Operator, ...]

    @property
    def calls(self) -> tuple[Call, ...]:
        return tuple(term for term in self.terms if isinstance(term, Call))


def parse_rule(text: str) -> Rule:
    """The rule. Raises InvalidRule, which says what is wrong and at which character, counted from 1.

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
    """The value of terms in postfix order: `value` of each that is no operator, joined and negated by the operators."""
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
    """kind: name, text, line, end, else the operator or bracket itself. value: the name, or the text without its quotes."""

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
    """The tokens and an `end`. As in Go, the end of a line counts behind a name, a text and a closing bracket only."""
    at, ends = 0, False
    while at < len(text):
        match = _TOKEN.match(text, at)
        if not match:
            raise InvalidRule(_unexpected(text, at))
        if match["space"] is None:
            token = _token(match)
            ends = token.kind in ("name", "text", ")")
            yield token
        elif ends and "\n" in match["space"]:
            ends = False
            yield _Token("line", "", at)
        at = match.end()
    yield _Token("end", "", at)


def _token(match: re.Match[str]) -> _Token:
    if match["name"]:
        return _Token("name", match["name"], match.start())
    if match["mark"]:
        return _Token(match["mark"], "", match.start())
    raw = match["raw"]
    return _Token("text", _unquoted(match) if raw is None else raw.replace("\r", ""), match.start())


def _unexpected(text: str, at: int) -> str:
    if text[at] in "`\"'":
        wrong = "single quotes hold no value, use backticks" if text[at] == "'" else f"the {text[at]} is never closed"
        return f"{wrong} (character {at + 1})"
    mark = "; it is written && and ||" if text[at] in "&|" else ""
    return f"{text[at]!r} is unexpected (character {at + 1}){mark}"


def _unquoted(match: re.Match[str]) -> str:
    def unescaped(escape: re.Match[str]) -> str:
        letter, *codes, octal = escape.groups()
        if letter:
            return _LETTERS[letter]
        code = int(octal, 8) if octal else int(next((c for c in codes if c), "ffffffff"), 16)
        if code > 0x10FFFF or (octal and code > 0xFF):
            raise InvalidRule(f"{escape[0]} is not a Go escape sequence; use backticks (character {match.start() + 1})")
        return chr(code)

    return _ESCAPE.sub(unescaped, match["quoted"])


# -------------------------------------------------------------------------------------------------- tokens → rule


class _Tokens:
    """The tokens, taken one after the other; `next` is the one that follows."""

    def __init__(self, tokens: Iterator[_Token]) -> None:
        self._rest = tokens
        self.next = next(tokens)

    def take(self) -> _Token:
        token = self.next
        self.next = next(self._rest, token)
        return token

    def error(self, expected: str) -> InvalidRule:
        hint = "; put && or || at the end of the line, not at the start" if self.next.kind == "line" else ""
        return InvalidRule(f"expected {expected}, found {self.next} (character {self.next.at + 1}){hint}")


class _Term(NamedTuple):
    """A call, an operator or a bracket, and the character where it begins."""

    term: Call | str
    at: int


def _terms(tokens: _Tokens) -> Iterator[_Term]:
    """The rule's calls, operators and brackets in the order of the text, each where the syntax allows one."""
    operand = True
    while operand or tokens.next.kind != "end":
        kind, at = tokens.next.kind, tokens.next.at
        if not operand and kind == "line":
            _last_line(tokens)
        elif kind not in (("name", "!", "(") if operand else ("&&", "||", ")")):
            raise tokens.error("a matcher" if operand else "&& or ||")
        else:
            yield _Term(_call(tokens) if kind == "name" else tokens.take().kind, at)
            operand = kind not in ("name", ")")


def _last_line(tokens: _Tokens) -> None:
    """Take the end of the line that ends the rule: nothing may follow it."""
    line, following = tokens.take(), tokens.next
    if following.kind != "end":
        tokens.next = line
        raise tokens.error("&& or ||")


def _call(tokens: _Tokens) -> Call:
    name, values = tokens.take().value, []
    if tokens.next.kind != "(":
        raise tokens.error(f"( after {name}")
    tokens.take()
    while tokens.next.kind != ")":
        if tokens.next.kind != "text":
            raise tokens.error(f"a value in backticks or ) in {name}(…)")
        values.append(tokens.take().value)
        if tokens.next.kind not in (",", ")"):
            raise tokens.error(f", or ) in {name}(…)")
        if tokens.next.kind == ",":
            tokens.take()
    tokens.take()
    return Call(name, tuple(values))


_BINDING = {"(": 0, "||": 1, "&&": 2, "!": 3}


def _postfix(terms: Iterator[_Term]) -> Iterator[Call | Operator]:
    """Dijkstra's shunting yard algorithm: with a stack of its own, so that no depth of brackets is too much."""
    waiting: list[_Term] = []
    for item in terms:
        if isinstance(item.term, Call):
            yield item.term
        elif item.term in ("!", "("):
            waiting.append(item)
        elif item.term == ")":
            yield from _take_off(waiting, 1)
            if not waiting:
                raise InvalidRule(f"the ) at character {item.at + 1} closes nothing")
            waiting.pop()
        else:
            yield from _take_off(waiting, _BINDING[item.term])
            waiting.append(item)
    yield from _take_off(waiting, 1)
    if waiting:
        raise InvalidRule(f"the ( at character {waiting[-1].at + 1} is never closed")


def _take_off(waiting: list[_Term], binding: int) -> Iterator[Operator]:
    """Take the waiting operators off that bind at least as tightly."""
    while waiting and isinstance(waiting[-1].term, str) and _BINDING[waiting[-1].term] >= binding:
        yield waiting.pop().term  # type: ignore[misc]
