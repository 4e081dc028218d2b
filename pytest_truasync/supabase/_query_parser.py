"""The query string, parsed.

A hand-written parser that accepts what PostgREST's accepts, quirks included: what follows a
complete value is ignored in a few places, as it is there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Literal, TypeVar
from urllib.parse import quote, unquote_plus

from pytest_truasync.supabase._errors import ApiError, bad_query
from pytest_truasync.supabase._query import (
    ALL_ROWS,
    Condition,
    Field,
    Filter,
    Logic,
    OrderTerm,
    Path,
    QueryParams,
    SelectEmbed,
    SelectField,
    SelectItem,
    Span,
    Step,
)

T = TypeVar("T")


class _FailedError(Exception):
    def __init__(self, at: int, expecting: str) -> None:
        super().__init__(expecting)
        self.at, self.expecting = at, expecting


_WORD = re.compile(r"(?:[^\W_]|[_ $])+")
_JSON_KEY = re.compile(r"[^(\-:.,>)]+")
_QUOTED = re.compile(r'"((?:[^\\"]|\\.)*)"', re.DOTALL)
_INDEX = re.compile(r"(-?[0-9]+)(?=->|::|\.|,|\Z)")
_DASH = re.compile(r"-(?!>)")
_OPERATOR = re.compile(
    r"(?P<in>in\.)|(?P<is>is\.)|isdistinct\.|"
    r"(?P<fts>fts|plfts|phfts|wfts)(?:\((?P<lang>(?:[^\W_]|[_ $])+)\))?\.|"
    r"(?P<simple>neq|cs|cd|ov|sl|sr|nxr|nxl|adj)\.|"
    r"(?P<quant>eq|gte|gt|lte|lt|like|ilike|match|imatch)(?:\((?P<q>any|all)\))?\."
)
_IS = re.compile(r"null|not_null|true|false|unknown", re.IGNORECASE)
_PG_ARRAY = re.compile(r"\{[^{}]*\}")
_UNTIL_END = re.compile(r"[^,)]*")
_SPACE = re.compile(r"[ \t]*")
_AGGREGATE = re.compile(r"\.(sum|avg|count|max|min)\(\)")


def _unescape(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL) if "\\" in text else text


class _Cursor:
    """A text and how far it was read."""

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0

    def fail(self, expecting: str) -> _FailedError:
        return _FailedError(self.at, expecting)

    def match(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        found = pattern.match(self.text, self.at)
        if found is not None:
            self.at = found.end()
        return found

    def accept(self, text: str) -> bool:
        if self.text.startswith(text, self.at):
            self.at += len(text)
            return True
        return False

    def expect(self, text: str) -> None:
        if not self.accept(text):
            raise self.fail(f'"{text}"')

    def starts(self, *texts: str) -> bool:
        return any(self.text.startswith(t, self.at) for t in texts)

    @property
    def ended(self) -> bool:
        return self.at >= len(self.text)

    def space(self) -> None:
        self.match(_SPACE)

    def comma(self) -> bool:
        """Take a comma with the space around it, or nothing."""
        start = self.at
        self.space()
        if self.accept(","):
            self.space()
            return True
        self.at = start
        return False

    def attempt(self, parse: Callable[[], T]) -> T | None:
        """Run *parse*; where it fails nothing was read."""
        start = self.at
        try:
            return parse()
        except _FailedError:
            self.at = start
            return None

    # names

    def quoted(self) -> str | None:
        found = self.match(_QUOTED)
        return None if found is None else _unescape(found[1])

    def dashed(self, part: re.Pattern[str], expecting: str) -> str:
        parts = []
        while True:
            found = self.match(part)
            if found is None:
                raise self.fail(expecting)
            parts.append(found[0].strip())
            if self.match(_DASH) is None:
                return "-".join(parts)

    def name(self) -> str:
        if self.starts('"'):
            quoted = self.quoted()
            if quoted is None:
                raise self.fail("any character")
            return quoted
        return self.dashed(_WORD, "field name (* or [a..z0..9_$])")

    def path(self) -> tuple[Step, ...]:
        steps = []
        while self.starts("->"):
            text = self.accept("->>") or not self.accept("->")
            if found := self.match(_INDEX):
                steps.append(Step(text, int(found[1])))
                continue
            quoted = self.quoted()
            if quoted is None:
                quoted = self.dashed(_JSON_KEY, "any non reserved character different from: .,>()")
            steps.append(Step(text, quoted))
        return tuple(steps)

    def field(self) -> Field:
        self.space()
        made = Field(self.name(), self.path())
        self.space()
        return made

    # select

    def forest(self) -> tuple[SelectItem, ...]:
        items: list[SelectItem] = []
        start = self.at
        try:
            items.append(self.item())
        except _FailedError as failed:
            if failed.at > start or self.at > start:
                raise
            return ()
        while self.comma():
            items.append(self.item())
        return tuple(items)

    def item(self) -> SelectItem:
        embed = self.attempt(self.spread) or self.attempt(self.embed)
        if embed is None:
            return self.select_field()
        self.expect("(")
        items = self.forest()
        self.expect(")")
        return SelectEmbed(embed.name, items, embed.alias, embed.hint, embed.inner, embed.spread)

    def spread(self) -> SelectEmbed:
        self.space()
        self.expect("...")
        return self.embed_head(None, self.name(), spread=True)

    def embed(self) -> SelectEmbed:
        self.space()
        alias = self.attempt(self.alias)
        name = self.name()
        if name == "count":
            raise self.fail("a relation")
        return self.embed_head(alias, name)

    def embed_head(self, alias: str | None, name: str, *, spread: bool = False) -> SelectEmbed:
        hint, join = None, None
        for _ in range(2):
            if not self.accept("!"):
                continue
            if self.accept("left"):
                join = join or "left"
            elif self.accept("inner"):
                join = join or "inner"
            else:
                found = self.name()
                hint = found if hint is None else hint
        if not self.starts("("):
            raise self.fail('"("')
        return SelectEmbed(name, (), alias, hint, join == "inner", spread)

    def alias(self) -> str:
        name = self.name()
        if not self.accept(":") or self.starts(":"):
            raise self.fail('":"')
        return name

    def item_end(self) -> None:
        if not self.ended and not self.starts(")", ","):
            raise self.fail('")", "," or end of input')

    def select_field(self) -> SelectField:
        self.space()
        made = self.attempt(self.star) or self.attempt(self.count) or self.plain_field()
        self.space()
        return made

    def star(self) -> SelectField:
        self.expect("*")
        self.item_end()
        return SelectField(Field("*"))

    def count(self) -> SelectField:
        alias = self.attempt(self.alias)
        self.expect("count()")
        cast = self.cast()
        self.item_end()
        return SelectField(Field("*"), alias, None, "count", cast)

    def plain_field(self) -> SelectField:
        alias = self.attempt(self.alias)
        field = self.field()
        cast = self.cast()
        found = self.match(_AGGREGATE)
        aggregate_cast = self.cast()
        self.item_end()
        return SelectField(field, alias, cast, found[1] if found else None, aggregate_cast)

    def cast(self) -> str | None:
        if not self.accept("::"):
            return None
        found = self.match(_WORD)
        if found is None:
            raise self.fail("letter or digit")
        return found[0].strip()

    # filters

    def operation(self, field: Field, value: Callable[[], str]) -> Filter:
        negated = self.accept("not.")
        start = self.at
        found = self.match(_OPERATOR)
        if found is None:
            raise self.fail('"not" or operator (eq, gt, ...)')
        if found["in"]:
            return Filter(field, "in", negated=negated, values=self.list_value())
        if found["is"]:
            word = self.match(_IS)
            if word is None:
                raise self.fail("isVal: (null, not_null, true, false, unknown)")
            return Filter(field, "is", word[0].lower(), negated)
        operator = found["fts"] or found["simple"] or found["quant"] or "isdistinct"
        if start == self.at:  # pragma: no cover - every alternative reads something
            raise self.fail("operator")
        return Filter(field, operator, value(), negated, _quantifier(found["q"]), (), found["lang"])

    def list_value(self) -> tuple[str, ...]:
        self.space()
        self.expect("(")
        self.space()
        values = [self.list_element()]
        while self.accept(","):
            values.append(self.list_element())
        self.space()
        self.expect(")")
        self.space()
        return tuple(values)

    def list_element(self) -> str:
        start = self.at
        quoted = self.quoted()
        if quoted is not None and (self.ended or self.starts(",", ")")):
            return quoted
        self.at = start
        found = self.match(_UNTIL_END)
        return found[0] if found else ""

    def rest(self) -> str:
        text = self.text[self.at :]
        self.at = len(self.text)
        return text

    def logic_value(self) -> str:
        start = self.at
        quoted = self.quoted()
        if quoted is not None and (self.ended or self.starts(",", ")")):
            return quoted
        self.at = start
        found = self.match(_PG_ARRAY) or self.match(_UNTIL_END)
        return found[0] if found else ""

    def condition(self) -> Condition:
        made = self.attempt(self.logic_filter)
        return made if made is not None else self.logic()

    def logic_filter(self) -> Filter:
        field = self.field()
        self.expect(".")
        return self.operation(field, self.logic_value)

    def logic(self) -> Logic:
        negated = self.accept("not.")
        operator: Literal["and", "or"]
        if self.accept("and"):
            operator = "and"
        elif self.accept("or"):
            operator = "or"
        else:
            raise self.fail("logic operator (and, or)")
        self.space()
        self.expect("(")
        self.space()
        children = [self.condition()]
        while self.comma():
            children.append(self.condition())
        self.space()
        self.expect(")")
        self.space()
        return Logic(operator, tuple(children), negated)

    # order

    def order(self) -> tuple[OrderTerm, ...]:
        terms = []
        while True:
            self.space()
            terms.append(self.attempt(self.related_term) or self.order_term())
            self.space()
            if not self.accept(","):
                return tuple(terms)

    def order_term(self) -> OrderTerm:
        return self.directed(self.field(), None)

    def related_term(self) -> OrderTerm:
        relation = self.name()
        self.expect("(")
        field = self.field()
        self.expect(")")
        return self.directed(field, relation)

    def directed(self, field: Field, relation: str | None) -> OrderTerm:
        descending = False
        if self.accept(".asc") or (descending := self.accept(".desc")):
            pass
        nulls = True if self.accept(".nullsfirst") else None
        if nulls is None and self.accept(".nullslast"):
            nulls = False
        if not self.ended and not self.starts(","):
            raise self.fail('"," or end of input')
        return OrderTerm(field, descending, nulls, relation)

    # keys

    def tree_path(self) -> tuple[Path, Field]:
        names = [self.name()]
        while self.accept("."):
            names.append(self.name())
        return tuple(names[:-1]), Field(names[-1], self.path())

    def name_list(self) -> tuple[str, ...]:
        found = [self.name()]
        while self.comma():
            found.append(self.name())
        return tuple(dict.fromkeys(found))


def _quantifier(text: str | None) -> Literal["any", "all"] | None:
    return "any" if text == "any" else "all" if text == "all" else None


def _run(text: str, what: str, shown: str, parse: Callable[[_Cursor], T]) -> T:
    cursor = _Cursor(text)
    try:
        return parse(cursor)
    except _FailedError as failed:
        column = failed.at + 1
        found = (
            f'unexpected "{text[failed.at]}"'
            if failed.at < len(text)
            else ("unexpected end of input")
        )
        message = f'"failed to parse {what} ({shown})" (line 1, column {column})'
        raise bad_query(message, f"{found} expecting {failed.expecting}") from None
    except RecursionError:
        message = f'"failed to parse {what}" (line 1, column 1)'
        raise bad_query(message, "nested too deeply") from None


def split_query(raw: str) -> list[tuple[str, str | None]]:
    """Cut a raw query string into decoded names and values; None where there is no ``=``."""
    found = []
    for part in re.split("[&;]", raw):
        if part:
            name, equals, value = part.partition("=")
            found.append((unquote_plus(name), unquote_plus(value) if equals else None))
    return found


_RESERVED = {"select", "columns", "on_conflict"}
_ENDINGS = {"order", "limit", "offset", "and", "or"}
_INTEGER = re.compile(r"\s*(-?[0-9]{1,18})\s*", re.ASCII)


def _integer(text: str) -> int | None:
    found = _INTEGER.fullmatch(text)
    return int(found[1]) if found else None


def _last(key: str) -> str:
    return key.rpartition(".")[2]


@lru_cache(maxsize=2048)
def parse_query(raw: str, *, rpc_read: bool = False) -> QueryParams:
    """Parse a raw query string.

    Args:
        raw: What follows the ``?``, percent-encoded.
        rpc_read: Whether a value without operator is a function's argument.

    Raises:
        ApiError: PGRST100.
    """
    params = split_query(raw)
    given = [(k, v) for k, v in params if v is not None]
    first: dict[str, str] = {}
    for key, value in given:
        first.setdefault(key, value)
    order = tuple(_order(k, v) for k, v in given if _last(k) == "order")
    logic = tuple(_logic(k, v) for k, v in given if _last(k) in {"and", "or"})
    columns = _name_list(first.get("columns"), "columns")
    shown = first.get("select", "*")
    select = _run(shown, "select parameter", shown, _Cursor.forest)
    filters: list[tuple[Path, Filter]] = []
    arguments: list[tuple[str, str]] = []
    keys = set()
    for key, value in given:
        if key in _RESERVED or _last(key) in _ENDINGS:
            continue
        keys.add(key)
        path, made = _filter(key, value, rpc_read)
        if made is None:
            arguments.append((path[-1], value))
        else:
            filters.append((path, made))
    on_conflict = _name_list(first.get("on_conflict"), "on_conflict")
    return QueryParams(
        select,
        tuple(filters),
        logic,
        order,
        tuple(_spans(given).items()),
        columns,
        on_conflict,
        tuple(arguments),
        frozenset(keys),
        _canonical(params),
    )


def _order(key: str, value: str) -> tuple[Path, tuple[OrderTerm, ...]]:
    path, _ = _run(key, "tree path", key, _Cursor.tree_path)
    return path, _run(value, "order", value, _Cursor.order)


def _logic(key: str, value: str) -> tuple[Path, Logic]:
    def path_names(cursor: _Cursor) -> list[str]:
        names = [cursor.name()]
        while cursor.accept("."):
            names.append(cursor.name())
        return names

    names = _run(key, "logic path", key, path_names)
    operator = f"not.{names[-1]}" if "not" in names else names[-1]
    path = tuple(n for n in names[:-1] if n != "not")
    made = _run(operator + value, "logic tree", value, _Cursor.condition)
    if isinstance(made, Filter):  # pragma: no cover - "and" and "or" never parse as a field
        made = Logic("and", (made,))
    return path, made


def _filter(key: str, value: str, rpc_read: bool) -> tuple[Path, Filter | None]:
    path, field = _run(key, "tree path", key, _Cursor.tree_path)
    try:
        made = _run(value, "filter", value, lambda c: c.operation(field, c.rest))
    except ApiError:
        # parsec gives the alternative a chance only where nothing was read
        if rpc_read and _OPERATOR.match(value.removeprefix("not.")) is None:
            return (*path, field.name), None
        raise
    return path, made


def _name_list(value: str | None, what: str) -> tuple[str, ...] | None:
    if value is None:
        return None
    return _run(value, f"{what} parameter", value, _Cursor.name_list)


def _spans(given: Iterable[tuple[str, str]]) -> dict[str, Span]:
    limits: dict[str, Span] = {}
    offsets: dict[str, int] = {}
    for key, value in given:
        if _last(key) == "limit":
            number = _integer(value)
            limits[key] = ALL_ROWS if number is None else Span(0, number - 1)
        elif _last(key) == "offset":
            number = _integer(value)
            offsets[key[: -len("offset")] + "limit"] = number or 0
    spans = dict(limits)
    for key, offset in offsets.items():
        if key in limits:
            limit = limits[key].limit or 0
            spans[key] = Span(offset, offset + limit - 1)
        else:
            spans[key] = Span(offset)
    return spans


def _canonical(params: Iterable[tuple[str, str | None]]) -> str:

    def encode(text: str) -> str:
        return quote(text, safe="-_.~")

    ordered = sorted(params, key=lambda pair: pair[0])
    return "&".join(f"{encode(k)}={encode(v or '')}" for k, v in ordered)


def embed_path(key: str) -> Path:
    """Return the path of embedded resources in the key of a limit: ``a.b.limit``."""
    path, _ = _run(key, "tree path", key, _Cursor.tree_path)
    return path
