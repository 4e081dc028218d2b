"""``rpc/``: calls of Python functions, and what they return as rows or values."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from uuid import UUID

from pytest_truasync.supabase import _types as t
from pytest_truasync.supabase._columns import Column
from pytest_truasync.supabase._convert import from_json
from pytest_truasync.supabase._json import Number, dumps_compact, loads
from pytest_truasync.supabase._request import CSV_TYPE, ApiRequest, MediaType
from pytest_truasync.supabase._schema import PYTHON_TYPES, Relation
from pytest_truasync.supabase._store import Row, Store, plain
from pytest_truasync.supabase._types import PgType


@dataclass(frozen=True, slots=True)
class Call:
    """The arguments of one call, and whether they are texts of a query string."""

    arguments: Mapping[str, Any]
    texts: bool
    whole: Any
    raw: bytes | None

    @property
    def names(self) -> list[str]:
        """The names of the arguments."""
        return list(self.arguments)

    @classmethod
    def of(cls, request: ApiRequest) -> Call:
        """Take the arguments out of a request."""
        payload = request.payload
        if payload is None:
            return cls(dict(request.query.arguments), True, None, None)
        if payload.scalar and payload.is_object:
            return cls({}, False, None, payload.data)
        texts = request.content_type.name not in {"application/json", CSV_TYPE}
        first = payload.rows[0] if payload.rows else {}
        given = {name: first.get(name) for name in payload.keys}
        whole = loads(payload.text) if payload.text else payload.rows
        return cls(given, texts, whole, None)


def function_of(found: Callable[..., Any]) -> Function:
    """Return the declared function, or a bare one as declared."""
    return found if isinstance(found, Function) else Function(found)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a function returned: rows of a relation, or a value and its type."""

    many: bool
    void: bool = False
    relation: Relation | None = None
    rows: list[Row] = field(default_factory=list)
    kind: PgType = t.TEXT
    value: Any = None

    @property
    def count(self) -> int:
        """How many rows it counts as."""
        return len(self.value) if self.many and self.value is not None else 1

    def text(self, media: MediaType) -> str:
        """Return the body of a scalar answer."""
        if media.name == CSV_TYPE:
            values = self.value if self.many else [self.value]
            shown = ["" if v is None else self.kind.text(v) for v in values]
            return "pgrst_scalar\n" + "\n".join(shown)
        if not self.many:
            return "null" if self.value is None else self.kind.json(self.value)
        parts = ["null" if v is None else self.kind.json(v) for v in self.value]
        return "[" + ", ".join(parts) + "]"


class Function:
    """A Python function that ``rpc/`` calls, sync or async.

    Its parameters are the function's arguments by name; a single positional-only one
    (``def f(body, /)``) takes the whole body.

    Args:
        call: The function.
        returns: What PostgreSQL's would be declared to return: ``"setof contests"``,
            ``"contests"``, ``"integer"``, ``"setof text"``, ``"jsonb"``, ``"void"``. Without it
            the kind is taken from the value: a list of mappings is rows, a mapping is one row,
            anything else a value; ``-> None`` is void.
        read_only: Whether it is ``stable`` or ``immutable``.
    """

    def __init__(
        self, call: Callable[..., Any], *, returns: str | None = None, read_only: bool = False
    ) -> None:
        self.function, self.returns, self.read_only = call, returns, read_only
        try:
            signature = inspect.signature(call, eval_str=True)
        except (NameError, TypeError, SyntaxError):
            signature = inspect.signature(call)
        self.parameters = signature.parameters
        self.void = returns == "void" or (returns is None and signature.return_annotation is None)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)

    @property
    def names(self) -> list[str]:
        """The names of its parameters."""
        return [p.name for p in self.parameters.values() if p.kind in _NAMED]

    @property
    def takes_whole_body(self) -> bool:
        """Whether its only parameter is positional-only."""
        found = list(self.parameters.values())
        return len(found) == 1 and found[0].kind is inspect.Parameter.POSITIONAL_ONLY

    def accepts(self, call: Call) -> bool:
        """Tell whether it can be called so."""
        if self.takes_whole_body:
            return call.raw is not None or not call.texts
        if call.raw is not None:
            return False
        given = set(call.names)
        if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in self.parameters.values()):
            known = given
        else:
            known = set(self.names)
        required = {
            p.name
            for p in self.parameters.values()
            if p.kind in _NAMED and p.default is inspect.Parameter.empty
        }
        return required <= given <= known

    async def run(self, call: Call) -> Any:
        """Call it, and wait where it is a coroutine."""
        if self.takes_whole_body:
            if call.raw is None:
                result = self.function(python_value(call.whole))
            else:
                (parameter,) = self.parameters.values()
                binary = parameter.annotation is bytes
                body = call.raw if binary else call.raw.decode("utf-8", "replace")
                result = self.function(body)
        else:
            arguments = {
                name: self.argument(name, value, call.texts)
                for name, value in call.arguments.items()
            }
            result = self.function(**arguments)
        return await result if inspect.isawaitable(result) else result

    def argument(self, name: str, value: Any, texts: bool) -> Any:
        """Convert an argument to what its annotation asks for, as PostgreSQL would."""
        parameter = self.parameters.get(name)
        wanted = _plain_type(parameter.annotation) if parameter is not None else None
        if value is None or wanted is None:
            return python_value(value)
        kind = t.TypeBook().find(PYTHON_TYPES[wanted])
        if texts:
            converted = kind.parse(value)
        else:
            converted = from_json(kind, value, name, partial(dumps_compact, value))
        if wanted is UUID:
            return UUID(converted)
        return python_value(converted.value) if wanted in {dict, list} else converted

    def shape(self, result: Any, store: Store) -> Answer:
        """Turn what it returned into rows or a value."""
        if self.void:
            return Answer(many=False, void=True)
        declared = (self.returns or "").strip()
        many = declared.lower().startswith("setof ")
        name = declared[6:].strip() if many else declared
        if name in store.schema.relations:
            relation = store.schema.relations[name]
            items = _listed(result) if many else [] if result is None else [result]
            rows = [
                {
                    column: store.convert(relation, {column: item.get(column)})[column]
                    for column in relation.types
                }
                for item in items
            ]
            return Answer(many=many, relation=relation, rows=rows)
        if name and name not in {"record", "table"}:
            kind = store.schema.book.find(name)
            if many:
                values = [_convert(kind, v) for v in _listed(result)]
                return Answer(many=True, kind=kind, value=values)
            return Answer(many=False, kind=kind, value=_convert(kind, result))
        return _inferred(self.function, result)


_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def _plain_type(annotation: Any) -> type | None:
    """Return the one type that an annotation means, or None."""
    if typing.get_origin(annotation) in {types.UnionType, typing.Union}:
        rest = [a for a in typing.get_args(annotation) if a is not type(None)]
        annotation = rest[0] if len(rest) == 1 else None
    origin = typing.get_origin(annotation) or annotation
    return origin if isinstance(origin, type) and origin in PYTHON_TYPES else None


def python_value(value: Any) -> Any:
    """Return a parsed JSON value with plain numbers."""
    if isinstance(value, Number):
        return float(value)
    if isinstance(value, dict):
        return {k: python_value(v) for k, v in value.items()}
    if isinstance(value, list):
        return [python_value(v) for v in value]
    return value


def _listed(result: Any) -> list[Any]:
    return [] if result is None else list(result)


def _convert(kind: PgType, value: Any) -> Any:
    value = plain(value)
    return from_json(kind, value, "", partial(dumps_compact, value))


def _inferred(function: Callable[..., Any], result: Any) -> Answer:
    name = getattr(function, "__name__", "function")
    if isinstance(result, Mapping):
        return _rows_answer(name, [result], many=False)
    if isinstance(result, (list, tuple, set, frozenset)):
        items = list(result)
        if not items or all(isinstance(item, Mapping) for item in items):
            return _rows_answer(name, items, many=True)
        kind = _kind_of(next((i for i in items if i is not None), None))
        return Answer(many=True, kind=kind, value=[_convert(kind, item) for item in items])
    kind = _kind_of(result)
    return Answer(many=False, kind=kind, value=_convert(kind, result))


def _kind_of(value: Any) -> PgType:
    for python, name in PYTHON_TYPES.items():
        if isinstance(value, python):
            return t.TypeBook().find(name)
    return t.TEXT


class _AnyColumn(dict[str, PgType]):
    """The columns of no rows at all: every name will do."""

    def get(self, key: Any, default: Any = None) -> Any:
        return super().get(key, t.TEXT)


def _rows_answer(name: str, items: Iterable[Mapping[str, Any]], *, many: bool) -> Answer:
    rows = list(items)
    kinds: dict[str, PgType] = {} if rows else _AnyColumn()
    for row in rows:
        for column, value in row.items():
            if value is not None or column not in kinds:
                known = kinds.get(column)
                if known is None or known is t.TEXT:
                    kinds[str(column)] = _kind_of(value)
    relation = Relation(
        name=name,
        types=kinds,
        columns={column: Column(kind.name) for column, kind in kinds.items()},
        primary_key=(),
        primary_key_name="",
        uniques=(),
        foreign_keys=(),
        checks=(),
        defaults={},
        generated={},
        is_view=True,
        view_of=None,
        live=False,
        computed=True,
        not_null=(),
    )
    typed = [{c: _convert(kind, row.get(c)) for c, kind in kinds.items()} for row in rows]
    return Answer(many=many, relation=relation, rows=typed)
