"""How a resource is read, and how its rows are written as JSON."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from pytest_truasync.supabase._aggregates import Fold
from pytest_truasync.supabase._json import Json, loads, quote, strip_nulls
from pytest_truasync.supabase._operators import Getter, Predicate
from pytest_truasync.supabase._query import SelectField, Span
from pytest_truasync.supabase._relationships import Relationship
from pytest_truasync.supabase._scalars import parse_jsonb
from pytest_truasync.supabase._schema import Relation
from pytest_truasync.supabase._types import PgType

#: Frame → JSON text of one row.
Render = Callable[[Any], str]


@dataclass(frozen=True, slots=True)
class Output:
    """A column of the answer; *fold* where it is aggregated."""

    name: str
    kind: PgType
    get: Getter
    fold: tuple[PgType, Fold] | None = None
    after: Callable[[Any], Any] | None = None
    source: SelectField | None = None
    source_aggregate: str | None = None

    @property
    def shown_kind(self) -> PgType:
        """The type of what is shown."""
        return self.fold[0] if self.fold else self.kind


@dataclass(frozen=True, slots=True)
class SortTerm:
    """One term of an order."""

    get: Getter
    key: Callable[[Any], Any] | None
    descending: bool
    nulls_first: bool


@dataclass(slots=True)
class ReadPlan:
    """How one resource is read.

    A frame is a stored row; where there are children it is a copy of it that holds, under the
    number of each child, the child's frame (to-one) or frames (to-many).
    """

    table: str
    relation: Relation
    relationship: Relationship | None
    inner: bool
    to_one: bool
    conditions: list[Predicate]
    late_conditions: list[Predicate]
    order: list[SortTerm]
    late_order: bool
    span: Span
    outputs: list[Output]
    children: list[ReadPlan]
    grouped: bool
    empty: bool
    render: Render = field(default=lambda frame: "")
    render_stripped: Render = field(default=lambda frame: "")
    lookup: tuple[tuple[str, ...], tuple[Any, ...]] | None = None

    @property
    def early_span(self) -> bool:
        """Whether rows can be cut before the children are joined to them."""
        return (
            not self.grouped
            and not self.late_conditions
            and not self.late_order
            and not any(child.inner for child in self.children)
        )


class Embedded:
    """An embedded row, or a list of them, that is written as JSON when it is shown."""

    __slots__ = ("found", "plan")

    def __init__(self, plan: ReadPlan, found: Any) -> None:
        self.plan, self.found = plan, found

    @property
    def text(self) -> str:
        """The JSON text."""
        if isinstance(self.found, list):
            return "[" + ", ".join(map(self.plan.render, self.found)) + "]"
        return self.plan.render(self.found)

    @property
    def stripped(self) -> str:
        """The JSON text without keys of null value."""
        if isinstance(self.found, list):
            return "[" + ", ".join(map(self.plan.render_stripped, self.found)) + "]"
        return self.plan.render_stripped(self.found)


def _embedded_text(value: Embedded) -> str:
    return value.text


EMBED = PgType("jsonb", "embed", parse_jsonb, _embedded_text, _embedded_text, key=_embedded_text)
#: A JSON text that is ready to be shown.
FRAGMENT = PgType("jsonb", "fragment", parse_jsonb, str, str)


def jsonb_text(kind: PgType) -> Callable[[Any], str]:
    """Return how a value is shown inside of an embedded resource, which is ``jsonb``."""
    if kind.family == "json":
        return lambda value: Json(None, value.value).text
    if kind.family in {"array", "opaque", "float"}:
        return lambda value: Json(None, loads(kind.json(value))).text
    return kind.json


def _stripped_text(kind: PgType, show: Callable[[Any], str]) -> Callable[[Any], str]:
    if kind.family == "embed":
        return lambda value: str(value.stripped)
    if kind.family in {"json", "jsonb"}:
        return lambda value: Json(None, strip_nulls(value.value)).text
    return show


def finish(plan: ReadPlan, *, nested: bool) -> None:
    """Give *plan* its renderers, once its outputs are known."""
    if nested:  # the last of equal names wins in jsonb, and names are sorted by their length
        unique = {o.name: o for o in plan.outputs}
        ordered = sorted(unique.values(), key=lambda o: (len(o.name.encode()), o.name.encode()))
        parts = [(f"{quote(o.name)}: ", o, jsonb_text(o.shown_kind)) for o in ordered]
        comma = ", "
    else:
        parts = [(f"{quote(o.name)}:", o, o.shown_kind.json) for o in plan.outputs]
        comma = ","
    gets = [_final(o, plan) for _, o, _ in parts]
    plan.render = _renderer(
        [(head, get, show) for (head, _, show), get in zip(parts, gets, strict=True)], comma
    )
    plan.render_stripped = _stripping_renderer(
        [
            (head, get, _stripped_text(o.shown_kind, show))
            for (head, o, show), get in zip(parts, gets, strict=True)
        ],
        comma,
    )


def _final(output: Output, plan: ReadPlan) -> Getter:
    """Return what takes an output from a frame; groups hold theirs by the output's number."""
    if not plan.grouped:
        return output.get
    number = next(i for i, o in enumerate(plan.outputs) if o is output)
    return lambda group: group[number]


def final_getters(plan: ReadPlan) -> list[tuple[Output, Getter]]:
    """Return the outputs with what takes each from a frame, or from a group."""
    return [(o, _final(o, plan)) for o in plan.outputs]


def _renderer(parts: Sequence[tuple[str, Getter, Callable[[Any], str]]], comma: str) -> Render:
    def render(frame: Any) -> str:
        return (
            "{"
            + comma.join(
                [
                    head + ("null" if (v := get(frame)) is None else show(v))
                    for head, get, show in parts
                ]
            )
            + "}"
        )

    return render


def _stripping_renderer(
    parts: Sequence[tuple[str, Getter, Callable[[Any], str]]], comma: str
) -> Render:
    def render(frame: Any) -> str:
        shown = [head + show(v) for head, get, show in parts if (v := get(frame)) is not None]
        return "{" + comma.join(shown) + "}"

    return render
