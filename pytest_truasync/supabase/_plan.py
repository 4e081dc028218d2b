"""The tree of a request, compiled: types found, filters and outputs as functions."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from pytest_truasync.supabase import _errors as errors
from pytest_truasync.supabase import _types as t
from pytest_truasync.supabase._aggregates import aggregate
from pytest_truasync.supabase._cast import caster
from pytest_truasync.supabase._operators import (
    Columns,
    Getter,
    Predicate,
    close_name,
    compile_condition,
    follow,
    negate,
)
from pytest_truasync.supabase._query import Condition, Field, Filter, OrderTerm, SelectField, Span
from pytest_truasync.supabase._readplan import (
    EMBED,
    FRAGMENT,
    Embedded,
    Output,
    ReadPlan,
    SortTerm,
    finish,
    jsonb_text,
)
from pytest_truasync.supabase._schema import Relation, Schema
from pytest_truasync.supabase._tree import Node, has_aggregate, null_embed
from pytest_truasync.supabase._types import PgType


class _Compiler:
    def __init__(self, schema: Schema, config: str) -> None:
        self.schema, self.config = schema, config

    def node(self, node: Node, relation: Relation, parent_label: str = "") -> ReadPlan:
        label = node.table
        if node.depth and node.relationship and node.relationship.junction is None:
            label = f"{node.table}_{node.depth}"
        columns = Columns(relation.types, label, self.config)
        children = [
            self.node(child, self.schema.relations[child.table], label) for child in node.children
        ]
        _check_span(node.span)
        grouped = has_aggregate(node) and not (node.spread and node.to_one)
        outputs = self.outputs(node, columns, children)
        early: list[Predicate] = []
        late: list[Predicate] = []
        for condition in node.conditions:
            uses_child: list[Node] = []

            def special(made: Filter, uses: list[Node] = uses_child) -> Predicate | None:
                child = null_embed(node, made)
                if child is None:
                    return None
                uses.append(child)
                return _null_test(node.children.index(child), negated=made.negated)

            test = compile_condition(condition, columns, special)
            (late if uses_child else early).append(test)
        order = [self.sort(term, node, columns, children) for term in node.order]
        if node.counts and any(o.fold is None for o in outputs):
            raise _ungrouped(label, next(o.name for o in outputs if o.fold is None))
        if grouped:
            _check_grouped_order(node, outputs, label)
        plan = ReadPlan(
            node.table,
            relation,
            node.relationship,
            node.inner,
            node.to_one,
            early,
            late,
            order,
            any(term.relation is not None for term in node.order),
            node.span,
            outputs,
            children,
            grouped,
            node.is_empty,
        )
        finish(plan, nested=node.depth > 0)
        return plan

    # outputs

    def outputs(self, node: Node, columns: Columns, children: list[ReadPlan]) -> list[Output]:
        found: list[Output] = []
        select = node.select
        if not node.depth and not select and not node.children:
            select = [_STAR]
        for item in select:
            if item.field.name == "*" and item.aggregate is None:
                found += [
                    Output(name, kind, columns.find(_field(name))[1], source=_plain(name))
                    for name, kind in columns.types.items()
                ]
            else:
                found.append(self.output(item, columns, counts=node.counts))
        for number, (child, plan) in enumerate(zip(node.children, children, strict=True)):
            if child.spread:
                spread = _spread_one if child.to_one else _spread_many
                found += spread(number, plan)
            elif not plan.empty:
                found.append(_embed(number, child, plan))
        return found

    def output(self, item: SelectField, columns: Columns, *, counts: bool) -> Output:
        if counts and item.field.name == "count" and not item.aggregate and not item.field.path:
            item = SelectField(_STAR.field, item.alias, None, "count", item.cast)
        kind: PgType = t.BOOLEAN
        get: Getter = _always
        if item.field.name != "*":
            kind, get = columns.find(item.field)
        name = item.alias or _default_name(item)
        if item.cast is not None:
            target = self.type(item.cast)
            get = _casting(get, caster(kind, target))
            kind = target
        if item.aggregate is None:
            return Output(name, kind, get, source=item)
        fold = aggregate(item.aggregate, kind)
        after = None
        if item.aggregate_cast is not None:
            target = self.type(item.aggregate_cast)
            after, fold = caster(fold[0], target), (target, fold[1])
        return Output(name, kind, get, fold, after, item, item.aggregate)

    def type(self, name: str) -> PgType:
        try:
            return self.schema.book.find(name, opaque=False)
        except t.UnknownTypeError:
            message = f'type "{name}" does not exist'
            raise errors.sql_error("42704", message) from None

    # order

    def sort(
        self, term: OrderTerm, node: Node, columns: Columns, children: list[ReadPlan]
    ) -> SortTerm:
        if term.relation is None:
            kind, get = columns.find(term.field)
        else:
            kind, get = self.related(term, node, children)
        if kind.family in {"json", "xml"}:
            message = f"could not identify an ordering operator for type {kind.name}"
            hint = "Use an explicit ordering operator or modify the query."
            raise errors.sql_error("42883", message, None, hint)
        if kind.family == "opaque":
            raise t.refuse_opaque(kind, "order")
        nulls_first = term.descending if term.nulls_first is None else term.nulls_first
        return SortTerm(get, kind.key, term.descending, nulls_first)

    def related(
        self, term: OrderTerm, node: Node, children: list[ReadPlan]
    ) -> tuple[PgType, Getter]:
        number = next(i for i, c in enumerate(node.children) if c.shown == term.relation)
        child = node.children[number]
        shown = {o.name: o for o in children[number].outputs}
        output = shown.get(term.field.name)
        if output is None:
            label = f"{node.table}_{child.shown}_{child.depth}"
            close = close_name(term.field.name, shown)
            raise errors.undefined_column(label, term.field.name, close and f"{label}.{close}")
        kind, get = output.kind, output.get
        if term.field.path:
            kind, get = follow(term.field.path, kind, get)
        return kind, _through(number, get)


_STAR = SelectField(Field("*"))


def _field(name: str) -> Field:
    return Field(name)


def _plain(name: str) -> SelectField:
    return SelectField(Field(name))


def _always(frame: Any) -> bool:
    return True


def _default_name(item: SelectField) -> str:
    if item.aggregate is not None:
        return item.aggregate
    if item.field.path:
        last = item.field.path[-1].key
        if isinstance(last, str):
            return last
        keys = [s.key for s in item.field.path if isinstance(s.key, str)]
        return keys[-1] if keys else item.field.name
    return item.field.name


def _casting(get: Getter, convert: Callable[[Any], Any]) -> Getter:
    return lambda frame: None if (v := get(frame)) is None else convert(v)


def _through(number: int, get: Getter) -> Getter:
    return lambda frame: None if (child := frame[number]) is None else get(child)


def _null_test(number: int, *, negated: bool) -> Predicate:
    test: Predicate = lambda frame: not frame[number]  # noqa: E731 - negated below
    return negate(test) if negated else test


def _spread_one(number: int, plan: ReadPlan) -> list[Output]:
    return [
        Output(o.name, o.kind, _through(number, o.get), o.fold, o.after, None, o.source_aggregate)
        for o in plan.outputs
    ]


def _spread_many(number: int, plan: ReadPlan) -> list[Output]:
    return [
        Output(o.name, FRAGMENT, _listing(number, o.get, jsonb_text(o.kind))) for o in plan.outputs
    ]


def _listing(number: int, get: Getter, show: Callable[[Any], str]) -> Getter:
    def apply(frame: Any) -> str:
        values = map(get, frame[number] or ())
        return "[" + ", ".join(["null" if v is None else show(v) for v in values]) + "]"

    return apply


def _embed(number: int, child: Node, plan: ReadPlan) -> Output:
    def one(frame: Any) -> Any:
        return None if (found := frame[number]) is None else Embedded(plan, found)

    def many(frame: Any) -> Any:
        return Embedded(plan, frame[number] or [])

    return Output(child.shown, EMBED, one if child.to_one else many)


def _check_span(span: Span) -> None:
    if span.lower < 0:
        raise errors.sql_error("2201X", "OFFSET must not be negative")
    if span.limit is not None and span.limit < 0:
        raise errors.sql_error("2201W", "LIMIT must not be negative")


def _check_grouped_order(node: Node, outputs: list[Output], label: str) -> None:
    grouped = {o.source.field for o in outputs if o.source is not None and o.fold is None}
    for term in node.order:
        if term.relation is None and term.field not in grouped:
            raise _ungrouped(label, term.field.name)


def _ungrouped(label: str, name: str) -> Exception:
    message = (
        f'column "{label}.{name}" must appear in the GROUP BY clause '
        "or be used in an aggregate function"
    )
    return errors.sql_error("42803", message)


def compile_tree(schema: Schema, root: Node, relation: Relation, config: str) -> ReadPlan:
    """Compile a tree.

    Args:
        schema: Where the types are.
        root: What `build_tree` made.
        relation: What the root is read from: its table, or what a function returned.
        config: The default text search configuration.

    Raises:
        ApiError: What PostgreSQL answers to such a query: 42703, 22P02 and others.
    """
    plan = _Compiler(schema, config).node(root, relation)
    if not relation.computed and not relation.live:
        plan.lookup = unique_lookup(root.conditions, relation)
    return plan


def unique_lookup(
    conditions: Iterable[Condition], relation: Relation
) -> tuple[tuple[str, ...], tuple[Any, ...]] | None:
    """Return the unique key that the filters ask for, so that an index can answer."""
    asked: dict[str, str] = {}
    for made in conditions:
        if (
            isinstance(made, Filter)
            and made.operator == "eq"
            and not made.negated
            and made.quantifier is None
            and not made.field.path
        ):
            asked.setdefault(made.field.name, made.value)
    for columns in (relation.primary_key, *(u.columns for u in relation.uniques)):
        if columns and asked.keys() >= set(columns):
            kinds = [relation.types[c] for c in columns]
            if any(k.family not in {"int", "text", "uuid"} for k in kinds):
                continue
            values = [
                asked[c] if k.family == "text" else k.parse(asked[c])
                for c, k in zip(columns, kinds, strict=True)
            ]
            return columns, tuple(values)
    return None
