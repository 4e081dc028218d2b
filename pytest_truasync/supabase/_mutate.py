"""Inserts, upserts, updates and deletes: what a request wants written."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from pytest_truasync.supabase import _errors as errors
from pytest_truasync.supabase._access import Access
from pytest_truasync.supabase._convert import from_json
from pytest_truasync.supabase._operators import Columns, Predicate, compile_condition
from pytest_truasync.supabase._plan import unique_lookup
from pytest_truasync.supabase._query import Condition
from pytest_truasync.supabase._request import ApiRequest, Payload
from pytest_truasync.supabase._schema import Relation
from pytest_truasync.supabase._store import Row, Store
from pytest_truasync.supabase._write import Conflict, Writer, check_conflict


@dataclass(frozen=True, slots=True)
class MutatePlan:
    """What is written.

    Attributes:
        relation: The table or view in the path.
        columns: Those that the body writes.
        conditions: The filters at the top: they choose the rows of an update or delete.
        conflict: What an insert does about a key that is taken.
    """

    relation: Relation
    columns: tuple[str, ...]
    conditions: tuple[Condition, ...]
    conflict: Conflict | None


def plan_mutation(request: ApiRequest, relation: Relation) -> MutatePlan:
    """Plan a write.

    Raises:
        ApiError: PGRST105 or 204.
    """
    query = request.query
    conditions: list[Condition] = [made for path, made in query.filters if not path]
    conditions += [made for path, made in query.logic if not path]
    if request.method == "PUT":
        _check_put(request, relation)
    columns: tuple[str, ...] = ()
    if request.payload is not None:
        columns = tuple(sorted(request.payload.keys))
        for name in columns:
            if name not in relation.types:
                raise errors.no_column(relation.name, name)
    return MutatePlan(relation, columns, tuple(conditions), _conflict(request, relation, columns))


def _check_put(request: ApiRequest, relation: Relation) -> None:
    query = request.query
    plain = all(
        made.operator == "eq" and not made.negated and made.quantifier is None
        for path, made in query.filters
        if not path
    )
    key = set(relation.primary_key)
    if query.logic or not key or query.filter_keys != key or not plain:
        raise errors.bad_put_filters()


def _conflict(request: ApiRequest, relation: Relation, columns: tuple[str, ...]) -> Conflict | None:
    if request.method == "PUT":
        key: tuple[str, ...] = relation.primary_key
        resolution: str | None = "merge-duplicates"
    elif request.method == "POST":
        key = request.query.on_conflict or relation.primary_key
        resolution = request.preferences.resolution
    else:
        return None
    if resolution is None or not key:
        return None
    merges = resolution == "merge-duplicates" and columns
    return Conflict(key, "merge" if merges else "ignore", columns)


def change(
    plan: MutatePlan, request: ApiRequest, access: Access, config: str
) -> tuple[list[Row], int]:
    """Write.

    Returns:
        The rows inserted, changed or deleted, and how many of them were inserted.

    Raises:
        ApiError: PostgreSQL refuses; the caller puts the store back.
    """
    store = access.store
    relation = plan.relation
    base = _base(store, relation)
    writer = Writer(store, store.scope(access.role, access.claims))
    returns = request.preferences.representation
    returning = returns in {"representation", "headers-only"}
    rules = access.rules(relation, returning=returning)
    if request.method in {"POST", "PUT"}:
        access.require(relation.name, "insert")
        if returning or plan.conflict is not None:
            access.require(relation.name, "select")
        if plan.conflict is not None:
            check_conflict(base, plan.conflict.columns)
            if plan.conflict.action == "merge":
                access.require(relation.name, "update")
        rows = _typed(plan, request.payload, relation, store, request, writer)
        if request.method == "PUT":
            tests = _compile(plan, Columns(relation.types, "pgrst_body", config))
            rows = [row for row in rows if all(test(row) for test in tests)]
        return writer.insert(base, rows, plan.conflict, rules)
    access.require(relation.name, "update" if request.method == "PATCH" else "delete")
    if plan.conditions or returning:
        access.require(relation.name, "select")
    tests = _compile(plan, Columns(relation.types, relation.name, config))
    if request.method == "PATCH":
        changes = _changes(plan, request.payload, relation, store, request, writer)
        if changes is None:
            return [], 0
        chosen = _chosen(plan, base, store, [rules.update_using, *tests])
        return writer.update(base, chosen, changes, rules), 0
    chosen = _chosen(plan, base, store, [rules.delete_using, *tests])
    return writer.delete(base, chosen), 0


def _base(store: Store, relation: Relation) -> Relation:
    if relation.computed:
        raise errors.unsupported(
            f"writes to the view {relation.name}",
            "Declare it with View(name, of=table), or write to its table.",
        )
    return store.base(relation.name)


def _compile(plan: MutatePlan, columns: Columns) -> list[Predicate]:
    return [compile_condition(condition, columns) for condition in plan.conditions]


def _chosen(
    plan: MutatePlan, base: Relation, store: Store, tests: list[Predicate | None]
) -> list[Row]:
    lookup = unique_lookup(plan.conditions, base)
    if lookup is not None:
        found = store.find(base.name, *lookup)
        rows = [] if found is None else [found]
    else:
        rows = store.rows(base.name)
    for test in tests:
        if test is not None:
            rows = [row for row in rows if test(row)]
    return rows


def _typed(
    plan: MutatePlan,
    payload: Payload | None,
    relation: Relation,
    store: Store,
    request: ApiRequest,
    writer: Writer,
) -> list[Row]:
    """Convert the rows of a body to the types of their columns."""
    if payload is None:
        return []
    kinds = [(name, relation.types[name]) for name in plan.columns]
    defaults = request.preferences.missing == "default"
    rows = []
    for number, given in enumerate(payload.rows):
        row: Row = {}
        for name, kind in kinds:
            if defaults and name not in given:
                continue
            row[name] = from_json(kind, given.get(name), name, partial(payload.raw, number, name))
        if defaults:
            _fill(row, plan, relation, store, writer)
        rows.append(row)
    return rows


def _fill(row: Row, plan: MutatePlan, relation: Relation, store: Store, writer: Writer) -> None:
    """Give missing columns their default; each default is computed, used or not."""
    for name in plan.columns:
        column = relation.columns[name]
        value = None
        if column.default is not None or column.identity == "by default":
            value = store.default(relation, name, writer.scope)
        row.setdefault(name, value)


def _changes(
    plan: MutatePlan,
    payload: Payload | None,
    relation: Relation,
    store: Store,
    request: ApiRequest,
    writer: Writer,
) -> Row | None:
    """Return what an update sets, or None where the body says nothing."""
    if payload is None or not plan.columns or not payload.rows:
        return None
    return _typed(plan, payload, relation, store, request, writer)[0]
