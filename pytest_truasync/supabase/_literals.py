"""Array and range literals, full-text vectors: PostgreSQL's texts of composed values."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import date, timedelta
from typing import Any

from pytest_truasync.supabase._datetimes import Infinity
from pytest_truasync.supabase._errors import ApiError, sql_error, unsupported

Parse = Callable[[str], Any]


def _malformed_array(text: str, details: str) -> ApiError:
    return sql_error("22P02", f'malformed array literal: "{text}"', details)


def parse_array(text: str, element: Parse) -> list[Any]:
    """Read ``{1,2,NULL}``; arrays of arrays must be rectangular."""
    stripped = text.strip()
    if not stripped.startswith("{"):
        if re.match(r"\[[-\d]+(:[-\d]+)?\]", stripped):
            raise unsupported(f"arrays with explicit dimensions: {text!r}")
        details = 'Array value must start with "{" or dimension information.'
        raise _malformed_array(text, details)
    items, at = _array_items(stripped, 1, text, element)
    if stripped[at:].strip():
        raise _malformed_array(text, "Junk after closing right brace.")
    _check_shape(items, text)
    return items


def _array_items(body: str, at: int, text: str, element: Parse) -> tuple[list[Any], int]:
    items: list[Any] = []
    expect_item = False
    while True:
        while at < len(body) and body[at].isspace():
            at += 1
        if at >= len(body):
            raise _malformed_array(text, "Unexpected end of input.")
        char = body[at]
        if char == "}" and not (expect_item and items):
            return items, at + 1
        if char == "{":
            item, at = _array_items(body, at + 1, text, element)
        elif char == '"':
            raw, at = _quoted(body, at + 1, text)
            item = element(raw)
        else:
            item, at = _bare(body, at, text, element)
        items.append(item)
        while at < len(body) and body[at].isspace():
            at += 1
        if at >= len(body):
            raise _malformed_array(text, "Unexpected end of input.")
        expect_item = body[at] == ","
        if body[at] == "}":
            return items, at + 1
        if not expect_item:
            raise _malformed_array(text, "Unexpected array element.")
        at += 1


def _quoted(body: str, at: int, text: str) -> tuple[str, int]:
    out: list[str] = []
    while at < len(body):
        char = body[at]
        if char == '"':
            return "".join(out), at + 1
        if char == "\\":
            at += 1
            char = body[at : at + 1]
        out.append(char)
        at += 1
    raise _malformed_array(text, "Unexpected end of input.")


def _bare(body: str, at: int, text: str, element: Parse) -> tuple[Any, int]:
    out: list[str] = []
    while at < len(body) and body[at] not in ",{}":
        if body[at] == '"':
            raise _malformed_array(text, "Unexpected array element.")
        if body[at] == "\\":
            at += 1
        out.append(body[at : at + 1])
        at += 1
    raw = "".join(out).strip()
    if not raw:
        char = body[at : at + 1]
        raise _malformed_array(text, f'Unexpected "{char}" character.')
    return (None if raw.upper() == "NULL" else element(raw)), at


def _depth(items: Any) -> tuple[int, ...]:
    return (len(items), *(_depth(items[0]) if items else ())) if isinstance(items, list) else ()


def _check_shape(items: list[Any], text: str) -> None:
    nested = [i for i in items if isinstance(i, list)]
    if not nested:
        return
    if len(nested) != len(items) or len({_depth(i) for i in nested}) > 1:
        details = "Multidimensional arrays must have sub-arrays with matching dimensions."
        raise _malformed_array(text, details)
    for item in nested:
        _check_shape(item, text)


_ARRAY_QUOTED = re.compile(r'[{}",\\\s]')


def array_text(items: Iterable[Any], element: Callable[[Any], str]) -> str:
    """Print an array: ``{1,"a b",NULL}``."""
    parts = []
    for item in items:
        if item is None:
            parts.append("NULL")
        elif isinstance(item, list):
            parts.append(array_text(item, element))
        else:
            text = element(item)
            if not text or text.upper() == "NULL" or _ARRAY_QUOTED.search(text):
                text = '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
            parts.append(text)
    return "{" + ",".join(parts) + "}"


class Range:
    """A range value; a bound of None is endless."""

    __slots__ = ("empty", "has_lower", "has_upper", "lower", "upper")

    def __init__(
        self,
        lower: Any = None,
        upper: Any = None,
        *,
        has_lower: bool = True,
        has_upper: bool = False,
        empty: bool = False,
    ) -> None:
        self.lower, self.upper, self.empty = lower, upper, empty
        self.has_lower = has_lower and lower is not None
        self.has_upper = has_upper and upper is not None

    @property
    def start(self) -> tuple[Any, ...]:
        """Where it starts, comparable with other starts and with ends."""
        return (-1,) if self.lower is None else (0, self.lower, 0 if self.has_lower else 1)

    @property
    def stop(self) -> tuple[Any, ...]:
        """Where it stops, comparable with other stops and with starts."""
        return (1,) if self.upper is None else (0, self.upper, 0 if self.has_upper else -1)

    @property
    def key(self) -> tuple[Any, ...]:
        """What ranges sort and compare by."""
        return (0,) if self.empty else (1, self.start, self.stop)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Range) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def contains(self, other: Range) -> bool:
        """Tell whether *other* lies within."""
        if other.empty:
            return True
        return not self.empty and self.start <= other.start and other.stop <= self.stop

    def before(self, other: Range) -> bool:
        """Tell whether it ends before *other* starts."""
        return not self.empty and not other.empty and _ends_before(self.stop, other.start)

    def overlaps(self, other: Range) -> bool:
        """Tell whether they share a point."""
        if self.empty or other.empty:
            return False
        return not _ends_before(self.stop, other.start) and not _ends_before(other.stop, self.start)

    def adjacent(self, other: Range) -> bool:
        """Tell whether they touch without a point in common or between them."""
        if self.empty or other.empty:
            return False
        return _touch(self, other) or _touch(other, self)


def _ends_before(stop: tuple[Any, ...], start: tuple[Any, ...]) -> bool:
    if len(stop) == 1 or len(start) == 1:
        return False
    if stop[1] != start[1]:
        return bool(stop[1] < start[1])
    return bool(stop[2] < 0 or start[2] > 0)


def _touch(left: Range, right: Range) -> bool:
    return (
        left.upper is not None
        and right.lower is not None
        and left.upper == right.lower
        and left.has_upper != right.has_lower
    )


_RANGE = re.compile(
    r'\s*([\[(])\s*((?:"(?:[^"\\]|\\.|"")*"|\\.|[^",()\[\]\\])*)'
    r'\s*,\s*((?:"(?:[^"\\]|\\.|"")*"|\\.|[^",()\[\]\\])*)\s*([\])])\s*',
    re.DOTALL,
)


def _unquote_bound(text: str) -> str:
    out: list[str] = []
    at, quoted = 0, False
    while at < len(text):
        char = text[at]
        if char == "\\":
            at += 1
            out.append(text[at : at + 1])
        elif char == '"':
            if quoted and text[at + 1 : at + 2] == '"':
                out.append('"')
                at += 1
            else:
                quoted = not quoted
        else:
            out.append(char)
        at += 1
    return "".join(out)


def _malformed_range(text: str, details: str) -> ApiError:
    return sql_error("22P02", f'malformed range literal: "{text}"', details)


def parse_range(text: str, bound: Parse, *, discrete: bool) -> Range:
    """Read ``[a,b)``; ranges of integers and dates are brought to the form ``[a,b)``."""
    if text.strip().lower() == "empty":
        return Range(empty=True)
    found = _RANGE.fullmatch(text)
    if found is None:
        stripped = text.strip()
        if stripped[:1] not in {"[", "("}:
            raise _malformed_range(text, "Missing left parenthesis or bracket.")
        if stripped[-1:] not in {"]", ")"}:
            raise _malformed_range(text, "Unexpected end of input.")
        if "," not in stripped:
            raise _malformed_range(text, "Missing comma after lower bound.")
        raise _malformed_range(text, "Too many commas.")
    opening, low, high, closing = found.groups()
    lower = bound(_unquote_bound(low)) if low else None
    upper = bound(_unquote_bound(high)) if high else None
    return make_range(lower, upper, opening == "[", closing == "]", discrete=discrete)


def make_range(
    lower: Any, upper: Any, has_lower: bool, has_upper: bool, *, discrete: bool
) -> Range:
    """Build a range in its canonical form."""
    if lower is not None and upper is not None and upper < lower:
        message = "range lower bound must be less than or equal to range upper bound"
        raise sql_error("22000", message)
    if discrete:
        if lower is not None and not has_lower:
            lower, has_lower = _next(lower), True
        if upper is not None and has_upper:
            upper, has_upper = _next(upper), False
    if lower is not None and lower == upper and not (has_lower and has_upper):
        return Range(empty=True)
    if discrete and lower is not None and upper is not None and upper <= lower:
        return Range(empty=True)
    return Range(lower, upper, has_lower=has_lower, has_upper=has_upper)


def _next(bound: Any) -> Any:
    if isinstance(bound, Infinity):
        return bound
    if isinstance(bound, date):
        try:
            return bound + timedelta(days=1)
        except OverflowError:
            raise unsupported("dates outside of the years 1 to 9999") from None
    return bound + 1


_RANGE_QUOTED = re.compile(r'[()\[\]",\\\s]')


def _bound_text(bound: Any, text: Callable[[Any], str]) -> str:
    if bound is None:
        return ""
    out = text(bound)
    if not out or _RANGE_QUOTED.search(out):
        out = '"' + out.replace("\\", "\\\\").replace('"', '""') + '"'
    return out


def range_text(value: Range, text: Callable[[Any], str]) -> str:
    """Print a range."""
    if value.empty:
        return "empty"
    opening = "[" if value.has_lower else "("
    closing = "]" if value.has_upper else ")"
    return f"{opening}{_bound_text(value.lower, text)},{_bound_text(value.upper, text)}{closing}"


class TsVector:
    """The lexemes of a document with their positions."""

    __slots__ = ("lexemes",)

    def __init__(self, lexemes: dict[str, tuple[tuple[int, str], ...]]) -> None:
        self.lexemes = {k: lexemes[k] for k in sorted(lexemes)}

    @property
    def key(self) -> tuple[Any, ...]:
        """What vectors compare by."""
        return tuple(self.lexemes.items())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TsVector) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def __str__(self) -> str:
        parts = []
        for lexeme, places in self.lexemes.items():
            quoted = "'" + lexeme.replace("\\", "\\\\").replace("'", "''") + "'"
            shown = ",".join(f"{at}{weight if weight != 'D' else ''}" for at, weight in places)
            parts.append(f"{quoted}:{shown}" if shown else quoted)
        return " ".join(parts)


_LEXEME = re.compile(r"\s*(?:'((?:[^'\\]|''|\\.)*)'|((?:[^\s':\\]|\\.)+))(?::([\dA-Da-d,]+))?")


def parse_tsvector(text: str) -> TsVector:
    """Read a ``tsvector``: ``'foo':1 'bar':2A``."""
    lexemes: dict[str, set[tuple[int, str]]] = {}
    at = 0
    stripped = text.rstrip()
    while at < len(stripped):
        found = _LEXEME.match(stripped, at)
        if found is None:
            raise sql_error("42601", f'syntax error in tsvector: "{text}"')
        quoted, bare, places = found.groups()
        word = quoted.replace("''", "'") if quoted is not None else bare
        word = re.sub(r"\\(.)", r"\1", word)
        marks = lexemes.setdefault(word, set())
        for place in (places or "").split(","):
            if match := re.fullmatch(r"(\d{1,5})([A-Da-d]?)", place):
                marks.add((min(int(match[1]), 16383), (match[2] or "D").upper()))
        at = found.end()
    return TsVector({word: tuple(sorted(marks)) for word, marks in lexemes.items()})
