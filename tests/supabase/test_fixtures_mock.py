"""The mocked project as a test sees it: its tables, its rows, and what it says of errors."""

import json
import sys
from pathlib import Path

import pytest

from pytest_truasync.supabase import ResponseError, Schema, SchemaError, SupabaseMock, Table
from pytest_truasync.supabase import __all__ as public
from pytest_truasync.supabase._jwt import ANON_KEY, Keyring
from pytest_truasync.supabase._realtime import refuse_realtime
from pytest_truasync.supabase.exceptions import RequestRefusedError

ITEMS = Table("items", {"id": "bigint primary key", "name": "text"}, rows=[{"id": 1, "name": "a"}])

OPENAPI = {
    "swagger": "2.0",
    "definitions": {
        "items": {
            "required": ["id"],
            "type": "object",
            "properties": {
                "id": {
                    "description": "Note:\nThis is a Primary Key.<pk/>",
                    "format": "bigint",
                    "type": "integer",
                },
                "name": {"format": "text", "type": "string"},
            },
        }
    },
    "paths": {"/items": {"get": {}, "post": {}}},
}
AS_JSON = {
    "tables": {"items": {"columns": {"id": "bigint", "name": "text"}, "primary_key": ["id"]}}
}


def test_the_schema_may_be_many_things(tmp_path: Path) -> None:
    for name, document in (("openapi.json", OPENAPI), ("tables.json", AS_JSON)):
        tmp_path.joinpath(name).write_text(json.dumps(document), "utf-8")
    migration = tmp_path / "migrations" / "0001_items.sql"
    migration.parent.mkdir()
    migration.write_text("create table items (id bigint primary key, name text);", "utf-8")
    for source in (
        ITEMS,
        [ITEMS],
        Schema([ITEMS]),
        AS_JSON,
        OPENAPI,
        str(tmp_path / "tables.json"),
        tmp_path / "openapi.json",
        migration,
        str(migration.parent),
    ):
        mock = SupabaseMock(schema=source)
        assert mock.store.tables == ("items",), source
        mock.store.clear("items")
        mock.insert("items", {"id": 7, "name": "x"})
        assert mock.rows("items") == [{"id": 7, "name": "x"}]


@pytest.mark.parametrize("path", ["nowhere", "nowhere.sql", "nowhere.json"])
def test_a_schema_that_is_not_there(tmp_path: Path, path: str) -> None:
    with pytest.raises(SchemaError, match="nowhere"):
        SupabaseMock(schema=tmp_path / path)


def test_loading_more(supabase_mock: SupabaseMock) -> None:
    supabase_mock.load(Schema([ITEMS]))
    supabase_mock.load([Table("more", {"id": "int", "item_id": "bigint references items (id)"})])
    supabase_mock.load({"tables": {"third": {"columns": {"id": "int"}}}})
    assert supabase_mock.store.tables == ("items", "more", "third")
    assert supabase_mock.rows("items") == [{"id": 1, "name": "a"}]


def test_settings_made_before_the_schema(supabase_mock: SupabaseMock) -> None:
    supabase_mock.db_aggregates, supabase_mock.text_search = True, "simple"
    supabase_mock.load(ITEMS)
    assert (supabase_mock.db_aggregates, supabase_mock.text_search) == (True, "simple")


def test_rows_are_added_all_or_none(supabase_mock: SupabaseMock) -> None:
    supabase_mock.load(ITEMS)
    with pytest.raises(SchemaError, match="idd"):
        supabase_mock.insert("items", [{"id": 2}, {"idd": 3}])
    assert supabase_mock.rows("items") == [{"id": 1, "name": "a"}]


def test_rows(supabase_mock: SupabaseMock) -> None:
    supabase_mock.load(ITEMS)
    supabase_mock.insert("items", [{"id": n, "name": "b"} for n in range(2, 15)])
    assert supabase_mock.rows("items", id=1) == [{"id": 1, "name": "a"}]
    assert supabase_mock.assert_row("items", name="a")["id"] == 1
    with pytest.raises(AssertionError) as several:
        supabase_mock.assert_row("items", name="b")
    assert str(several.value).startswith("13 rows of 'items' have {'name': 'b'}, not one")
    assert str(several.value).endswith("... 4 more")
    with pytest.raises(AssertionError, match=r"^0 rows"):
        supabase_mock.assert_row("items", name="c")
    with pytest.raises(KeyError, match="no column 'nmae'"):
        supabase_mock.rows("items", nmae="a")
    with pytest.raises(SchemaError, match="nothing"):
        supabase_mock.rows("nothing")


@pytest.mark.asyncio
async def test_settings_of_the_database(supabase_mock: SupabaseMock) -> None:
    supabase_mock.load(ITEMS)
    client = supabase_mock.client()
    with pytest.raises(ResponseError, match="aggregate"):
        await client.select("items", "count()")
    supabase_mock.db_aggregates = True
    assert await client.select("items", "count()") == [{"count": 1}]
    with pytest.raises(ResponseError, match="configuration"):
        await client.select("items", filters={"name": ("fts", "a")})
    supabase_mock.text_search = "simple"
    assert len(await client.select("items", filters={"name": ("fts", "a")})) == 1
    supabase_mock._backend.reset()
    assert (supabase_mock.db_aggregates, supabase_mock.text_search) == (False, "english")


def test_how_it_shows_itself(supabase_mock: SupabaseMock) -> None:
    assert repr(supabase_mock) == "<SupabaseMock https://truasync.supabase.test: 0 requests>"
    assert supabase_mock.require_key
    assert "SupabaseMock" in public


def test_a_key_of_your_own() -> None:
    mock = SupabaseMock(key="mine")
    assert mock.keyring.identify("mine").role == "anon"
    assert mock.keyring.identify(ANON_KEY).role == "anon"


def test_without_pyjwt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jwt", None)
    keyring = Keyring()
    assert keyring.identify(ANON_KEY).role == "anon"
    with pytest.raises(RuntimeError, match=r"pip install 'pytest-truasync\[auth\]'"):
        keyring.sign({"sub": "x"})


def test_without_realtime(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "realtime._async.client", raising=False)
    assert refuse_realtime("https://a.test") is None


@pytest.mark.asyncio
async def test_realtime_of_another_project(monkeypatch: pytest.MonkeyPatch) -> None:
    from realtime._async import client as module

    reached = []

    async def connect(self: object) -> None:
        reached.append(self)

    monkeypatch.setattr(module.AsyncRealtimeClient, "connect", connect)
    with SupabaseMock("https://mine.supabase.test"):
        other = module.AsyncRealtimeClient("wss://other.supabase.test/realtime/v1", token="t")
        await other.connect()
        mine = module.AsyncRealtimeClient("wss://mine.supabase.test/realtime/v1", token="t")
        with pytest.raises(RequestRefusedError, match="realtime"):
            await mine.connect()
    await mine.connect()
    assert reached == [other, mine]
