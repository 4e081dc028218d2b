"""Filters as functions of a row: ``eq``, ``in``, ``like``, ``cs`` … with SQL's three values.

A predicate returns True, False, or None where PostgreSQL's answer is null.
"""

from __future__ import annotations

import operator as op
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from operator import itemgetter
from typing import Any

from pytest_truasync.supabase import _errors as errors
from pytest_truasync.supabase._fts import document_of, parse_tsquery
from pytest_truasync.supabase._json import Json, Number, contains, dumps, dumps_compact, loads
from pytest_truasync.supabase._literals import Range
from pytest_truasync.supabase._numbers import parse_numeric
from pytest_truasync.supabase._patterns import like_regex, posix_regex
from pytest_truasync.supabase._query import Condition, Field, Filter, Logic, Step
from pytest_truasync.supabase._types import (
    JSON,
    JSONB,
    TEXT,
    TEXT_FAMILIES,
    PgType,
    array_of,
    builtin,
    refuse_opaque,
)

Frame = Mapping[Any, Any]
Getter = Callable[[Any], Any]
Predicate = Callable[[Any], bool | None]

#: PostgREST's operator → PostgreSQL's.
SYMBOLS = {
    "eq": "=",
    "neq": "<>",
    "gt": ">",
    "gte": ">=",
    "lt": "<",
    "lte": "<=",
    "like": "~~",
    "ilike": "~~*",
    "match": "~",
    "imatch": "~*",
    "in": "=",
    "isdistinct": "=",
    "cs": "@>",
    "cd": "<@",
    "ov": "&&",
    "sl": "<<",
    "sr": ">>",
    "nxr": "&<",
    "nxl": "&>",
    "adj": "-|-",
}
_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "eq": op.eq,
    "neq": op.ne,
    "gt": op.gt,
    "gte": op.ge,
    "lt": op.lt,
    "lte": op.le,
}
_PATTERNS = frozenset({"like", "ilike", "match", "imatch"})
#: Families without an order or equality of their own.
_INCOMPARABLE = frozenset({"json", "xml"})


class Columns:
    """The columns that a filter can name: their types, and how errors call the table."""

    def __init__(self, types: Mapping[str, PgType], label: str, config: str = "english") -> None:
        self.types, self.label, self.config = types, label, config

    def find(self, field: Field) -> tuple[PgType, Getter]:
        """Return the type of a field and what takes it out of a row.

        Raises:
            ApiError: No such column, or a JSON path through what is no JSON.
        """
        kind = self.types.get(field.name)
        if kind is None:
            suggestion = close_name(field.name, self.types)
            raise errors.undefined_column(
                self.label, field.name, suggestion and f"{self.label}.{suggestion}"
            )
        get = itemgetter(field.name)
        return follow(field.path, kind, get) if field.path else (kind, get)


def close_name(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that PostgreSQL would suggest for a misspelt one."""
    best, nearest = None, 4
    for candidate in known:
        if abs(len(name) - len(candidate)) > 3 or len(name) > 63:
            continue
        found = errors.distance(name, candidate)
        if found < nearest and found <= max(len(name), 1) // 2:
            best, nearest = candidate, found
    return best


def follow(path: tuple[Step, ...], kind: PgType, get: Getter) -> tuple[PgType, Getter]:
    """Return the type of a JSON path, and what follows it.

    Raises:
        ApiError: An arrow after ``->>``, whose text has no arrows.
    """
    for step, following in pairwise(path):
        if step.text:
            raise errors.no_operator("text", "->>" if following.text else "->")
    as_text = path[-1].text
    keys = tuple(step.key for step in path)
    written = kind.family == "json"
    parsed = parsed_json(kind)

    def walk(row: Any) -> Any:
        value = get(row)
        if value is None:
            return None
        value = parsed(value)
        for key in keys:
            if isinstance(key, int):
                if isinstance(value, list) and -len(value) <= key < len(value):
                    value = value[key]
                elif isinstance(value, (list, dict)) or written or key not in {0, -1}:
                    return None  # jsonb keeps a scalar as an array of one, and it shows here
            elif isinstance(value, dict) and key in value:
                value = value[key]
            else:
                return None
        if as_text:
            return json_text(value, written)
        return Json(dumps_compact(value) if written else None, value)

    return (TEXT if as_text else JSON if written else JSONB), walk


def parsed_json(kind: PgType) -> Callable[[Any], Any]:
    """Return ``to_jsonb`` of a type's values, parsed."""
    if kind.family in {"json", "jsonb"}:
        return lambda value: value.value
    if kind.family in {"int", "bool"} or kind.family in TEXT_FAMILIES:
        return lambda value: value
    return lambda value: loads(kind.json(value))


def json_text(value: Any, written: bool) -> str | None:
    """Return a parsed JSON value as ``->>`` does."""
    if value is None or type(value) is str:
        return value
    if isinstance(value, (dict, list)):
        return dumps_compact(value) if written else dumps(value)
    if isinstance(value, Number):
        return str(value) if written else dumps(value)
    return dumps(value)


# three-valued logic


def negate(test: Predicate) -> Predicate:
    """Return ``not``: null stays null."""

    def apply(row: Any) -> bool | None:
        found = test(row)
        return None if found is None else not found

    return apply


def combine(tests: list[Predicate], *, every: bool) -> Predicate:
    """Return ``and`` (every) or ``or`` of several tests."""
    if len(tests) == 1:
        return tests[0]
    decisive = not every

    def apply(row: Any) -> bool | None:
        unknown = False
        for test in tests:
            found = test(row)
            if found is None:
                unknown = True
            elif found is decisive:
                return decisive
        return None if unknown else every

    return apply


def compile_condition(
    condition: Condition,
    columns: Columns,
    null_embed: Callable[[Filter], Predicate | None] = lambda _: None,
) -> Predicate:
    """Compile one filter or tree of filters.

    Args:
        condition: What the query says.
        columns: What it can speak of.
        null_embed: Gives the test for a filter that means an embedded resource, or None.

    Raises:
        ApiError: What PostgreSQL answers to such a query.
    """
    if isinstance(condition, Logic):
        tests = [compile_condition(c, columns, null_embed) for c in condition.children]
        test = combine(tests, every=condition.operator == "and")
        return negate(test) if condition.negated else test
    if (special := null_embed(condition)) is not None:
        return special
    return compile_filter(condition, columns)


def compile_filter(made: Filter, columns: Columns) -> Predicate:
    """Compile one filter."""
    kind, get = columns.find(made.field)
    test = _compile(made, kind, get, columns.config)
    return negate(test) if made.negated else test


def _compile(made: Filter, kind: PgType, get: Getter, config: str) -> Predicate:
    name = made.operator
    if name == "is":
        return _is(made.value, kind, get)
    if name == "in":
        return _in(made.values, kind, get)
    if name.endswith("fts"):
        return _fts(made, kind, get, config)
    if made.quantifier is not None:
        return _quantified(made, kind, get)
    if name in _PATTERNS:
        return _pattern(name, made.value, kind, get)
    if name in _COMPARISONS:
        return _compare(name, made.value, kind, get)
    if name == "isdistinct":
        return _is_distinct(made.value, kind, get)
    return _set_operator(name, made.value, kind, get)


def _check_comparable(name: str, kind: PgType) -> None:
    if kind.family in _INCOMPARABLE:
        raise errors.no_operator(kind.message_name, SYMBOLS[name])
    if kind.family == "opaque" and name not in {"eq", "neq", "in", "isdistinct"}:
        raise refuse_opaque(kind, name)


def _unlimited(kind: PgType) -> PgType:
    """Return the type without its length: a literal is not held to that of the column."""
    if kind.family in TEXT_FAMILIES:
        return replace(kind, parse=_itself)
    if kind.family == "numeric":
        return replace(kind, parse=parse_numeric)
    return builtin("bit varying") or kind if kind.family == "bit" else kind


def _literal(text: str, kind: PgType) -> Any:
    value = _unlimited(kind).parse(text)
    return kind.key(value) if kind.key else value


def _compare(name: str, text: str, kind: PgType, get: Getter) -> Predicate:
    _check_comparable(name, kind)
    value = _literal(text, kind)
    compare = _COMPARISONS[name]
    if kind.key is not None:
        key = kind.key
        return lambda row: None if (v := get(row)) is None else compare(key(v), value)
    if name == "eq":
        return lambda row: None if (v := get(row)) is None else v == value
    return lambda row: None if (v := get(row)) is None else compare(v, value)


def _is_distinct(text: str, kind: PgType, get: Getter) -> Predicate:
    _check_comparable("isdistinct", kind)
    value, key = _literal(text, kind), kind.key or _itself
    return lambda row: True if (v := get(row)) is None else key(v) != value


def _itself(value: Any) -> Any:
    return value


def _is(word: str, kind: PgType, get: Getter) -> Predicate:
    if word == "null":
        return lambda row: get(row) is None
    if word == "not_null":
        return lambda row: get(row) is not None
    if kind.family != "bool":
        message = f"argument of IS {word.upper()} must be type boolean, not type {kind.name}"
        raise errors.sql_error("42804", message)
    wanted = {"true": True, "false": False, "unknown": None}[word]
    return lambda row: get(row) is wanted


def _in(texts: tuple[str, ...], kind: PgType, get: Getter) -> Predicate:
    _check_comparable("in", kind)
    if texts == ("",):  # PostgREST reads in.() so: nothing is in it
        return lambda row: False
    if kind.family == "array":
        raise errors.unsupported("the operator in on arrays", "Use or=(col.eq.{..},col.eq.{..}).")
    values: Any = [_literal(text, kind) for text in texts]
    key = kind.key or _itself
    with suppress(TypeError):  # a few kinds of values have no hash
        values = frozenset(values)
    return lambda row: None if (v := get(row)) is None else key(v) in values


def _pattern_test(name: str, text: str) -> Callable[[str], bool]:
    if name in {"like", "ilike"}:
        match = like_regex(text.replace("*", "%"), name == "ilike").fullmatch
        return lambda value: match(value) is not None
    search = posix_regex(text, name == "imatch").search
    return lambda value: search(value) is not None


def _check_pattern(name: str, kind: PgType) -> None:
    if kind.family not in TEXT_FAMILIES:
        raise errors.no_operator(kind.message_name, SYMBOLS[name])


def _pattern(name: str, text: str, kind: PgType, get: Getter) -> Predicate:
    _check_pattern(name, kind)
    if kind.family == "citext":
        name = {"like": "ilike", "match": "imatch"}.get(name, name)
    test = _pattern_test(name, text)
    return lambda row: None if (v := get(row)) is None else test(v)


def _quantified(made: Filter, kind: PgType, get: Getter) -> Predicate:
    name, every = made.operator, made.quantifier == "all"
    tests: list[Callable[[Any], bool] | None] = []
    if name in _PATTERNS:
        _check_pattern(name, kind)
        likes = name in {"like", "ilike"}
        texts = array_of(TEXT).parse(made.value.replace("*", "%") if likes else made.value)
        tests = [None if t is None else _pattern_test(name, t) for t in flatten(texts)]
        key: Callable[[Any], Any] = _itself
    else:
        _check_comparable(name, kind)
        key = kind.key or _itself
        compare = _COMPARISONS[name]
        for value in flatten(array_of(_unlimited(kind)).parse(made.value)):
            tests.append(None if value is None else _against(compare, key(value)))

    def apply(row: Any) -> bool | None:
        value = get(row)
        if value is None:
            return every if not tests else None
        value = key(value)
        unknown = False
        for test in tests:
            if test is None:
                unknown = True
            elif test(value) is not every:
                return not every
        return None if unknown else every

    return apply


def _against(compare: Callable[[Any, Any], bool], other: Any) -> Callable[[Any], bool]:
    return lambda value: compare(value, other)


def flatten(items: Iterable[Any]) -> list[Any]:
    """Return the elements of an array of any depth."""
    found = []
    for item in items:
        if isinstance(item, list):
            found += flatten(item)
        else:
            found.append(item)
    return found


# containment and ranges


def _set_operator(name: str, text: str, kind: PgType, get: Getter) -> Predicate:
    table = _SET_OPERATORS.get(kind.family, {})
    test = table.get(name)
    if test is None:
        if kind.family in {"opaque", "inet", "tsvector", "int", "bit"}:
            raise refuse_opaque(kind, name)
        raise errors.no_operator(kind.message_name, SYMBOLS[name])
    value = kind.parse(text)
    if kind.family == "array" and kind.element is not None:
        key = kind.element.key or _itself
        other = _elements(value, key)
        return lambda row: None if (v := get(row)) is None else test(_elements(v, key), other)
    return lambda row: None if (v := get(row)) is None else test(v, value)


def _elements(items: list[Any], key: Callable[[Any], Any]) -> list[Any]:
    return [None if i is None else key(i) for i in flatten(items)]


def _has_all(outer: list[Any], inner: list[Any]) -> bool:
    return all(i is not None and i in outer for i in inner)


def _has_any(left: list[Any], right: list[Any]) -> bool:
    return any(i is not None and i in right for i in left)


def _not_right_of(left: Range, right: Range) -> bool:
    return not left.empty and not right.empty and left.stop <= right.stop


def _not_left_of(left: Range, right: Range) -> bool:
    return not left.empty and not right.empty and left.start >= right.start


def _ancestor(left: str, right: str) -> bool:
    return not left or right == left or right.startswith(left + ".")


_SET_OPERATORS: dict[str, dict[str, Callable[[Any, Any], bool]]] = {
    "array": {
        "cs": _has_all,
        "cd": lambda left, right: _has_all(right, left),
        "ov": _has_any,
    },
    "jsonb": {
        "cs": lambda left, right: contains(left.value, right.value),
        "cd": lambda left, right: contains(right.value, left.value),
    },
    "range": {
        "cs": lambda left, right: left.contains(right),
        "cd": lambda left, right: right.contains(left),
        "ov": lambda left, right: left.overlaps(right),
        "sl": lambda left, right: left.before(right),
        "sr": lambda left, right: right.before(left),
        "nxr": _not_right_of,
        "nxl": _not_left_of,
        "adj": lambda left, right: left.adjacent(right),
    },
    "ltree": {
        "cs": _ancestor,
        "cd": lambda left, right: _ancestor(right, left),
    },
}


def _fts(made: Filter, kind: PgType, get: Getter, config: str) -> Predicate:
    config = made.language or config
    document = document_of(kind, config)
    query = parse_tsquery(made.operator, made.value, config)

    def apply(row: Any) -> bool | None:
        value = get(row)
        return None if value is None else query(document(value))

    return apply
