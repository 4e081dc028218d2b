"""The query string: ``select=``, filters, ``and``/``or``, ``order``, ``limit`` as values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Step:
    """One arrow of a JSON path; *text* for ``->>``. An integer *key* is an array's index."""

    text: bool
    key: str | int


@dataclass(frozen=True, slots=True)
class Field:
    """A column, or what a JSON path finds in it."""

    name: str
    path: tuple[Step, ...] = ()


@dataclass(frozen=True, slots=True)
class SelectField:
    """``alias:field::cast.aggregate()::cast``; the name ``*`` is every column."""

    field: Field
    alias: str | None = None
    cast: str | None = None
    aggregate: str | None = None
    aggregate_cast: str | None = None


@dataclass(frozen=True, slots=True)
class SelectEmbed:
    """``alias:name!hint!inner(items)``, or ``...name(items)``."""

    name: str
    items: tuple[SelectField | SelectEmbed, ...]
    alias: str | None = None
    hint: str | None = None
    inner: bool = False
    spread: bool = False


SelectItem = SelectField | SelectEmbed


@dataclass(frozen=True, slots=True)
class Filter:
    """``field.not.operator(any).value``; *values* is for ``in``."""

    field: Field
    operator: str
    value: str = ""
    negated: bool = False
    quantifier: Literal["any", "all"] | None = None
    values: tuple[str, ...] = ()
    language: str | None = None


@dataclass(frozen=True, slots=True)
class Logic:
    """``and(...)`` or ``or(...)``."""

    operator: Literal["and", "or"]
    children: tuple[Filter | Logic, ...]
    negated: bool = False


Condition = Filter | Logic


@dataclass(frozen=True, slots=True)
class OrderTerm:
    """``field.desc.nullslast``; with *relation* the field is of that embedded resource."""

    field: Field
    descending: bool = False
    nulls_first: bool | None = None
    relation: str | None = None


@dataclass(frozen=True, slots=True)
class Span:
    """Rows from *lower* on to *upper*; None is without end."""

    lower: int = 0
    upper: int | None = None

    @property
    def limit(self) -> int | None:
        """How many rows at most; negative where the request said so."""
        return None if self.upper is None else 1 + self.upper - self.lower

    @property
    def is_empty(self) -> bool:
        """Whether no row can be in it."""
        return self.upper is not None and self.upper < self.lower

    @property
    def is_zero(self) -> bool:
        """Whether it came of ``limit=0``, which is allowed."""
        return self.upper == -1

    def within(self, other: Span) -> Span:
        """Return what both have in common."""
        uppers = [u for u in (self.upper, other.upper) if u is not None]
        return Span(max(self.lower, other.lower), min(uppers) if uppers else None)


ALL_ROWS = Span()
ZERO_ROWS = Span(0, -1)

Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class QueryParams:
    """The parsed query string; each part with the path of the embedded resource it is for."""

    select: tuple[SelectItem, ...]
    filters: tuple[tuple[Path, Filter], ...]
    logic: tuple[tuple[Path, Logic], ...]
    order: tuple[tuple[Path, tuple[OrderTerm, ...]], ...]
    spans: tuple[tuple[str, Span], ...]
    columns: tuple[str, ...] | None
    on_conflict: tuple[str, ...] | None
    arguments: tuple[tuple[str, str], ...]
    filter_keys: frozenset[str]
    canonical: str

    @property
    def span(self) -> Span:
        """The rows that ``limit`` and ``offset`` ask for at the top."""
        return dict(self.spans).get("limit", ALL_ROWS)
