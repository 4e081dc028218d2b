"""Plan and store → rows: filters, joins by hash, order, groups, limits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from operator import itemgetter
from typing import Any

from pytest_truasync.supabase._query import ALL_ROWS, Span
from pytest_truasync.supabase._readplan import Output, ReadPlan, SortTerm
from pytest_truasync.supabase._relationships import Junction, Relationship
from pytest_truasync.supabase._schema import Relation, Schema
from pytest_truasync.supabase._types import TEXT_FAMILIES

Frame = dict[Any, Any]
#: Table name → the rows that the caller may see.
Rows = Callable[[str], list[Frame]]


def read(
    plan: ReadPlan, rows: list[Frame], fetch: Rows, schema: Schema, *, count: bool = False
) -> tuple[list[Frame], int | None]:
    """Read a plan.

    Args:
        plan: What to read.
        rows: The rows it is read from.
        fetch: Gives the rows of the embedded tables.
        schema: Where the types of junctions are.
        count: Whether to count the rows that limit and offset leave out.

    Returns:
        The frames, and the total where it was asked for.
    """
    reader = _Reader(fetch, schema)
    if plan.early_span:
        frames = filtered(rows, plan)
        total = len(frames) if count else None
        if plan.order:
            frames = ordered(frames, plan.order)
        return reader.join(plan, cut(frames, plan.span)), total
    frames = reader.evaluate(plan, rows)
    total = len(frames)
    if plan.grouped:
        frames = grouped(plan, frames)
        total = len(frames) if plan.span == ALL_ROWS else total
    return cut(frames, plan.span), total if count else None


def filtered(rows: list[Frame], plan: ReadPlan) -> list[Frame]:
    """Return the rows that pass the conditions on the table itself."""
    found = rows
    for test in plan.conditions:
        found = [row for row in found if test(row)]
    return found


def cut(frames: list[Frame], span: Span) -> list[Frame]:
    """Return the frames of a span."""
    if span is ALL_ROWS or span == ALL_ROWS:
        return frames
    if span.is_zero:
        return []
    return frames[span.lower : None if span.upper is None else span.upper + 1]


def ordered(frames: Iterable[Frame], terms: list[SortTerm]) -> list[Frame]:
    """Sort frames; equal ones stay in their order."""
    found = list(frames)
    for term in reversed(terms):
        get, key = term.get, term.key
        values = [(v, f) for f in found if (v := get(f)) is not None]
        nulls = [f for f in found if get(f) is None] if len(values) < len(found) else []
        if key is None:
            values.sort(key=itemgetter(0), reverse=term.descending)
        else:
            values.sort(key=_first(key), reverse=term.descending)
        present = [f for _, f in values]
        found = nulls + present if term.nulls_first else present + nulls
    return found


def _first(key: Callable[[Any], Any]) -> Callable[[tuple[Any, Frame]], Any]:
    return lambda pair: key(pair[0])


def grouped(plan: ReadPlan, frames: list[Frame]) -> list[Frame]:
    """Aggregate: one group for each combination of the outputs that are not aggregated."""
    keys = [(i, o) for i, o in enumerate(plan.outputs) if o.fold is None]
    folds = [(i, o) for i, o in enumerate(plan.outputs) if o.fold is not None]
    groups: dict[Any, list[Frame]] = {}
    if not keys:
        groups[()] = frames
    else:
        for frame in frames:
            groups.setdefault(tuple(_group_key(o, frame) for _, o in keys), []).append(frame)
    members_of = list(groups.values())
    if keys:
        members_of = _sorted_groups(members_of, [o for _, o in keys], plan.order)
    found = []
    for members in members_of:
        group: Frame = {i: o.get(members[0]) for i, o in keys}
        for i, output in folds:
            group[i] = _fold(output, members)
        found.append(group)
    return found


def _sorted_groups(
    groups: list[list[Frame]], keys: list[Output], order: list[SortTerm]
) -> list[list[Frame]]:
    """Sort groups by the order, then by the other keys: PostgreSQL sorts them to group them."""
    by_first = {id(members[0]): members for members in groups if members}
    unsorted = {"embed", "fragment", "json", "opaque"}
    terms = order + [
        SortTerm(o.get, o.kind.key, descending=False, nulls_first=False)
        for o in keys
        if o.kind.family not in unsorted
    ]
    return [by_first[id(f)] for f in ordered([m[0] for m in by_first.values()], terms)]


def _group_key(output: Output, frame: Frame) -> Any:
    value = output.get(frame)
    if value is None:
        return None
    key = output.kind.key
    value = key(value) if key else value
    return tuple(map(str, value)) if isinstance(value, list) else (value,)


def _fold(output: Output, members: list[Frame]) -> Any:
    get = output.get
    values = [v for frame in members if (v := get(frame)) is not None]
    if output.fold is None or (not values and output.source_aggregate != "count"):
        return None
    result = output.fold[1](values)
    return output.after(result) if output.after and result is not None else result


class _Reader:
    def __init__(self, fetch: Rows, schema: Schema) -> None:
        self.fetch, self.schema = fetch, schema

    def evaluate(self, plan: ReadPlan, rows: list[Frame]) -> list[Frame]:
        """Filter, join and sort; neither group nor cut."""
        frames = self.join(plan, filtered(rows, plan))
        for test in plan.late_conditions:
            frames = [frame for frame in frames if test(frame)]
        return ordered(frames, plan.order) if plan.order else frames

    def join(self, plan: ReadPlan, frames: list[Frame]) -> list[Frame]:
        """Give each frame its children; drop those that lack an inner one."""
        if not plan.children:
            return frames
        frames = [dict(frame) for frame in frames]
        for number, child in enumerate(plan.children):
            self.embed(number, child, plan, frames)
            if child.inner:
                frames = [
                    f for f in frames if (f[number] is not None if child.to_one else f[number])
                ]
        return frames

    def embed(self, number: int, child: ReadPlan, plan: ReadPlan, frames: list[Frame]) -> None:
        """Put the frames of one child into those of its parent."""
        rel = child.relationship
        if rel is None:  # pragma: no cover - only the root has none
            return
        if rel.junction is not None:
            self.embed_many_to_many(number, child, rel.junction, plan.relation, frames)
            return
        mine = _key(plan.relation, [a for a, _ in rel.columns])
        theirs = _key(child.relation, [b for _, b in rel.columns])
        keys = [mine(frame) for frame in frames]
        wanted = set(keys)
        wanted.discard(None)
        rows = [row for row in self.fetch(child.table) if theirs(row) in wanted]
        found = self.evaluate(child, rows)
        if child.to_one and not child.grouped:
            by_key: dict[Any, Frame] = {}
            for frame in found:
                by_key.setdefault(theirs(frame), frame)
            if child.span != ALL_ROWS:
                by_key = {k: f for k, f in by_key.items() if cut([f], child.span)}
            for frame, key in zip(frames, keys, strict=True):
                frame[number] = by_key.get(key)
            return
        lists: dict[Any, list[Frame]] = {}
        for frame in found:
            lists.setdefault(theirs(frame), []).append(frame)
        for frame, key in zip(frames, keys, strict=True):
            frame[number] = self.several(child, lists.get(key, []), rel)

    def several(self, child: ReadPlan, found: list[Frame], rel: Relationship) -> Any:
        """Group and cut the frames that belong to one parent."""
        if child.grouped:
            found = grouped(child, found)
        found = cut(found, child.span)
        if rel.to_one:
            return found[0] if found else None
        return found

    def embed_many_to_many(
        self,
        number: int,
        child: ReadPlan,
        junction: Junction,
        parent: Relation,
        frames: list[Frame],
    ) -> None:
        """Join through the table between."""
        between = self.schema.relations[junction.table]
        mine = _key(parent, [a for a, _ in junction.source])
        to_mine = _key(between, [b for _, b in junction.source])
        theirs = _key(child.relation, [a for a, _ in junction.target])
        to_theirs = _key(between, [b for _, b in junction.target])
        keys = [mine(frame) for frame in frames]
        wanted = set(keys)
        wanted.discard(None)
        links: dict[Any, list[Any]] = {}
        targets = set()
        for row in self.fetch(junction.table):
            if (near := to_mine(row)) in wanted and (far := to_theirs(row)) is not None:
                links.setdefault(near, []).append(far)
                targets.add(far)
        rows = [row for row in self.fetch(child.table) if theirs(row) in targets]
        by_key: dict[Any, list[tuple[int, Frame]]] = {}
        for place, frame in enumerate(self.evaluate(child, rows)):
            by_key.setdefault(theirs(frame), []).append((place, frame))
        for frame, key in zip(frames, keys, strict=True):
            pairs = [pair for far in links.get(key, ()) for pair in by_key.get(far, ())]
            pairs.sort(key=itemgetter(0))
            found = [f for _, f in pairs]
            if child.grouped:
                found = grouped(child, found)
            frame[number] = cut(found, child.span)


def _key(relation: Relation, columns: list[str]) -> Callable[[Mapping[Any, Any]], Any]:
    """Return what takes a join key out of a row: None where a column of it is null."""
    kinds = [relation.types[c] for c in columns]
    if len(columns) == 1 and kinds[0].key is None and kinds[0].family != "array":
        return itemgetter(columns[0])
    converts = [
        (c, k.key if k.key and k.family in {*TEXT_FAMILIES, "jsonb", "inet", "timetz"} else None)
        for c, k in zip(columns, kinds, strict=True)
    ]

    def several(row: Mapping[Any, Any]) -> Any:
        key = []
        for column, convert in converts:
            value = row[column]
            if value is None:
                return None
            value = convert(value) if convert else value
            key.append(tuple(value) if isinstance(value, list) else value)
        return tuple(key) if len(key) > 1 else key[0]

    return several
