"""A schema from SQL: ``create table`` and what a migrations folder does to it afterwards.

Needs sqlglot, the extra ``pytest-truasync[sql]``. Data, functions, triggers, grants and policies
are passed over: rows and policies of a test are given in Python.
"""

from __future__ import annotations

import importlib
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from pytest_truasync.supabase._columns import (
    Column,
    column_list,
    parse_column,
    parse_constraint,
    unquote,
)
from pytest_truasync.supabase._errors import SchemaError
from pytest_truasync.supabase._schema import Schema, Table, Unique, View

_PIECE = re.compile(
    r"--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|\$(\w*)\$.*?\$\1\$|;", re.DOTALL
)
_WANTED = re.compile(
    r"create\s+(or\s+replace\s+)?(unlogged\s+|materialized\s+)?(table|view)\b"
    r"|create\s+(type|domain)\b|create\s+unique\s+index\b"
    r"|alter\s+(table|type)\b|drop\s+(table|view)\b",
    re.IGNORECASE,
)
_NAME = r'((?:"[^"]+"|[\w$]+)(?:\.(?:"[^"]+"|[\w$]+))?)'
_ENUM = re.compile(
    rf"create\s+type\s+{_NAME}\s+as\s+enum\s*\((.*)\)\s*$", re.IGNORECASE | re.DOTALL
)
_ADD_VALUE = re.compile(
    rf"alter\s+type\s+{_NAME}\s+add\s+value\s+(?:if\s+not\s+exists\s+)?('(?:[^']|'')*')"
    r"(?:\s+(before|after)\s+('(?:[^']|'')*'))?",
    re.IGNORECASE,
)
_DOMAIN = re.compile(rf"create\s+domain\s+{_NAME}\s+(?:as\s+)?(.*)$", re.IGNORECASE | re.DOTALL)
_IDENTITY = re.compile(
    r"alter\s+column\s+(\"[^\"]+\"|\w+)\s+add\s+generated\s+(always|by\s+default)\s+as\s+identity",
    re.IGNORECASE,
)
_ALTER = re.compile(
    rf"alter\s+table\s+(?:if\s+exists\s+)?(?:only\s+)?{_NAME}\s+(.*)$", re.IGNORECASE | re.DOTALL
)


def schema_from_sql(source: str | Path) -> Schema:
    """Read a file, a folder of migrations in the order of their names, or SQL text."""
    builder = _Builder(_sqlglot())
    for label, text in _texts(source):
        for statement in statements(text):
            builder.apply(statement, label)
    return builder.schema()


def _sqlglot() -> Any:
    try:
        return importlib.import_module("sqlglot")
    except ImportError as error:
        raise SchemaError(
            "reading SQL needs sqlglot; install it with: pip install 'pytest-truasync[sql]'"
        ) from error


def _texts(source: str | Path) -> Iterator[tuple[str, str]]:
    if isinstance(source, str) and (";" in source or "\n" in source):
        yield "the given SQL", source
        return
    path = Path(source)
    files = sorted(path.glob("*.sql")) if path.is_dir() else [path]
    if not files:
        raise SchemaError(f"{path}: there is no *.sql file in this folder")
    for file in files:
        try:
            yield str(file), file.read_text("utf-8")
        except OSError as error:
            raise SchemaError(f"{file}: cannot be read: {error.strerror}") from error


def statements(text: str) -> Iterator[str]:
    """Cut SQL into statements; semicolons in strings, comments and function bodies are not cuts."""
    kept: list[str] = []
    at = 0
    for found in _PIECE.finditer(text):
        kept.append(text[at : found.start()])
        at = found.end()
        if found[0] == ";":
            yield "".join(kept).strip()
            kept = []
        elif not found[0].startswith(("--", "/*")):
            kept.append(found[0])
        else:
            kept.append(" ")
    kept.append(text[at:])
    if last := "".join(kept).strip():
        yield last


@contextmanager
def _quiet() -> Iterator[None]:
    logger = logging.getLogger("sqlglot")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


def _local(name: str) -> str | None:
    """Return a table's name in the exposed schema, or None where it is in another one."""
    parts = [unquote(p) for p in re.findall(r'"[^"]+"|[^.]+', name)]
    return parts[-1] if len(parts) == 1 or parts[0] == "public" else None


class _Builder:
    def __init__(self, sqlglot: Any) -> None:
        self.sqlglot, self.exp = sqlglot, sqlglot.exp
        self.tables: dict[str, Table] = {}
        self.enums: dict[str, list[str]] = {}
        self.domains: dict[str, dict[str, Any]] = {}
        self.unmodelled: dict[str, str] = {}

    def schema(self) -> Schema:
        schema = Schema(self.tables.values(), enums=self.enums, domains=self.domains, lenient=True)
        schema.unmodelled = dict(self.unmodelled)
        return schema

    def apply(self, statement: str, label: str) -> None:
        """Do what one statement does to the schema."""
        if not _WANTED.match(statement):
            return
        if found := _ENUM.match(statement):
            labels = re.findall(r"'((?:[^']|'')*)'", found[2])
            self.enums[_short(found[1])] = [text.replace("''", "'") for text in labels]
        elif found := _ADD_VALUE.match(statement):
            self.add_label(found)
        elif found := _DOMAIN.match(statement):
            read = parse_column(_short(found[1]), found[2], "domain").column
            self.domains[_short(found[1])] = {
                "base": read.type,
                "not_null": not read.nullable,
                "default": read.default,
            }
        elif re.match(r"(create|alter)\s+type", statement, re.IGNORECASE):
            return
        elif (found := _ALTER.match(statement)) and (more := _IDENTITY.match(found[2])):
            self.add_identity(found[1], more)
        else:
            self.parse(statement, label)

    def add_label(self, found: re.Match[str]) -> None:
        labels = self.enums.setdefault(_short(found[1]), [])
        label = found[2][1:-1].replace("''", "'")
        if label in labels:
            return
        beside = found[4][1:-1] if found[4] else None
        place = len(labels)
        if beside in labels:
            place = labels.index(beside) + (found[3].lower() == "after")
        labels.insert(place, label)

    def add_identity(self, table: str, found: re.Match[str]) -> None:
        name = _local(table)
        if name in self.tables:
            column = unquote(found[1])
            columns = self.tables[name].columns
            always = found[2].lower() == "always"
            columns[column] = replace(
                columns[column], nullable=False, identity="always" if always else "by default"
            )

    def parse(self, statement: str, label: str) -> None:
        try:
            with _quiet():
                tree = self.sqlglot.parse_one(statement, read="postgres")
        except self.sqlglot.errors.SqlglotError as error:
            raise SchemaError(
                f"{label}: cannot read {statement[:80]!r}: {str(error).splitlines()[0]}"
            ) from error
        if isinstance(tree, self.exp.Create):
            self.create(tree, statement)
        elif isinstance(tree, self.exp.Alter):
            self.alter(tree, label)
        elif isinstance(tree, self.exp.Drop):
            for found in re.findall(
                _NAME,
                re.sub(r"(?i)drop\s+(table|view)|if\s+exists|cascade|restrict", "", statement),
            ):
                self.tables.pop(_local(found) or "", None)

    # create

    def create(self, tree: Any, statement: str) -> None:
        if tree.kind == "INDEX":
            self.create_index(statement)
            return
        target = tree.find(self.exp.Table)
        name = _local(target.sql("postgres")) if target is not None else None
        if name is None or name in self.tables:
            return
        if tree.kind == "VIEW":
            self.create_view(name, tree)
            return
        if not isinstance(tree.this, self.exp.Schema) or " partition of " in statement.lower():
            self.unmodelled[name] = f"the table {name}, which is made from a query"
            return
        columns: dict[str, str | type | Column] = {}
        constraints = []
        for part in tree.this.expressions:
            if isinstance(part, self.exp.ColumnDef):
                columns[part.name] = self.column_text(part)
            else:
                constraints.append(part.sql("postgres"))
        if not columns:
            return
        table = self.tables[name] = Table(name, columns)
        for text in constraints:
            self.constrain(table, text)

    def column_text(self, part: Any) -> str:
        if part.kind is None:
            raise SchemaError(f"column {part.name!r} has no type")
        pieces = [part.kind.sql("postgres"), *(c.sql("postgres") for c in part.constraints)]
        return " ".join(pieces)

    def create_view(self, name: str, tree: Any) -> None:
        query = tree.expression
        source = query.find(self.exp.Table) if query is not None else None
        base = self.tables.get(_local(source.sql("postgres")) or "") if source else None
        plain = (
            isinstance(query, self.exp.Select)
            and base is not None
            and not any(query.args.get(k) for k in ("where", "joins", "group", "limit", "distinct"))
            and all(isinstance(e, (self.exp.Column, self.exp.Star)) for e in query.expressions)
        )
        if not plain or base is None:
            self.unmodelled[name] = f"the view {name}, which is more than columns of one table"
            return
        starred = any(isinstance(e, self.exp.Star) for e in query.expressions)
        self.tables[name] = View(name, base, () if starred else [e.name for e in query.expressions])

    def create_index(self, statement: str) -> None:
        found = re.match(
            rf"create\s+unique\s+index\s+(?:concurrently\s+)?(?:if\s+not\s+exists\s+)?"
            rf"{_NAME}?\s*on\s+(?:only\s+)?{_NAME}\s*(?:using\s+\w+\s*)?\(([^()]*)\)\s*$",
            statement,
            re.IGNORECASE,
        )
        table = self.tables.get(_local(found[2]) or "") if found else None
        if found is None or table is None:
            return
        columns = column_list(found[3])
        if set(columns) <= table.columns.keys():
            name = _short(found[1]) if found[1] else f"{table.name}_{'_'.join(columns)}_idx"
            table.uniques.append(Unique(name, columns))

    def constrain(self, table: Table, text: str) -> None:
        """Add a constraint to a table."""
        read = parse_constraint(text, table.name)
        if read.kind == "primary key":
            table.primary_key = read.columns
            table.primary_key_name = read.name or table.primary_key_name
            for column in read.columns:
                table.columns[column] = replace(table.columns[column], nullable=False)
        elif read.kind == "unique":
            name = read.name or f"{table.name}_{'_'.join(read.columns)}_key"
            table.uniques.append(Unique(name, read.columns))
        elif read.kind == "foreign key" and read.foreign_key is not None:
            name = read.name or f"{table.name}_{'_'.join(read.columns)}_fkey"
            target = read.foreign_key.table.removeprefix("public.")
            table.foreign_keys.append(replace(read.foreign_key, name=name, table=target))
        elif read.kind == "check":
            table.checks.append((read.name or f"{table.name}_check", read.check))

    # alter

    def alter(self, tree: Any, label: str) -> None:
        name = _local(tree.this.sql("postgres"))
        table = self.tables.get(name or "")
        if table is None:
            return
        for action in tree.args.get("actions") or ():
            self.alter_one(table, action, label)

    def alter_one(self, table: Table, action: Any, label: str) -> None:
        exp = self.exp
        if isinstance(action, exp.ColumnDef):
            if action.name not in table.columns:
                self.add_column(table, action.name, self.column_text(action))
        elif isinstance(action, exp.AddConstraint):
            for constraint in action.expressions:
                self.constrain(table, constraint.sql("postgres"))
        elif isinstance(action, exp.AlterColumn):
            self.alter_column(table, action)
        elif isinstance(action, exp.Drop):
            self.drop(table, action)
        elif isinstance(action, exp.RenameColumn):
            rename_column(table, action.this.name, action.args["to"].name, self.tables)
        elif isinstance(action, exp.AlterRename):
            old, new = table.name, action.this.name
            self.tables = {new if k == old else k: v for k, v in self.tables.items()}
            table.name = new
            for other in self.tables.values():
                other.foreign_keys = [
                    replace(k, table=new) if k.table == old else k for k in other.foreign_keys
                ]

    def add_column(self, table: Table, name: str, text: str) -> None:
        made = Table(table.name, {name: text})
        table.columns[name] = made.columns[name]
        table.uniques += made.uniques
        table.foreign_keys += made.foreign_keys
        table.checks += made.checks
        table.primary_key = table.primary_key or made.primary_key

    def alter_column(self, table: Table, action: Any) -> None:
        name = action.this.name
        column = table.columns.get(name)
        if column is None:
            return
        if action.args.get("allow_null") is not None:
            column = replace(column, nullable=bool(action.args["allow_null"]))
        elif action.args.get("drop") and not action.args.get("default"):
            text = action.sql("postgres").upper()
            column = (
                replace(column, nullable=True)
                if "NOT NULL" in text
                else replace(column, default=None)
            )
        elif (default := action.args.get("default")) is not None:
            column = replace(column, default=default.sql("postgres"))
        elif (kind := action.args.get("dtype")) is not None:
            column = replace(column, type=kind.sql("postgres"))
        table.columns[name] = column

    def drop(self, table: Table, action: Any) -> None:
        found = [t.name for t in action.args.get("tables") or () if t is not None]
        if not found and action.this is not None:
            found = [action.this.name]
        for name in found:
            if str(action.args.get("kind")).upper() == "CONSTRAINT":
                table.uniques = [u for u in table.uniques if u.name != name]
                table.foreign_keys = [k for k in table.foreign_keys if k.name != name]
                table.checks = [c for c in table.checks if c[0] != name]
                if table.primary_key_name == name:
                    table.primary_key = ()
                continue
            table.columns.pop(name, None)
            table.primary_key = tuple(c for c in table.primary_key if c != name)
            table.uniques = [u for u in table.uniques if name not in u.columns]
            table.foreign_keys = [k for k in table.foreign_keys if name not in k.columns]


def _short(name: str) -> str:
    return unquote(re.findall(r'"[^"]+"|[^.]+', name)[-1])


def rename_column(table: Table, old: str, new: str, tables: dict[str, Table]) -> None:
    """Rename a column, in the table and in all keys that name it."""

    def renamed(names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(new if name == old else name for name in names)

    table.columns = {new if k == old else k: v for k, v in table.columns.items()}
    table.primary_key = renamed(table.primary_key)
    table.uniques = [replace(u, columns=renamed(u.columns)) for u in table.uniques]
    table.foreign_keys = [replace(k, columns=renamed(k.columns)) for k in table.foreign_keys]
    for other in tables.values():
        other.foreign_keys = [
            replace(k, references=renamed(k.references)) if k.table == table.name else k
            for k in other.foreign_keys
        ]
