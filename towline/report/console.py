"""Rich's console on the streams of terminal.py: the colours are ours, the text is made printable."""

from __future__ import annotations

from collections.abc import Iterable
from typing import IO, Any, cast

from rich.console import Console, ConsoleOptions, RenderableType
from rich.errors import MarkupError
from rich.segment import Segment
from rich.text import Text

from towline.terminal import STDERR, STDOUT
from towline.text.printable import printable


class PrintableConsole(Console):
    """Foreign text can neither move the cursor nor colour anything, nor end a print by what looks like markup."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(printable(segment.text), segment.style)

    def render_str(self, text: str, **options: Any) -> Text:
        try:
            return super().render_str(text, **options)
        except MarkupError:
            return super().render_str(text, **{**options, "markup": False})


def console(*, stderr: bool = False, **options: Any) -> PrintableConsole:
    """A console on stderr or stdout; options: those of Rich's Console."""
    return PrintableConsole(
        file=cast("IO[str]", STDERR if stderr else STDOUT), stderr=stderr, highlight=False, **options
    )
