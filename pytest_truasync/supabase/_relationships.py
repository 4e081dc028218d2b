"""Which table can be embedded in which, found from the foreign keys."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from pytest_truasync.supabase._errors import ambiguous_relationship, close_match, no_relationship

if TYPE_CHECKING:
    from pytest_truasync.supabase._schema import Relation

Pairs = tuple[tuple[str, str], ...]
Cardinality = Literal["one-to-many", "many-to-one", "one-to-one", "many-to-many"]

#: PostgREST lists ambiguous relationships in this order.
_ORDER: dict[Cardinality, int] = {
    "one-to-many": 0,
    "many-to-one": 1,
    "one-to-one": 2,
    "many-to-many": 3,
}


@dataclass(frozen=True, slots=True)
class Junction:
    """The table between two sides of a many-to-many relationship."""

    table: str
    constraint1: str
    constraint2: str
    source: Pairs
    target: Pairs


@dataclass(frozen=True, slots=True)
class Relationship:
    """A way from *table* to *target*; *columns* pair theirs with its."""

    table: str
    target: str
    cardinality: Cardinality
    constraint: str
    columns: Pairs
    table_is_view: bool = False
    target_is_view: bool = False
    is_parent: bool = False
    junction: Junction | None = None

    @property
    def is_self(self) -> bool:
        """Whether both sides are the same table."""
        return self.table == self.target

    @property
    def to_one(self) -> bool:
        """Whether there is at most one row on the other side."""
        return self.cardinality in {"many-to-one", "one-to-one"}

    @property
    def sort_key(self) -> tuple[object, ...]:
        """PostgREST's order of relationships."""
        j = self.junction
        inner: tuple[object, ...] = (self.constraint, self.columns, self.is_parent)
        if j is not None:
            inner = (j.table, j.constraint1, j.constraint2, j.source, j.target)
        return (self.target, self.is_self, _ORDER[self.cardinality], inner)

    def summary(self) -> dict[str, str]:
        """Describe it as in the details of PGRST201."""
        embedding = f"{self.table} with {self.target}"
        if (j := self.junction) is not None:
            source = ", ".join(c for _, c in j.source)
            target = ", ".join(c for _, c in j.target)
            text = f"{j.table} using {j.constraint1}({source}) and {j.constraint2}({target})"
        else:
            mine = ", ".join(c for c, _ in self.columns)
            theirs = ", ".join(c for _, c in self.columns)
            text = f"{self.constraint} using {self.table}({mine}) and {self.target}({theirs})"
        return {"cardinality": self.cardinality, "relationship": text, "embedding": embedding}


def _swap(pairs: Pairs) -> Pairs:
    return tuple((b, a) for a, b in pairs)


class Relationships:
    """All relationships of a schema."""

    def __init__(self, relations: Iterable[Relation]) -> None:
        known = {r.name: r for r in relations}
        self.names = frozenset(known)
        forward = list(_forward(known))
        rels = [*forward, *_many_to_many(forward, known)]
        for rel in forward:
            back: Cardinality = "one-to-many" if rel.cardinality == "many-to-one" else "one-to-one"
            rels.append(
                Relationship(
                    rel.target,
                    rel.table,
                    back,
                    rel.constraint,
                    _swap(rel.columns),
                    rel.target_is_view,
                    rel.table_is_view,
                    is_parent=back == "one-to-one",
                )
            )
        self.by_table: dict[str, list[Relationship]] = {}
        for rel in sorted(rels, key=lambda r: (r.table, r.sort_key)):
            self.by_table.setdefault(rel.table, []).append(rel)

    def find(self, origin: str, target: str, hint: str | None, schema: str) -> Relationship:
        """Return the one relationship that an embed means.

        Raises:
            ApiError: There is none (PGRST200), or more than one (PGRST201).
        """
        found = [r for r in self.by_table.get(origin, ()) if _matches(r, target, hint)]
        if not found:
            raise no_relationship(origin, target, hint, schema, self._suggest(origin, target))
        if len(found) > 1:
            choices = ", ".join(
                f"'{r.target}!{r.junction.table if r.junction else r.constraint}'" for r in found
            )
            raise ambiguous_relationship(origin, target, [r.summary() for r in found], choices)
        return found[0]

    def _suggest(self, origin: str, target: str) -> str | None:
        if origin not in self.names:
            close, wrong = close_match(origin, self.by_table, 0.33), origin
        else:
            targets = {r.target for r in self.by_table.get(origin, ())} - {target}
            close, wrong = close_match(target, sorted(targets), 0.33), target
        return f"Perhaps you meant '{close}' instead of '{wrong}'." if close else None


def _forward(known: dict[str, Relation]) -> Iterable[Relationship]:
    seen: set[tuple[str, str, str, Pairs]] = set()
    for relation in known.values():
        for made in _from_keys(relation, known):
            for rel in (made, *_to_views(made, known)):
                identity = (rel.table, rel.target, rel.constraint, rel.columns)
                if identity not in seen:
                    seen.add(identity)
                    yield rel


def _from_keys(relation: Relation, known: dict[str, Relation]) -> Iterable[Relationship]:
    base = known.get(relation.view_of or "")
    inherited = base.foreign_keys if base else ()
    keyed = base or relation
    keys = [set(keyed.primary_key), *(set(u.columns) for u in keyed.uniques)]
    for key in (*relation.foreign_keys, *inherited):
        target = known.get(key.table)
        if target is None or not set(key.columns) <= relation.types.keys():
            continue
        yield Relationship(
            relation.name,
            key.table,
            "one-to-one" if set(key.columns) in keys else "many-to-one",
            key.name,
            tuple(zip(key.columns, key.references, strict=False)),
            relation.is_view,
            target.is_view,
        )


def _to_views(rel: Relationship, known: dict[str, Relation]) -> Iterable[Relationship]:
    needed = {theirs for _, theirs in rel.columns}
    for view in known.values():
        if view.view_of == rel.target and needed <= view.types.keys():
            yield replace(rel, target=view.name, target_is_view=True)


def _many_to_many(
    forward: list[Relationship], known: dict[str, Relation]
) -> Iterable[Relationship]:
    by_junction: dict[str, list[Relationship]] = {}
    for rel in forward:
        if rel.cardinality == "many-to-one":
            by_junction.setdefault(rel.table, []).append(rel)
    for name, rels in by_junction.items():
        key = set(known[name].primary_key)
        for first in rels:
            for second in rels:
                columns = {c for c, _ in (*first.columns, *second.columns)}
                if first.constraint == second.constraint or not columns <= key:
                    continue
                yield Relationship(
                    first.target,
                    second.target,
                    "many-to-many",
                    "",
                    (),
                    first.target_is_view,
                    second.target_is_view,
                    junction=Junction(
                        name,
                        first.constraint,
                        second.constraint,
                        _swap(first.columns),
                        _swap(second.columns),
                    ),
                )


def _single(pairs: Pairs, side: int) -> str | None:
    return pairs[0][side] if len(pairs) == 1 else None


def _matches(rel: Relationship, target: str, hint: str | None) -> bool:
    by_name = target == rel.target
    if rel.is_self:
        if hint is not None:
            return by_name and rel.cardinality == "one-to-many" and _single(rel.columns, 1) == hint
        return (by_name and rel.cardinality == "one-to-many") or (
            rel.cardinality == "many-to-one" and _single(rel.columns, 0) == target
        )
    direct = rel.junction is None
    if hint is None:
        return by_name or (
            direct
            and not rel.target_is_view
            and target in (rel.constraint, _single(rel.columns, 0))
        )
    if not by_name:
        return False
    if rel.junction is not None:
        return rel.junction.table == hint
    return hint in (rel.constraint, _single(rel.columns, 0), _single(rel.columns, 1))
