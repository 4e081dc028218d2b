"""Tables as declared, and as read from JSON, OpenAPI and SQL."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from engine_tools import REPRESENTATION, Asker, asker, shop, shop_tables

from pytest_truasync.supabase._columns import Column, ForeignKey
from pytest_truasync.supabase._engine import Engine
from pytest_truasync.supabase._errors import ApiError, SchemaError
from pytest_truasync.supabase._schema import Schema, Table, View
from pytest_truasync.supabase._store import Store


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        ({}, {}, "at least one column"),
        ({"id": "not null"}, {}, "starts with no type"),
        ({"id": "bigint not null primary"}, {}, "'primary' is not understood"),
        ({"id": "bigint references"}, {}, "ends too early"),
        ({"id": "bigint check (id > 0"}, {}, "a bracket is never closed"),
        ({"id": "bigint references x on delete explode"}, {}, "'explode' is no action"),
        ({"id": "biggint"}, {}, "there is no type 'biggint'; perhaps you meant 'bigint'"),
        ({"id": complex}, {}, "complex stands for no PostgreSQL type"),
        ({"id": 5}, {}, "not 5"),
        ({"id": "int"}, {"primary_key": "idd"}, "perhaps you meant 'id'"),
        ({"id": "int"}, {"unique": ["zz"]}, "the column 'zz'"),
        ({"id": "int references nowhere"}, {}, "there is no table 'nowhere'"),
        ({"id": "text default magic()"}, {}, "not modelled"),
        ({"id": "int primary key"}, {"rows": [{"id": "x"}]}, "put the rows right"),
        ({"id": "int primary key"}, {"rows": [{"id": 1}, {"id": 1}]}, "already exists"),
        ({"id": "int"}, {"rows": [{"idd": 1}]}, "has no column 'idd'"),
        ({"id": "int references t (id)"}, {}, "is no key of 't'"),
    ],
)
def test_bad_declarations_name_culprit_and_remedy(columns: Any, options: Any, message: str) -> None:
    with pytest.raises(SchemaError) as caught:
        Store([Table("t", columns, **options)])
    assert message in str(caught.value)


def test_other_bad_declarations() -> None:
    table = Table("t", {"id": "int primary key"})
    with pytest.raises(SchemaError, match="declared twice"):
        Schema([table, table])
    with pytest.raises(SchemaError, match="no column 'x'"):
        View("v", table, ["x"])
    two = Table("u", {"a": "int"}, foreign_keys=[ForeignKey(("a",), "t", ("id", "id"))])
    with pytest.raises(SchemaError, match="name the same number"):
        Schema([table, two])
    store = Store([table])
    with pytest.raises(SchemaError, match="there is no table 'x'"):
        store.table("x")
    with pytest.raises(SchemaError, match=r"has no column 'x'"):
        store.insert("t", {"x": 1})


def test_python_types_and_column_values() -> None:
    table = Table(
        "t",
        {
            "id": Column("bigint", nullable=False, identity="by default"),
            "n": int,
            "at": datetime,
            "price": Decimal,
            "data": dict,
            "raw": bytes,
        },
        primary_key="id",
    )
    store = Store([table])
    made = store.insert(
        "t",
        {
            "n": 1,
            "at": datetime(2024, 1, 2, tzinfo=UTC),
            "price": Decimal("1.50"),
            "data": {"a": [1]},
            "raw": b"\x01",
        },
    )
    assert made == store.table("t")
    assert made == [
        {
            "id": 1,
            "n": 1,
            "at": "2024-01-02T00:00:00+00:00",
            "price": 1.5,
            "data": {"a": [1]},
            "raw": "\\x01",
        }
    ]


def test_store_snapshot_and_constraints() -> None:
    store = shop().engine.store
    before = store.snapshot()
    rows = store.table("people")
    store.insert("people", [{"name": "x"}, {"name": "y"}])
    assert store.changed_since(before)
    store.restore(before)
    assert store.table("people") == rows
    assert store.insert("people", {"name": "x"})[0]["id"] == 5  # the sequence is back too
    with pytest.raises(ApiError, match="23505"):
        store.insert("people", [{"name": "z"}, {"id": 1, "name": "x"}])
    assert len(store.table("people")) == 5
    rows[0]["name"] = "changed"
    assert store.table("people")[0]["name"] == "Ada"
    store.clear("stars")
    assert store.table("stars") == []
    store.add_table(Table("later", {"id": "int primary key"}, rows=[{"id": 1}]))
    assert store.table("later") == [{"id": 1}]
    store.clear()
    assert store.table("people") == []


@pytest.mark.parametrize(
    ("column", "shown"),
    [
        ("text default 'a''b'", "a'b"),
        ("int default 1 + 2 * 3", 7),
        ("numeric default 10 / 4.0", 2.5),
        ("text default lower('AB') || 'c'", "abc"),
        ("boolean default (1 < 2 and not false)", True),
        ("jsonb default '{\"a\": 1}'::jsonb", {"a": 1}),
        ("text[] default array['x', 'y']", ["x", "y"]),
        ("text default case when 1 = 2 then 'a' else 'b' end", "b"),
        ("text default coalesce(null, 'z')", "z"),
        ("date default '2024-01-31'::date", "2024-01-31"),
        ("timestamp default timestamp '2024-01-31' + interval '1 month'", "2024-02-29T00:00:00"),
        ("text default current_user", "anon"),
        ("uuid default auth.uid()", "6f9619ff-8b86-d011-b42d-00c04fc964ff"),
    ],
)
def test_defaults_are_computed(column: str, shown: Any) -> None:
    made = asker(Table("t", {"id": "int", "c": column}))
    claims = {"sub": "6f9619ff-8b86-d011-b42d-00c04fc964ff"}
    ask = Asker(made.engine, role="anon", claims=claims)
    assert ask("POST", "/t?select=c", {"id": 1}, REPRESENTATION).json == [{"c": shown}]


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        ("c in ('a', 'b')", "a", "z"),
        ("c = any (array['a'::text, 'b'::text])", "b", "z"),
        ("length(c) between 2 and 3", "abc", "a"),
        ("c ~* '^[a-z]+@x$'", "A@x", "1@x"),
        ("c like 'a%' or c is null", "ab", "b"),
        ("c <> upper(c)", "a", "A"),
    ],
)
def test_checks_hold(check: str, good: str, bad: str) -> None:
    ask = asker(Table("t", {"c": f"text check ({check})"}))
    assert ask("POST", "/t", {"c": good}).status == 201
    assert ask("POST", "/t", {"c": None}).status == 201
    assert ask("POST", "/t", {"c": bad}).error == (400, "23514")


def test_from_json(tmp_path: Path) -> None:
    data = {
        "tables": {
            "t": {
                "columns": {"id": "integer", "shape": "polygon", "x": "text"},
                "nullable": {"id": False},
                "defaults": {"id": "nextval('t_id_seq'::regclass)", "x": "magic()"},
                "primary_key": ["id"],
                "unique": [["x"]],
                "unique_names": ["only_x"],
                "next_value": {"id": 7},
                "rows": [{"id": 1, "shape": "((0,0))", "x": "a"}],
            },
            "v": {"kind": "view", "columns": {"id": "integer"}, "rows": [{"id": 1}]},
        }
    }
    path = tmp_path / "schema.json"
    path.write_text(json.dumps(data), "utf-8")
    ask = Asker(Engine(Store(Schema.from_json(path))))
    row = {"x": "b", "shape": "((1,1))"}
    made = ask("POST", "/t", row, REPRESENTATION)
    assert made.json == [{"id": 7, **row}]
    assert ask("POST", "/t", row).json["message"].endswith('"only_x"')
    assert ask("POST", "/t", {"shape": "x"}).error == (501, "TRUASYNC_UNSUPPORTED")
    assert ask.get("/t?shape=gt.x").error == (501, "TRUASYNC_UNSUPPORTED")
    assert ask("POST", "/v", {"id": 2}).error == (501, "TRUASYNC_UNSUPPORTED")
    for broken in ("[]", "{", "{}", '{"tables": {"t": 1}}'):
        path.write_text(broken, "utf-8")
        with pytest.raises(SchemaError, match=r"schema\.json"):
            Schema.from_json(path)
    with pytest.raises(SchemaError, match="cannot be read"):
        Schema.from_json(tmp_path / "none.json")


def test_from_openapi_reads_what_the_root_serves(tmp_path: Path) -> None:
    path = tmp_path / "openapi.json"
    path.write_bytes(shop().get("/").reply.body)
    schema = Schema.from_openapi(path)
    store = Store(schema)
    for table in shop_tables():
        assert set(schema.relations[table.name].types) == set(table.columns)
    store.insert("people", [{"name": "Ada"}, {"name": "Bob", "boss_id": 1, "mood": "sad"}])
    ask = Asker(Engine(store))
    assert ask.rows("/people?select=name,boss:boss_id(name)&mood=eq.sad") == [
        {"name": "Bob", "boss": {"name": "Ada"}}
    ]
    assert ask("POST", "/people", {"mood": "angry", "name": "x"}).error == (400, "22P02")
    with pytest.raises(SchemaError, match=r"OpenAPI 2\.0"):
        Schema.from_openapi({"openapi": "3.0.0"})


MIGRATIONS = {
    "1_start.sql": """
        create extension if not exists "uuid-ossp";
        create type public.mood as enum ('sad', 'ok');
        create domain public.three as varchar(3);
        create table if not exists public.venues (
          id bigint generated by default as identity primary key,
          name text not null unique, -- the name; not the title
          created_at timestamptz not null default now()
        );
        create table public.contests (
          id uuid default gen_random_uuid() not null,
          title character varying(64) not null check (char_length(title) > 0),
          code three,
          venue_id bigint references public.venues (id) on delete cascade,
          owner uuid references auth.users default auth.uid(),
          mood mood default 'ok'::mood,
          tags text[] default '{}',
          primary key (id),
          constraint one_per_venue unique (venue_id, title)
        );
        create function f() returns trigger language plpgsql as $$ begin; return new; end $$;
        create policy "all; of them" on contests for select using (true);
        insert into venues (name) values ('not read');
    """,
    "2_more.sql": """
        alter table public.contests enable row level security;
        alter table only public.contests add constraint title_key unique (title);
        alter table contests add column "Extra col" int4 default 5, add column gone text;
        alter table contests alter column mood set not null, drop column gone;
        alter table contests rename column tags to labels;
        alter type mood add value 'happy' after 'ok';
        create unique index only_code on contests (code);
        create unique index partly on contests (mood) where mood = 'sad';
        create view v as select id, title from contests;
        create view busy as select count(*) from contests;
        create table private.secrets (id int);
        create table dropped (id int);
        drop table if exists dropped;
        create table pages (id integer not null, up integer);
        alter table only pages add constraint pages_pkey primary key (id);
        alter table pages alter column id add generated always as identity;
        alter table pages add constraint up_fk foreign key (up) references pages (id);
    """,
}


@pytest.fixture
def migrations(tmp_path: Path) -> Path:
    """Return a folder of migrations."""
    for name, text in MIGRATIONS.items():
        (tmp_path / name).write_text(text, "utf-8")
    return tmp_path


def test_from_sql(migrations: Path) -> None:
    pytest.importorskip("sqlglot")
    schema = Schema.from_sql(migrations)
    assert list(schema.relations) == ["venues", "contests", "v", "pages"]
    contests = schema.relations["contests"]
    assert list(contests.types) == [
        "id", "title", "code", "venue_id", "owner", "mood", "labels", "Extra col"
    ]  # fmt: skip
    assert {u.name for u in contests.uniques} == {"one_per_venue", "title_key", "only_code"}
    ask = Asker(Engine(Store(schema)))
    assert ask("POST", "/venues", {"name": "Hall"}).status == 201
    row = {"title": "A", "venue_id": 1, "mood": "happy"}
    made = ask("POST", "/contests?select=title,mood,Extra col,labels", row, REPRESENTATION)
    assert made.json == [{"title": "A", "mood": "happy", "Extra col": 5, "labels": []}]
    assert ask("POST", "/contests", {"title": ""}).error == (400, "23514")
    assert ask("POST", "/contests", {"title": "B", "code": "long"}).error == (400, "22001")
    assert ask("POST", "/contests", {"title": "B", "mood": None}).error == (400, "23502")
    assert ask.rows("/v?select=title") == [{"title": "A"}]
    assert ask.rows("/venues?select=name,contests(title)") == [
        {"name": "Hall", "contests": [{"title": "A"}]}
    ]
    assert ask.get("/busy").error == (501, "TRUASYNC_UNSUPPORTED")
    assert ask("POST", "/pages", {"up": 1}).status == 201
    assert ask("POST", "/pages", {"id": 9}).error == (400, "428C9")


def test_from_sql_says_what_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sqlglot")
    with pytest.raises(SchemaError, match=r"no \*\.sql file"):
        Schema.from_sql(tmp_path)
    with pytest.raises(SchemaError, match="cannot be read"):
        Schema.from_sql(tmp_path / "none.sql")
    with pytest.raises(SchemaError, match="cannot read 'create table"):
        Schema.from_sql("create table t (id int,, primary;")
    monkeypatch.setitem(sys.modules, "sqlglot", None)
    with pytest.raises(SchemaError, match=r"pytest-truasync\[sql\]"):
        Schema.from_sql("create table t (id int);")


ALTERATIONS = """
    create table a (id int primary key, x text default 'q' not null, y int, unique (x));
    create table b (a_id int, constraint to_a foreign key (a_id) references a (id));
    alter table a rename to c;
    alter table c alter column x drop not null, alter column x drop default;
    alter table c alter column y set default 7, alter column y type bigint;
    alter table b drop constraint to_a;
    alter table b add constraint back foreign key (a_id) references c (id) on delete cascade;
    alter table c rename column id to key;
    alter table nowhere add column z int;
    create type other as (x int);
    alter type other add attribute y int;
    create table made as select 1;
    create table part partition of c for values in (1);
    create table if not exists c (zz int);
    create materialized view mv as select key, y from c;
    alter table c add constraint no_twins exclude using gist (y with =);
    create unique index concurrently if not exists on c using btree (y);
    drop view if exists mv;
"""


def test_from_sql_follows_alterations() -> None:
    pytest.importorskip("sqlglot")
    schema = Schema.from_sql(ALTERATIONS)
    assert list(schema.relations) == ["c", "b"]
    ask = Asker(Engine(Store(schema)))
    assert ask("POST", "/c", {"key": 1}, REPRESENTATION).json == [{"key": 1, "x": None, "y": 7}]
    assert ask("POST", "/c", {"key": 2}).error == (409, "23505")
    assert ask("POST", "/b", {"a_id": 1}).status == 201
    assert ask.rows("/b?select=c(y)") == [{"c": {"y": 7}}]
    assert ask("DELETE", "/c?key=eq.1").status == 204
    assert ask.rows("/b") == []
    assert ask.get("/made").error == (501, "TRUASYNC_UNSUPPORTED")
