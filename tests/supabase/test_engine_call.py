"""``rpc/``: Python functions as the database's."""

from __future__ import annotations

import asyncio
from datetime import date
from typing import Any
from uuid import UUID

import pytest
from engine_tools import SINGLE, Asker, shop

from pytest_truasync.supabase._call import Function
from pytest_truasync.supabase._errors import ApiError, sql_error


def add(a: int, b: int = 1) -> int:
    """Add."""
    return a + b


async def later(word: str) -> str:
    """Answer after a turn of the loop."""
    await asyncio.sleep(0)
    return word.upper()


def everyone(**filters: Any) -> list[dict[str, Any]]:
    """Return rows that no table declares."""
    return [
        {"id": 1, "name": "Ada", "score": 1.5, "tags": ["x"]},
        {"id": 2, "name": "Bob", "score": None, "tags": []},
    ]


def one() -> dict[str, Any]:
    """Return one row."""
    return {"id": 1, "name": "Ada"}


def nothing() -> None:
    """Return void."""


def fails() -> str:
    """Raise as PL/pgSQL would."""
    raise sql_error("P0001", "no luck today", None, "try tomorrow")


def whole(body: dict[str, Any], /) -> list[str]:
    """Take the whole body."""
    return sorted(body)


def text(body: str, /) -> int:
    """Take a text."""
    return len(body)


def typed(day: date, key: UUID, flags: list[int] | None = None) -> str:
    """Take what the annotations say."""
    return f"{day:%d.%m.%Y} {key.hex[:4]} {flags}"


FUNCTIONS = {f.__name__: f for f in (add, later, everyone, one, nothing, fails, whole, text, typed)}


@pytest.fixture
def ask() -> Asker:
    """Return a shop with functions."""
    asker = shop(functions=dict(FUNCTIONS))
    store = asker.engine.store

    def adults(least: int = 30) -> list[dict[str, Any]]:
        return [row for row in store.table("people") if (row["age"] or 0) >= least]

    def hire(name: str) -> dict[str, Any]:
        return store.insert("people", {"name": name})[0]

    asker.engine.functions = {
        **asker.engine.functions,
        "adults": Function(adults, returns="setof people", read_only=True),
        "hire": Function(hire, returns="people"),
        "ages": Function(lambda: [1, None, 3], returns="setof integer"),
        "price": Function(lambda: "1.50", returns="numeric"),
    }
    return asker


def test_scalars(ask: Asker) -> None:
    answer = ask("POST", "/rpc/add", {"a": 2, "b": 3})
    assert (answer.status, answer.text) == (200, "5")
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    assert ask.get("/rpc/add?a=2").text == "3"
    assert ask("POST", "/rpc/later", {"word": "hi"}).text == '"HI"'
    assert ask.get("/rpc/price").text == "1.50"
    assert ask.get("/rpc/ages").text == "[1, null, 3]"
    assert ask("HEAD", "/rpc/add?a=2").text == ""


def test_rows(ask: Asker) -> None:
    assert ask.rows("/rpc/everyone?select=name,tags->0&score=gt.1") == [
        {"name": "Ada", "tags": "x"}
    ]
    counted = ask.get("/rpc/everyone?limit=1&order=id.desc", ("Prefer", "count=exact"))
    assert (counted.status, counted.headers["content-range"]) == (206, "0-0/2")
    assert ask.get("/rpc/everyone?id=eq.2&select=name", SINGLE).json == {"name": "Bob"}
    assert ask.get("/rpc/one").json == {"id": 1, "name": "Ada"}
    assert ask.get("/rpc/everyone?select=zzz").error == (400, "42703")


def test_rows_of_a_table_embed(ask: Asker) -> None:
    assert ask.rows("/rpc/adults?least=20&select=name,shops(title)&order=name") == [
        {"name": "Ada", "shops": [{"title": "Books"}]},
        {"name": "Bob", "shops": [{"title": "Bread"}]},
        {"name": "Di", "shops": []},
    ]
    assert ask("POST", "/rpc/hire?select=name,mood", {"name": "Zed"}).json == {
        "name": "Zed",
        "mood": "ok",
    }
    assert ask.rows("/people?name=eq.Zed&select=id") == [{"id": 5}]


def test_a_read_does_not_write(ask: Asker) -> None:
    assert ask.get("/rpc/hire?name=Zed").error == (405, "25006")
    assert ask.rows("/people?name=eq.Zed") == []


def test_void_and_whole_bodies(ask: Asker) -> None:
    assert ask("POST", "/rpc/nothing").status == 204
    assert ask("POST", "/rpc/whole", {"b": 1, "a": 2}).json == ["a", "b"]
    plain = ask("POST", "/rpc/text", None, ("Content-Type", "text/plain"), raw=b"hello")
    assert plain.text == "5"


def test_annotations_convert(ask: Asker) -> None:
    key = "6f9619ff-8b86-d011-b42d-00c04fc964ff"
    expected = '"01.02.2024 6f96 None"'
    assert ask.get(f"/rpc/typed?day=2024-02-01&key={key}").text == expected
    body = {"day": "2024-02-01", "key": key, "flags": [1]}
    assert ask("POST", "/rpc/typed", body).text == '"01.02.2024 6f96 [1]"'
    assert ask.get(f"/rpc/typed?day=never&key={key}").error == (400, "22007")
    assert ask("POST", "/rpc/add", {"a": "x"}).error == (400, "22P02")


def test_refusals(ask: Asker) -> None:
    answer = ask("POST", "/rpc/ad", {"a": 1})
    assert answer.error == (404, "PGRST202")
    assert answer.json["message"] == (
        "Could not find the function public.ad(a) in the schema cache"
    )
    assert answer.json["details"] == (
        "Searched for the function public.ad with parameter a or with a single unnamed "
        "json/jsonb parameter, but no matches were found in the schema cache."
    )
    assert ask("POST", "/rpc/add", {"b": 1}).error == (404, "PGRST202")
    assert ask("POST", "/rpc/add", {"a": 1, "c": 1}).error == (404, "PGRST202")
    assert ask("PUT", "/rpc/add", {"a": 1}).error == (405, "PGRST101")
    assert ask("OPTIONS", "/rpc/add").headers["allow"] == "OPTIONS,POST"
    assert ask("OPTIONS", "/rpc/adults").headers["allow"] == "OPTIONS,GET,HEAD,POST"
    strict = ("Prefer", "handling=strict, max-affected=1")
    assert ask("POST", "/rpc/add", {"a": 1}, strict).error == (400, "PGRST128")
    assert ask("POST", "/rpc/everyone", {}, strict).error == (400, "PGRST124")


def test_errors_of_functions(ask: Asker) -> None:
    answer = ask("POST", "/rpc/fails")
    assert answer.error == (400, "P0001")
    assert (answer.json["message"], answer.json["hint"]) == ("no luck today", "try tomorrow")

    def broken() -> None:
        raise ZeroDivisionError

    ask.engine.functions = {"broken": broken}
    with pytest.raises(ZeroDivisionError):  # the test's own mistake is not hidden
        ask("POST", "/rpc/broken")
    with pytest.raises(ApiError):
        fails()
