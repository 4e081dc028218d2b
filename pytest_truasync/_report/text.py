"""Lines of styled text: how they are made, wrapped and written.

A line is a tuple of segments, each with a style; `MARKUP` says what a style is to pytest's
terminal writer. A place (`path:line`) is never broken, so that an editor can jump to it.
"""

import textwrap
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Final, Literal, NamedTuple, TypeAlias

from pytest_truasync._model import CallSite

Style: TypeAlias = Literal["", "error", "warning", "note", "place", "source", "advice", "good"]

MARKUP: Final[Mapping[Style, Mapping[str, bool]]] = MappingProxyType(
    {
        "": {},
        "error": {"red": True, "bold": True},
        "warning": {"yellow": True, "bold": True},
        "note": {"cyan": True},
        "place": {"bold": True},
        "source": {"light": True},
        "advice": {"green": True},
        "good": {"green": True, "bold": True},
    }
)
"""Style → keyword arguments of `TerminalReporter.write`."""


class Segment(NamedTuple):
    """A piece of a line."""

    text: str
    style: Style = ""


Line: TypeAlias = tuple[Segment, ...]

NARROWEST: Final = 40
"""Columns below which text is not squeezed."""
_HARD_SPACE = "\N{NO-BREAK SPACE}"


def write(lines: Iterable[Line], to: Callable[..., object], *, styled: bool = True) -> None:
    """Write *lines* by *to*, which is the `write` of pytest's terminal writer.

    Args:
        lines: of text.
        to: writes a piece.
        styled: whether a style would be seen; if not, a line is one piece.
    """
    for line in lines:
        if styled:
            for segment in line:
                to(segment.text, **MARKUP[segment.style])
        else:
            to("".join([segment.text for segment in line]))
        to("\n")  # apart: a text that the stream cannot encode is escaped whole


def plain(lines: Iterable[Line]) -> str:
    """Return *lines* without their styles."""
    return "\n".join("".join(segment.text for segment in line).rstrip() for line in lines)


def place_of(site: CallSite) -> str:
    """Return `path:line in function`, the place in one piece when it is wrapped."""
    return f"{hard(location(site))}{in_function(site)}"


def in_function(site: CallSite) -> str:
    """Return ` in function`; a lambda or a comprehension goes by the function around it."""
    parts = site.function.split(".")
    name = ".".join(part for part in parts if not part.startswith("<")) or site.function
    return f" in {name}" if name else ""


def location(site: CallSite) -> str:
    """Return `path:line`, or the path alone where no line is known."""
    return f"{site.path}:{site.line}" if site.line else site.path


def many(number: int, noun: str) -> str:
    """Return `1 call`, `1,000 calls`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def duration(ns: int) -> str:
    """Return a time as a person reads it: `0.12 ms`, `120.4 ms`, `14.2 s`."""
    if ns < 1_000_000:
        return f"{ns / 1e6:.2g} ms"
    if ns < 999_950_000:
        return f"{ns / 1e6:.1f} ms".replace(".0 ms", " ms")
    return f"{ns / 1e9:.1f} s".replace(".0 s", " s")


def hard(text: str) -> str:
    """Keep *text* in one piece when it is wrapped."""
    return text.replace(" ", _HARD_SPACE)


def wrapped(
    text: str, width: int, style: Style = "", indent: int = 2, hanging: int | None = None
) -> list[Line]:
    """Return *text* as lines of one style; see `fill`."""
    return [(Segment(line, style),) for line in fill(text, width, indent, hanging)]


def fill(text: str, width: int, indent: int, hanging: int | None = None) -> list[str]:
    """Return *text* broken at spaces, never inside of a word.

    Args:
        text: one paragraph.
        width: columns.
        indent: columns before the first line.
        hanging: columns before the others; two more than *indent* when it is not given.
    """
    lines = textwrap.wrap(
        text,
        max(width, NARROWEST),
        initial_indent=" " * indent,
        subsequent_indent=" " * (indent + 2 if hanging is None else hanging),
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [line.replace(_HARD_SPACE, " ") for line in lines]


def clip(text: str, width: int) -> str:
    """Return *text* in one line of at most *width* columns."""
    return text if len(text) <= width else f"{text[: width - 4].rstrip()} ..."
