"""The tree of what is read: the resource, and what ``select=`` embeds in it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from pytest_truasync.supabase import _errors as errors
from pytest_truasync.supabase._query import (
    ALL_ROWS,
    Condition,
    Filter,
    OrderTerm,
    Path,
    QueryParams,
    SelectEmbed,
    SelectField,
    SelectItem,
    Span,
)
from pytest_truasync.supabase._query_parser import embed_path
from pytest_truasync.supabase._relationships import Relationship
from pytest_truasync.supabase._schema import Schema


@dataclass(slots=True)
class Node:
    """One resource of the tree, with all that the query says of it."""

    name: str
    depth: int
    alias: str | None = None
    hint: str | None = None
    inner: bool = False
    spread: bool = False
    select: list[SelectField] = field(default_factory=list)
    children: list[Node] = field(default_factory=list)
    conditions: list[Condition] = field(default_factory=list)
    order: tuple[OrderTerm, ...] = ()
    span: Span = ALL_ROWS
    relationship: Relationship | None = None
    table: str = ""
    counts: bool = False

    @property
    def shown(self) -> str:
        """The name it has in the answer and in filters."""
        return self.alias or self.name

    @property
    def to_one(self) -> bool:
        """Whether its parent has at most one of it."""
        return self.relationship is not None and self.relationship.to_one

    @property
    def is_empty(self) -> bool:
        """Whether nothing of it is shown: ``clients()``."""
        return not self.select and all(child.is_empty for child in self.children)

    def child(self, name: str) -> Node | None:
        """Return the child that a filter's path means by *name*: its own name, or its alias."""
        return next((c for c in self.children if name in (c.name, c.alias)), None)

    def shown_child(self, name: str) -> Node | None:
        """Return the child that is shown as *name*."""
        return next((c for c in self.children if c.shown == name), None)


def build_tree(
    schema: Schema,
    table: str,
    query: QueryParams,
    span: Span,
    *,
    mutation: bool,
    aggregates: bool,
    schema_name: str,
) -> Node:
    """Build the tree of a request.

    Args:
        schema: Where the relationships are.
        table: The resource in the path.
        query: The parsed query string.
        span: The rows asked for at the top.
        mutation: Whether the filters at the top choose the rows to write, not those to read.
        aggregates: Whether ``count()`` and the like are allowed.
        schema_name: How error texts call the schema.

    Raises:
        ApiError: PGRST108, 118, 123, 127, 200 or 201.
    """
    root = Node(table, 0, table=table)
    _select(root, query.select)
    for path, made in query.filters:
        if path or not mutation:
            _at(root, path).conditions.append(made)
    for path, terms in query.order:
        _at(root, path).order = terms
    if not mutation:
        for key, asked in query.spans:
            path = embed_path(key)
            _at(root, path).span = span if not path else asked
        root.span = span
    for path, logic in query.logic:
        if path or not mutation:
            _at(root, path).conditions.append(logic)
    _relate(root, schema, schema_name)
    _mark_counts(root, schema)
    _check_related_orders(root)
    _check_aggregates(root, aggregates)
    return root


def _select(node: Node, items: Iterable[SelectItem]) -> None:
    for item in items:
        if isinstance(item, SelectEmbed):
            child = Node(item.name, node.depth + 1, item.alias, item.hint, item.inner, item.spread)
            _select(child, item.items)
            node.children.append(child)
        else:
            node.select.append(item)


def _at(root: Node, path: Path) -> Node:
    node = root
    for name in path:
        child = node.child(name)
        if child is None:
            raise errors.not_embedded(name)
        node = child
    return node


def _relate(node: Node, schema: Schema, schema_name: str) -> None:
    for child in node.children:
        child.relationship = schema.relationships.find(
            node.table, child.name, child.hint, schema_name
        )
        child.table = child.relationship.target
        _relate(child, schema, schema_name)


def _mark_counts(node: Node, schema: Schema) -> None:
    """Note where ``select=count`` means the function: PostgreSQL reads ``t.count`` as ``count(t)``.

    It asks for no setting, so that ``select=title,comments(count)`` is answered everywhere.
    """
    relation = schema.relations.get(node.table)
    if relation is not None and "count" not in relation.types:
        node.counts = any(
            item.field.name == "count" and not item.field.path and not item.aggregate
            for item in node.select
        )
    for child in node.children:
        _mark_counts(child, schema)


def _check_related_orders(node: Node) -> None:
    for term in node.order:
        if term.relation is None:
            continue
        child = node.shown_child(term.relation)
        if child is None:
            raise errors.not_embedded(term.relation)
        if not child.to_one:
            raise errors.bad_related_order(node.table, child.shown)
    for child in node.children:
        _check_related_orders(child)


def has_aggregate(node: Node) -> bool:
    """Tell whether a node aggregates, itself or through what it spreads."""
    return (
        any(item.aggregate for item in node.select)
        or node.counts
        or any(child.spread and child.to_one and has_aggregate(child) for child in node.children)
    )


def _check_aggregates(node: Node, allowed: bool) -> None:
    if not allowed and any(item.aggregate for item in node.select):
        raise errors.no_aggregates()
    for child in node.children:
        _check_aggregates(child, allowed)
    if node.spread and not node.to_one and has_aggregate(node):
        raise errors.no_spread_aggregates()


def null_embed(node: Node, made: Filter) -> Node | None:
    """Return the child that ``child=is.null`` means, or None for a plain filter."""
    if made.operator == "is" and made.value == "null" and not made.field.path:
        return node.shown_child(made.field.name)
    return None
