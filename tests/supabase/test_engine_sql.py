"""The SQL of defaults and checks, full text search, aggregates: each with PostgreSQL's answer."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from engine_tools import Asker, asker, shop

from pytest_truasync.supabase import _types as t
from pytest_truasync.supabase._aggregates import aggregate
from pytest_truasync.supabase._cast import cast
from pytest_truasync.supabase._errors import ApiError
from pytest_truasync.supabase._fts import parse_tsquery, to_tsvector
from pytest_truasync.supabase._schema import Table
from pytest_truasync.supabase._sqlexpr import compile_expression
from pytest_truasync.supabase._sqlvalues import NotModelledError, Scope

BOOK = t.TypeBook({"mood": ["sad", "ok"]})
NOW = datetime(2024, 2, 29, 10, 20, 30, tzinfo=UTC)


def evaluate(text: str) -> str | None:
    """Return the text of an expression's value."""
    row = {"a": 2, "s": "Abc", "n": None, "Odd": True}
    types = {"a": t.INTEGER, "s": t.TEXT, "n": t.INTEGER, "Odd": t.BOOLEAN}
    claims = {"sub": None, "role": "anon"}
    scope = Scope(row=row, types=types, claims=claims, role="anon", now=NOW)
    kind, value = compile_expression(text, BOOK)(scope)
    shown = cast(value, kind, t.TEXT)
    assert shown is None or isinstance(shown, str)
    return shown


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1 + 2 * 3 - 4", "3"),
        ("-7 / 2", "-3"),
        ("-7 % 2", "-1"),
        ("7.0 / 2", "3.5000000000000000"),
        ("1e2 + 0.5", "100.5"),
        ("2.5::float8 * 2", "5"),
        ("(1 + 2) * 3", "9"),
        ("+5", "5"),
        ("3000000000 + 1", "3000000001"),
        ("a + n", None),
        ("a = 2 and s = 'Abc'", "true"),
        ("n = 1 or a = 2", "true"),
        ("n = 1 and a = 3", "false"),
        ("not n = 1", None),
        ("n is null and s is not null", "true"),
        ('"Odd" is true and "Odd" is not false', "true"),
        ("n is distinct from 1", "true"),
        ("a is not distinct from 2", "true"),
        ("a in (1, 2)", "true"),
        ("a not in (1, 3)", "true"),
        ("n in (1, 2)", None),
        ("a between 1 and 3", "true"),
        ("a not between 1 and 3", "false"),
        ("s like 'A%' and s ilike 'a%' and s not like 'a%'", "true"),
        ("s ~ '^A' and s ~* '^a' and s !~ '^a' and not s !~* '^a'", "true"),
        ("s ~~ 'A_c'", "true"),
        ("a = any (array[1, 2])", "true"),
        ("a = any ('{3,4}'::int[])", "false"),
        ("a <> all ('{3,4}')", "true"),
        ("a = any (null::int[])", None),
        ("case a when 1 then 'x' when 2 then 'y' end", "y"),
        ("case when n = 1 then 'x' end", None),
        ("coalesce(n, a, 5)", "2"),
        ("lower(s) || upper(s) || length(s)", "abcABC3"),
        ("'a' || null", None),
        ("concat('a', null, 1)", "a1"),
        ("btrim('  x ')", "x"),
        ("octet_length('é')", "2"),
        ("greatest(1, a, 3) - least(1, a)", "2"),
        ("cardinality(array['x', 'y'])", "2"),
        ("array_length('{}'::int[], 1)", None),
        ("cast('5' as integer) + '6'::int", "11"),
        ("'12:00'::time without time zone", "12:00:00"),
        ("'1.555'::numeric(5, 2)", "1.56"),
        ("'x'::character varying(3)", "x"),
        ("'ok'::mood > 'sad'", "true"),
        ("date '2024-03-01' - date '2024-02-01'", "29"),
        ("'2024-01-31'::date + interval '1 month'", "2024-02-29 00:00:00"),
        ("interval '1 day' + '2024-01-31'::timestamp", "2024-02-01 00:00:00"),
        ("interval '1 day' - interval '1 hour'", "1 day -01:00:00"),
        ("now() - interval '1 day'", "2024-02-28 10:20:30+00"),
        ("now() at time zone 'Asia/Kolkata'", "2024-02-29 15:50:30"),
        ("timezone('utc', now())", "2024-02-29 10:20:30"),
        ("timestamp '2024-01-01' at time zone 'Asia/Kolkata'", "2023-12-31 18:30:00+00"),
        ("current_timestamp", "2024-02-29 10:20:30+00"),
        ("current_date", "2024-02-29"),
        ("localtimestamp", "2024-02-29 10:20:30"),
        ("now() > '2024-01-01'::date", "true"),
        ("1 < 1.5 and 1 < 2::float8", "true"),
        ("jsonb_build_object('a', 1, 'b', array['x'])", '{"a": 1, "b": ["x"]}'),
        ("'{\"a\": 1}'::jsonb || '{\"b\": 2}'::jsonb", '{"a": 1, "b": 2}'),
        ("to_tsvector('simple', s)", "'abc':1"),
        ("'{\"a\": {\"b\": [5]}}'::jsonb -> 'a' -> 'b' ->> 0", "5"),
        ("'{}'::jsonb ->> 'a' = 'x'", None),
        ("auth.uid()", None),
        ("auth.role()", "anon"),
        ("session_user", "authenticator"),
        ("null", None),
        ("true", "true"),
    ],
)
def test_expressions(text: str, value: str | None) -> None:
    assert evaluate(text) == value


def test_random_values() -> None:
    assert evaluate("gen_random_uuid()") != evaluate("extensions.uuid_generate_v4()")
    assert evaluate("clock_timestamp() > now()") == "true"


@pytest.mark.parametrize(
    "text",
    ["select 1", "magic()", "a[1]", "E'a\\n'", "1 +", "1 2", "x::nothing", "§", "("],
)
def test_expressions_that_are_not_modelled(text: str) -> None:
    with pytest.raises(NotModelledError):
        evaluate(text)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("zzz", "42703"),
        ("1 / 0", "22012"),
        ("2147483647 + 1", "22003"),
        ("s = 5::bigint", "42883"),
        ("true || false", "42883"),
        ("jsonb_build_object(null, 1)", "22023"),
        ("to_tsvector('english', s)", "TRUASYNC_UNSUPPORTED"),
        ("to_tsvector(s)", "TRUASYNC_UNSUPPORTED"),
        ("nextval('x')", "TRUASYNC_UNSUPPORTED"),
        ("'x'::int", "22P02"),
        ("a ->> 'x'", "42883"),
        ("now() * 2", "TRUASYNC_UNSUPPORTED"),
        ("array[1] || array[2]", "TRUASYNC_UNSUPPORTED"),
    ],
)
def test_expressions_that_fail(text: str, code: str) -> None:
    with pytest.raises(ApiError) as caught:
        evaluate(text)
    assert caught.value.reply.code == code


DOCUMENT = to_tsvector("The fat cats sat on a mat and ate fat rats")


@pytest.mark.parametrize(
    ("operator", "query", "found"),
    [
        ("fts", "fat & cats", True),
        ("fts", "fat & dog", False),
        ("fts", "dog | rats", True),
        ("fts", "!dog & !(cow | pig)", True),
        ("fts", "fat <-> cats", True),
        ("fts", "cats <-> fat", False),
        ("fts", "fat <2> sat", True),
        ("fts", "ra:*", True),
        ("fts", "rats:A", False),
        ("fts", "'fat cats'", True),
        ("fts", "", False),
        ("plfts", "Fat RATS", True),
        ("plfts", "", False),
        ("phfts", "sat on a mat", True),
        ("phfts", "mat sat", False),
        ("phfts", "", False),
        ("wfts", '"fat cats" -dog', True),
        ("wfts", "dog or rats", True),
        ("wfts", "fat -rats", False),
        ("wfts", "", False),
    ],
)
def test_full_text_search(operator: str, query: str, found: bool) -> None:
    assert parse_tsquery(operator, query, "simple")(DOCUMENT) is found


@pytest.mark.parametrize("query", ["a b", "a &", "(a", "&", "a )", "!"])
def test_bad_full_text_queries(query: str) -> None:
    with pytest.raises(ApiError, match="42601"):
        parse_tsquery("fts", query, "simple")


def test_full_text_search_of_columns() -> None:
    ask = asker(
        Table(
            "t",
            {"id": "int", "v": "tsvector", "j": "jsonb", "n": "int"},
            rows=[{"id": 1, "v": "'cat':1A 'rat':2", "j": {"a": ["Fat cat", 5]}, "n": 1}],
        ),
        text_search="simple",
    )
    assert ask.ids("/t?v=fts.cat:A%20%26%20rat&select=id") == [1]
    assert ask.ids("/t?v=fts.rat:A&select=id") == []
    assert ask.ids("/t?j=plfts.cat&select=id") == [1]
    assert ask.ids("/t?j=not.plfts.dog&select=id") == [1]
    assert ask.get("/t?n=fts.cat").error == (404, "42883")
    assert ask.get("/t?v=fts(german).cat").error == (501, "TRUASYNC_UNSUPPORTED")
    assert ask.get("/t?v=fts.(cat%20%26%20rat)<->x").error == (501, "TRUASYNC_UNSUPPORTED")


@pytest.mark.parametrize(
    ("name", "kind", "values", "shown", "result"),
    [
        ("sum", "smallint", ["1", "2"], "3", "bigint"),
        ("sum", "bigint", ["9223372036854775807", "1"], "9223372036854775808", "numeric"),
        ("sum", "numeric", ["1.50", "2.5"], "4.00", "numeric"),
        ("sum", "numeric", ["1", "NaN"], "NaN", "numeric"),
        ("sum", "real", ["1.5", "2"], "3.5", "real"),
        ("sum", "double precision", ["0.1", "0.2"], "0.30000000000000004", "double precision"),
        ("sum", "double precision", ["NaN", "0.2"], "NaN", "double precision"),
        ("sum", "interval", ["1 day", "2 hours"], "1 day 02:00:00", "interval"),
        ("sum", "money", ["1.5", "2"], "$3.50", "money"),
        ("avg", "integer", ["1", "2", "2"], "1.6666666666666667", "numeric"),
        ("avg", "integer", ["100000", "200001"], "150000.500000000000", "numeric"),
        ("avg", "numeric", ["NaN"], "NaN", "numeric"),
        ("avg", "real", ["1.5", "2"], "1.75", "double precision"),
        ("avg", "double precision", ["NaN"], "NaN", "double precision"),
        ("max", "text", ["a", "B"], "a", "text"),
        ("min", "date", ["2024-01-02", "infinity"], "2024-01-02", "date"),
        ("count", "json", ["1", "2"], "2", "bigint"),
    ],
)
def test_aggregates(name: str, kind: str, values: list[str], shown: str, result: str) -> None:
    found = BOOK.find(kind)
    made, fold = aggregate(name, found)
    assert made.name == result
    assert made.text(fold([found.parse(v) for v in values])) == shown


@pytest.mark.parametrize(
    ("name", "kind", "code"),
    [
        ("sum", "text", "42883"),
        ("avg", "date", "42883"),
        ("max", "boolean", "42883"),
        ("min", "jsonb", "42883"),
        ("avg", "interval", "TRUASYNC_UNSUPPORTED"),
        ("max", "polygon", "TRUASYNC_UNSUPPORTED"),
    ],
)
def test_aggregates_that_are_refused(name: str, kind: str, code: str) -> None:
    with pytest.raises(ApiError) as caught:
        aggregate(name, BOOK.find(kind))
    assert caught.value.reply.code == code


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/items?items.limit=1", "PGRST108"),
        ("/shops?select=items(id)&items.offset=-1", "2201X"),
        ("/shops?select=items(id)&items.limit=-1", "2201W"),
        ("/people?order=meta->a->>b", ""),
        ("/people?select=shops(id)&order=id,shops(id)", "PGRST118"),
        ("/shops?select=people(name)&order=people(age)", "42703"),
        ("/shops?select=people(meta)&order=people(meta->a)", ""),
        ("/people?select=a:boss_id(id),b:boss_id(id)&a.id=eq.1", ""),
        ('/people?select="name"&"id"=eq.1', ""),
        ("/people?select=name,,", "PGRST100"),
        ("/people?select=shops!leftover(id)", "PGRST100"),
        ("/people?name=in.(a", "PGRST100"),
        ("/people?name=is.maybe", "PGRST100"),
        ("/people?and=(id.eq.1,xor(a))", "PGRST100"),
        ("/people?not.and=(id.eq.1)&limit=x&offset=1", "PGRST103"),
        ("/people?select=id::", "PGRST100"),
        ("/people?meta->>'=eq.1", ""),
        ("/people?id=eq.1;name=eq.Ada", ""),
        ("/items?span=cs.5", "22P02"),
        ("/items?price=cs.5", "42883"),
        ("/items?added=match.x", "42883"),
        ("/people?select=meta::nope", "42704"),
        ("/items?order=sizes,span,price,added", ""),
    ],
)
def test_more_queries(path: str, code: str) -> None:
    answer = shop().get(path)
    if code:
        assert answer.json["code"] == code, answer.text
    else:
        assert answer.status == 200, answer.text


def test_bugs_of_ours_never_reach_the_app(monkeypatch: pytest.MonkeyPatch) -> None:
    ask: Asker = shop()

    def broken(*arguments: Any) -> None:
        raise KeyError("oops")

    monkeypatch.setattr(ask.engine, "_read", broken)
    answer = ask.get("/people")
    assert answer.error == (501, "TRUASYNC_UNSUPPORTED")
    assert "KeyError" in answer.json["message"]


def test_deep_nesting_is_no_crash() -> None:
    ask = shop()
    deep = "and(" * 3000 + "id.eq.1" + ")" * 3000
    assert ask.get(f"/people?and=({deep})").status in {400, 501}
    assert ask.get(f"/people?select={'shops(' * 3000}id{')' * 3000}").status in {400, 501}
    assert ask("POST", "/people", raw=b"[" * 100_000).error == (400, "PGRST102")
    assert ask.get(f"/people?meta=eq.{'[' * 5000}").status in {400, 501}
