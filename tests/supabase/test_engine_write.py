"""Writing: insert, upsert, update, delete, and what refuses them."""

from __future__ import annotations

from typing import Any

import pytest
from engine_tools import REPRESENTATION, SINGLE, Asker, asker, shop

from pytest_truasync.supabase._schema import Table

MERGE = ("Prefer", "resolution=merge-duplicates")
IGNORE = ("Prefer", "resolution=ignore-duplicates")
DEFAULTS = ("Prefer", "missing=default")
CSV = ("Content-Type", "text/csv")
FORM = ("Content-Type", "application/x-www-form-urlencoded")


@pytest.fixture
def ask() -> Asker:
    """Return a fresh shop."""
    return shop()


def test_insert_fills_in_defaults(ask: Asker) -> None:
    answer = ask("POST", "/items?select=id,label,in_stock", {"shop_id": 1}, REPRESENTATION)
    assert answer.status == 201
    assert answer.json == [{"id": 5, "label": "thing", "in_stock": True}]
    assert answer.headers["preference-applied"] == "return=representation"
    minimal = ask("POST", "/items", {"shop_id": 1})
    assert (minimal.status, minimal.text) == (201, "")
    assert "content-type" not in minimal.headers
    assert "location" not in minimal.headers
    located = ask("POST", "/items", {"shop_id": 1}, ("Prefer", "return=headers-only"))
    assert located.headers["location"] == "/items?id=eq.7"


def test_bulk_insert(ask: Asker) -> None:
    rows = [{"shop_id": 1, "label": "a"}, {"shop_id": 2, "label": "b"}]
    answer = ask("POST", "/items?select=label", rows, REPRESENTATION, ("Prefer", "count=exact"))
    assert answer.json == [{"label": "a"}, {"label": "b"}]
    assert answer.headers["content-range"] == "*/2"
    assert ask("POST", "/items", []).status == 201
    uneven = [{"shop_id": 1}, {"shop_id": 2, "label": "b"}]
    assert ask("POST", "/items", uneven).error == (400, "PGRST102")
    chosen = ask("POST", "/items?columns=shop_id,label&select=label", uneven, REPRESENTATION)
    assert chosen.error == (400, "23502")  # a missing column is null, not its default
    answer = ask(
        "POST", "/items?columns=shop_id,label&select=label", uneven, REPRESENTATION, DEFAULTS
    )
    assert answer.json == [{"label": "thing"}, {"label": "b"}]


def test_csv_and_form_bodies(ask: Asker) -> None:
    answer = ask(
        "POST", "/items?select=label,price", None, CSV, REPRESENTATION,
        raw=b'shop_id,label,price\n1,"a, b",NULL\n2,c,1.5\n',
    )  # fmt: skip
    assert answer.json == [{"label": "a, b", "price": None}, {"label": "c", "price": 1.5}]
    bad = ask("POST", "/items", None, CSV, raw=b"a,b\n1\n")
    assert bad.json["message"] == "All lines must have same number of fields"
    form = ask(
        "POST", "/items?select=label", None, FORM, REPRESENTATION, raw=b"shop_id=1&label=x+y"
    )
    assert form.json == [{"label": "x y"}]
    other = ask("POST", "/items", None, ("Content-Type", "text/html"), raw=b"x")
    assert other.error == (400, "PGRST102")


def test_upsert(ask: Asker) -> None:
    rows = [{"id": 1, "name": "Ada L."}, {"id": 9, "name": "Eve"}]
    answer = ask("POST", "/people?select=id,name,age", rows, MERGE, REPRESENTATION)
    assert answer.status == 201
    assert answer.json == [
        {"id": 1, "name": "Ada L.", "age": 36},
        {"id": 9, "name": "Eve", "age": None},
    ]
    again = ask("POST", "/people", rows, MERGE)
    assert again.status == 200
    ignored = ask(
        "POST", "/people?select=id", [*rows, {"id": 10, "name": "F"}], IGNORE, REPRESENTATION
    )
    assert (ignored.status, ignored.json) == (201, [{"id": 10}])
    assert ignored.headers["preference-applied"].startswith("resolution=ignore-duplicates")


def test_upsert_by_another_key(ask: Asker) -> None:
    row = {"email": "ada@x.org", "name": "Countess"}
    answer = ask("POST", "/people?on_conflict=email&select=id,name", row, MERGE, REPRESENTATION)
    assert answer.json == [{"id": 1, "name": "Countess"}]
    assert ask("POST", "/people?on_conflict=name", row, MERGE).error == (400, "42P10")
    assert ask("POST", "/people?on_conflict=zzz", row, MERGE).error == (400, "42703")
    twice = [{"id": 1, "name": "x"}, {"id": 1, "name": "y"}]
    answer = ask("POST", "/people", twice, MERGE)
    assert answer.json["code"] == "21000"
    assert ask.rows("/people?id=eq.1&select=name") == [{"name": "Countess"}]


def test_put(ask: Asker) -> None:
    shop_row = {"id": 7, "title": "Bikes", "owner_id": None}
    made = ask("PUT", "/shops?id=eq.7", shop_row, REPRESENTATION)
    assert (made.status, made.json) == (201, [shop_row])
    changed = ask("PUT", "/shops?id=eq.7", {**shop_row, "title": "Trikes"}, REPRESENTATION)
    assert (changed.status, changed.json[0]["title"]) == (200, "Trikes")
    assert ask("PUT", "/shops?id=eq.7", shop_row).status == 204
    assert ask("PUT", "/shops?id=eq.8", shop_row).error == (400, "PGRST115")
    assert ask("PUT", "/shops?title=eq.x", shop_row).error == (405, "PGRST105")
    assert ask("PUT", "/shops?id=gt.7", shop_row).error == (405, "PGRST105")
    assert ask("PUT", "/shops?id=eq.7&limit=1", shop_row).error == (400, "PGRST114")


def test_update(ask: Asker) -> None:
    answer = ask("PATCH", "/people?age=eq.20&select=id,age", {"age": 21}, REPRESENTATION)
    assert (answer.status, answer.json) == (200, [{"id": 2, "age": 21}, {"id": 4, "age": 21}])
    assert answer.headers["content-range"] == "0-1/*"
    nobody = ask("PATCH", "/people?id=eq.99", {"age": 1}, REPRESENTATION)
    assert (nobody.status, nobody.json, nobody.headers["content-range"]) == (200, [], "*/*")
    assert ask("PATCH", "/people", {}, REPRESENTATION).json == []
    embedded = ask(
        "PATCH", "/people?id=eq.1&select=name,shops(title)", {"name": "A"}, REPRESENTATION
    )
    assert embedded.json == [{"name": "A", "shops": [{"title": "Books"}]}]
    ordered = ask("PATCH", "/people?select=id&order=id.desc", {"age": 1}, REPRESENTATION)
    assert [row["id"] for row in ordered.json] == [4, 3, 2, 1]


def test_delete_and_its_cascades(ask: Asker) -> None:
    answer = ask("DELETE", "/shops?id=eq.1&select=title", None, REPRESENTATION)
    assert (answer.status, answer.json) == (200, [{"title": "Books"}])
    assert ask.ids("/items?select=id") == [3, 4]
    assert ask.rows("/stars?select=item_id") == [{"item_id": 3}]
    assert ask("DELETE", "/people?id=eq.2").error == (409, "23503")
    assert ask("DELETE", "/people?id=in.(2,4)").status == 204
    assert ask.rows("/shops?select=owner_id&id=eq.2") == [{"owner_id": None}]


def test_limits_on_writes(ask: Asker) -> None:
    strict = ("Prefer", "handling=strict, max-affected=1")
    assert ask("DELETE", "/items", None, strict).error == (400, "PGRST124")
    assert len(ask.rows("/items")) == 4
    assert ask("DELETE", "/items?id=eq.1", None, strict).status == 204
    assert ask("PATCH", "/people", {"age": 1}, SINGLE).error == (406, "PGRST116")
    assert ask.rows("/people?age=eq.1") == []
    assert ask("POST", "/items", {"shop_id": 1}, ("Prefer", "handling=strict, nonsense")).error == (
        400,
        "PGRST122",
    )


def test_rollback_on_request(ask: Asker) -> None:
    answer = ask("POST", "/shops", {"id": 9, "title": "x"}, ("Prefer", "tx=rollback"))
    assert answer.status == 201
    assert answer.headers["preference-applied"] == "tx=rollback"
    assert ask.rows("/shops?id=eq.9") == []


@pytest.mark.parametrize(
    ("path", "row", "status", "code", "details"),
    [
        ("/people", {"id": 1, "name": "x"}, 409, "23505", "Key (id)=(1) already exists."),
        (
            "/people",
            {"name": "x", "email": "ada@x.org"},
            409,
            "23505",
            "Key (email)=(ada@x.org) already exists.",
        ),
        (
            "/shops",
            {"id": 9, "title": "Books", "owner_id": 1},
            409,
            "23505",
            "Key (title, owner_id)=(Books, 1) already exists.",
        ),
        (
            "/items",
            {"shop_id": 77},
            409,
            "23503",
            'Key (shop_id)=(77) is not present in table "shops".',
        ),
        ("/people", {"name": None}, 400, "23502", None),
        ("/people", {"name": "x", "age": -1}, 400, "23514", None),
        ("/people", {"name": "x", "age": "old"}, 400, "22P02", None),
        ("/people", {"name": "x", "age": 1.5}, 400, "22P02", None),
        ("/people", {"name": "x", "age": 1 << 40}, 400, "22003", None),
        ("/people", {"name": "x", "mood": "angry"}, 400, "22P02", None),
        ("/people", {"name": "x\0"}, 400, "22P05", "\\u0000 cannot be converted to text."),
        ("/items", {"shop_id": 1, "label": "12345678901"}, 400, "22001", None),
        ("/items", {"shop_id": 1, "price": 1e9}, 400, "22003", None),
        ("/items", {"shop_id": 1, "sizes": 3}, 400, "22P02", None),
        ("/items", {"shop_id": 1, "sizes": ["a"]}, 400, "22P02", None),
        ("/people", {"nme": "x"}, 400, "PGRST204", None),
        ("/nothing", {"a": 1}, 404, "PGRST205", None),
    ],
)
def test_refused_inserts_change_nothing(
    ask: Asker, path: str, row: dict[str, Any], status: int, code: str, details: str | None
) -> None:
    before = {name: ask.engine.store.table(name) for name in ask.engine.store.tables}
    answer = ask("POST", path, row)
    assert answer.error == (status, code), answer.text
    if details is not None:
        assert answer.json["details"] == details
    assert {name: ask.engine.store.table(name) for name in ask.engine.store.tables} == before


def test_refusals_in_postgres_words(ask: Asker) -> None:
    assert ask("POST", "/people", {"id": 5, "name": None}).json == {
        "code": "23502",
        "details": "Failing row contains (5, null, null, null, null, ok, null).",
        "hint": None,
        "message": 'null value in column "name" of relation "people" violates not-null constraint',
    }
    message = ask("PATCH", "/people?id=eq.2", {"id": 1}).json["message"]
    assert message == 'duplicate key value violates unique constraint "people_pkey"'
    assert ask("POST", "/people", {"name": "x", "age": -1}).json["message"] == (
        'new row for relation "people" violates check constraint "people_age_check"'
    )


@pytest.mark.parametrize("body", [b"", b"{", b"[1,", b"nonsense", b"\xff\xfe", b'{"a":NaN}'])
def test_bodies_that_are_no_json(ask: Asker, body: bytes) -> None:
    answer = ask("POST", "/people", raw=body)
    assert answer.error == (400, "PGRST102")
    assert answer.json["message"] == "Empty or invalid json"


def test_json_stays_as_written() -> None:
    ask = asker(Table("t", {"id": "int", "j": "json", "b": "jsonb", "s": "text"}))
    raw = b'{"id":1, "j": {"z": 1.50,  "a":[ ]}, "b": {"zz":1.50,"a":1e2}, "s": {"k": 1}}'
    assert ask("POST", "/t", raw=raw).status == 201
    assert ask.rows("/t?select=j::text,b::text,s") == [
        {"j": '{"z": 1.50,  "a":[ ]}', "b": '{"a": 100, "zz": 1.50}', "s": '{"k": 1}'}
    ]
    assert ask("POST", "/t", {"id": 2, "j": None, "b": None}).status == 201
    assert ask.ids("/t?j=is.null&b=is.null&select=id") == [2]


def test_columns_that_postgres_fills_in() -> None:
    ask = asker(
        Table(
            "t",
            {
                "id": "bigint generated always as identity primary key",
                "net": "numeric not null",
                "gross": "numeric generated always as (net * 1.2) stored",
            },
        )
    )
    assert ask("POST", "/t", {"net": 10}, REPRESENTATION).text == '[{"id":1,"net":10,"gross":12.0}]'
    assert ask("POST", "/t", {"id": 5, "net": 1}).error == (400, "428C9")
    assert ask("POST", "/t", {"gross": 5, "net": 1}).error == (400, "428C9")
    assert ask("PATCH", "/t", {"id": 5}).error == (400, "428C9")
    assert ask("PATCH", "/t", {"net": 5}, REPRESENTATION).json[0]["gross"] == 6.0


def test_sequences_do_not_go_back(ask: Asker) -> None:
    assert ask("POST", "/items", {"shop_id": 77}).status == 409
    answer = ask("POST", "/items?select=id", {"shop_id": 1}, REPRESENTATION)
    assert answer.json == [{"id": 6}]


def test_keys_that_change() -> None:
    ask = asker(
        Table("p", {"id": "int primary key"}, rows=[{"id": 1}, {"id": 2}]),
        Table(
            "c",
            {
                "id": "int primary key",
                "up": "int references p on update cascade on delete set null",
                "no": "int references p on delete restrict",
                "dflt": "int default 2 references p on delete set default",
            },
            rows=[{"id": 1, "up": 1, "no": None, "dflt": 1}],
        ),
    )
    assert ask("PATCH", "/p?id=eq.1", {"id": 5}).error == (409, "23503")  # dflt has no action
    assert ask("PATCH", "/c", {"dflt": 2}).status == 204
    assert ask("PATCH", "/p?id=eq.1", {"id": 5}).status == 204
    assert ask.rows("/c?select=up,dflt") == [{"up": 5, "dflt": 2}]
    assert ask("PATCH", "/c", {"dflt": 5, "no": 5}).status == 204
    assert ask("DELETE", "/p?id=eq.5").error == (409, "23503")
    assert ask("PATCH", "/c", {"no": None}).status == 204
    assert ask("DELETE", "/p?id=eq.5").status == 204
    assert ask.rows("/c?select=up,dflt") == [{"up": None, "dflt": 2}]
