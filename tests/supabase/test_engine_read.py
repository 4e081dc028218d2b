"""Reading: filters, select, order, ranges, counts, media types."""

from __future__ import annotations

from typing import Any

import pytest
from engine_tools import SINGLE, Asker, asker, shop

from pytest_truasync.supabase._schema import Table


@pytest.fixture
def ask() -> Asker:
    """Return a fresh shop."""
    return shop()


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("id=eq.2", [2]),
        ("id=neq.2", [1, 3, 4]),
        ("age=gt.20", [1]),
        ("age=gte.20", [1, 2, 4]),
        ("age=lt.36", [2, 4]),
        ("age=lte.20", [2, 4]),
        ("age=is.null", [3]),
        ("age=not.is.null", [1, 2, 4]),
        ("age=is.not_null", [1, 2, 4]),
        ("age=not.eq.20", [1]),
        ("age=isdistinct.20", [1, 3]),
        ("name=like.*b", [2]),
        ("name=ilike.a%25", [1]),
        ("name=match.^[A-C]", [1, 2, 3]),
        ("name=imatch.^d", [4]),
        ("name=like(any).{A*,*y}", [1, 3]),
        ("name=like(all).{A*,*a}", [1]),
        ("id=eq(any).{1,4}", [1, 4]),
        ("id=gt(all).{1,2}", [3, 4]),
        ("id=in.(1,3,9)", [1, 3]),
        ("id=not.in.(1,3)", [2, 4]),
        ("id=in.()", []),
        ('name=in.("Ada","Cy")', [1, 3]),
        ("mood=gt.sad", [1, 3, 4]),
        ("or=(id.eq.1,age.is.null)", [1, 3]),
        ("not.or=(id.eq.1,id.eq.2)", [3, 4]),
        ("and=(id.gt.1,or(name.eq.Bob,name.eq.Di))", [2, 4]),
        ("or=(id.in.(1,2),not.and(id.gt.0,id.lt.4))", [1, 2, 4]),
        ("meta->>a=eq.1", [1]),
        ("meta->tags->>0=eq.x", [1]),
        ("meta->b->>c=eq.d", [3]),
        ("meta->>-1=eq.2", [4]),
        ('meta=cs.{"a":1}', [1]),
        ('meta->tags=cs.["y"]', [1]),
        ("meta=eq.[1,2]", [4]),
        ("name=phfts(simple).ada", [1]),
        ("name=fts(simple).ada|bob", [1, 2]),
        ("name=not.wfts(simple).ada or bob", [3, 4]),
    ],
)
def test_filters(ask: Asker, query: str, ids: list[int]) -> None:
    assert ask.ids(f"/people?select=id&{query}&order=id") == ids


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("sizes=cs.{2}", [1, 2]),
        ("sizes=cd.{1,2,5}", [1]),
        ("sizes=ov.{3,9}", [2]),
        ("sizes=eq.{1,2}", [1]),
        ("span=cs.[2,3]", [1]),
        ("span=cd.[0,20)", [1, 4]),
        ("span=ov.[4,6)", [1, 4]),
        ("span=sl.[5,7)", [1]),
        ("span=sr.[0,3)", [4]),
        ("span=nxr.[0,6)", [1]),
        ("span=nxl.[2,6)", [4]),
        ("span=adj.[5,7)", [1]),
        ("price=eq.9.5", [1]),
        ("price=lt.30", [1, 3]),
        ("in_stock=is.true", [1, 3]),
        ("in_stock=is.unknown", [4]),
        ("in_stock=not.is.true", [2, 4]),
        ("added=gt.2024-01-01", [3]),
        ("label=ilike.r*", [3, 4]),
    ],
)
def test_filters_of_types(ask: Asker, query: str, ids: list[int]) -> None:
    assert ask.ids(f"/items?select=id&{query}&order=id") == ids


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("select=name", {"name": "Ada"}),
        ("select=who:name,id", {"who": "Ada", "id": 1}),
        ("select=id::text", {"id": "1"}),
        ("select=meta->a", {"a": 1}),
        ("select=meta->>a", {"a": "1"}),
        ("select=meta->tags->1", {"tags": "y"}),
        ("select=x:meta->tags->>0", {"x": "x"}),
        ("select=age::float8,age::numeric(5)", None),
        ("select= name , id ", {"name": "Ada", "id": 1}),
        ("select=meta->zzz", {"zzz": None}),
    ],
)
def test_select(ask: Asker, query: str, first: Any) -> None:
    answer = ask.get(f"/people?{query}&limit=1&order=id")
    if first is None:
        assert answer.error == (400, "PGRST100")
    else:
        assert answer.json == [first]


@pytest.mark.parametrize(
    ("order", "ids"),
    [
        ("age", [2, 4, 1, 3]),
        ("age.desc", [3, 1, 2, 4]),
        ("age.desc.nullslast", [1, 2, 4, 3]),
        ("age.nullsfirst,id.desc", [3, 4, 2, 1]),
        ("mood,id", [2, 1, 3, 4]),
        ("meta->>a.desc.nullslast,id.desc", [1, 4, 3, 2]),
    ],
)
def test_order(ask: Asker, order: str, ids: list[int]) -> None:
    assert ask.ids(f"/people?select=id&order={order}") == ids


def test_ranges_and_counts(ask: Asker) -> None:
    exact = ("Prefer", "count=exact")
    part = ask.get("/people?select=id&order=id&limit=2&offset=1", exact)
    assert (part.status, part.headers["content-range"]) == (206, "1-2/4")
    assert part.headers["preference-applied"] == "count=exact"
    whole = ask.get("/people", exact)
    assert (whole.status, whole.headers["content-range"]) == (200, "0-3/4")
    ranged = ask.get("/people?select=id", ("Range", "2-9"))
    assert (ranged.headers["content-range"], len(ranged.json)) == ("2-3/*", 2)
    beyond = ask.get("/people", exact, ("Range", "9-"))
    assert beyond.error == (416, "PGRST103")
    assert beyond.headers["content-range"] == "*/4"
    assert ask.get("/people?limit=0").headers["content-range"] == "*/*"
    assert ask.get("/people?limit=-1").error == (416, "PGRST103")
    head = ask("HEAD", "/people", None, exact)
    assert (head.status, head.text, head.headers["content-range"]) == (200, "", "0-3/4")


def test_media_types(ask: Asker) -> None:
    one = ask.get("/people?id=eq.1&select=name,boss_id", SINGLE)
    assert one.json == {"name": "Ada", "boss_id": None}
    assert one.headers["content-type"] == "application/vnd.pgrst.object+json; charset=utf-8"
    none = ask.get("/people?id=eq.9", SINGLE)
    assert none.error == (406, "PGRST116")
    assert none.json["details"] == "The result contains 0 rows"
    stripped = ("Accept", "application/vnd.pgrst.array+json;nulls=stripped")
    assert ask.get("/people?select=name,boss_id&id=lt.3", stripped).json == [
        {"name": "Ada"},
        {"name": "Bob", "boss_id": 1},
    ]
    csv = ask.get("/items?select=id,label,sizes,in_stock&id=in.(1,4)", ("Accept", "text/csv"))
    assert csv.text == 'id,label,sizes,in_stock\n1,novel,"{1,2}",t\n4,Roll,,'
    assert ask.get("/people", ("Accept", "image/png")).error == (406, "PGRST107")
    weighed = ("Accept", "text/csv;q=0.5, application/json")
    assert ask.get("/people", weighed).headers["content-type"].startswith("application/json")


def test_embeds(ask: Asker) -> None:
    assert ask.rows("/items?select=label,shops(title,people(name))&id=in.(1,3)") == [
        {"label": "novel", "shops": {"title": "Books", "people": {"name": "Ada"}}},
        {"label": "rye", "shops": {"title": "Bread", "people": {"name": "Bob"}}},
    ]
    assert ask.rows("/shops?select=title,items(label)&items.order=label.desc&items.limit=1") == [
        {"title": "Books", "items": [{"label": "novel"}]},
        {"title": "Bread", "items": [{"label": "rye"}]},
        {"title": "Boats", "items": []},
    ]
    assert ask.rows("/shops?select=id,items!inner()&items.price=gt.20") == [{"id": 1}]
    assert ask.rows("/people?select=name,items(label)&id=lt.3&items.order=id") == [
        {"name": "Ada", "items": [{"label": "novel"}, {"label": "rye"}]},
        {"name": "Bob", "items": [{"label": "novel"}]},
    ]
    assert ask.rows("/people?select=name,boss:boss_id(name)&id=eq.4") == [
        {"name": "Di", "boss": {"name": "Bob"}}
    ]
    assert ask.rows("/people?select=name,staff:people(name)&id=eq.1") == [
        {"name": "Ada", "staff": [{"name": "Bob"}, {"name": "Cy"}]}
    ]
    assert ask.rows("/shops?select=title,...people(owner:name)&order=id") == [
        {"title": "Books", "owner": "Ada"},
        {"title": "Bread", "owner": "Bob"},
        {"title": "Boats", "owner": None},
    ]
    assert ask.rows("/shops?select=title,...items(label)&id=eq.1") == [
        {"title": "Books", "label": ["novel", "atlas"]}
    ]
    assert ask.ids("/shops?select=id,people()&people=is.null") == [3]
    assert ask.ids("/shops?select=id,items()&items=not.is.null") == [1, 2]
    assert ask.ids("/shops?select=id,people(name)&order=people(name).desc.nullslast") == [2, 1, 3]


def test_counts_of_embeds_need_no_setting(ask: Asker) -> None:
    assert ask.rows("/shops?select=title,items(count)") == [
        {"title": "Books", "items": [{"count": 2}]},
        {"title": "Bread", "items": [{"count": 2}]},
        {"title": "Boats", "items": [{"count": 0}]},
    ]
    assert ask.rows("/people?select=count") == [{"count": 4}]
    assert ask.get("/people?select=name,count").error == (400, "42803")


def test_aggregates() -> None:
    ask = shop(db_aggregates=True)
    assert ask.rows("/items?select=price.sum(),price.avg(),price.max(),n:count()") == [
        {"sum": 42.5, "avg": 14.1666666666666667, "max": 30.0, "n": 4}
    ]
    assert ask.get("/items?select=price.avg()").text == '[{"avg":14.1666666666666667}]'
    assert ask.rows("/items?select=shop_id,count()&order=shop_id.desc") == [
        {"shop_id": 2, "count": 2},
        {"shop_id": 1, "count": 2},
    ]
    assert ask.rows("/shops?select=title,items(price.sum())&id=lt.3") == [
        {"title": "Books", "items": [{"sum": 39.5}]},
        {"title": "Bread", "items": [{"sum": 3.0}]},
    ]
    assert ask.rows("/items?select=price.sum()::text,...shops(title)&order=shops(title)")
    assert ask.rows("/items?select=count()&id=gt.99") == [{"count": 0}]
    assert ask.rows("/items?select=price.sum()&id=gt.99") == [{"sum": None}]
    assert ask.get("/people?select=name.sum()").error == (404, "42883")
    assert ask.get("/shops?select=...items(price.sum())").error == (400, "PGRST127")
    assert shop().get("/items?select=price.sum()").error == (400, "PGRST123")


def test_rows_keep_the_order_in_which_they_were_written(ask: Asker) -> None:
    assert ask("PATCH", "/people?id=eq.1", {"age": 37}).status == 204
    assert ask.ids("/people?select=id") == [2, 3, 4, 1]


def test_views_show_their_table(ask: Asker) -> None:
    assert ask("PATCH", "/names?id=eq.2", {"name": "Rob"}).status == 204
    assert {"id": 2, "name": "Rob"} in ask.rows("/names")
    assert ask.rows("/names?select=name,shops(title)&id=eq.1") == [
        {"name": "Ada", "shops": [{"title": "Books"}]}
    ]
    assert ask.get("/names?select=email").error == (400, "42703")


def test_time_zone_of_the_request(ask: Asker) -> None:
    there = ask.get("/items?select=added&id=eq.3", ("Prefer", "timezone=America/New_York"))
    assert there.json == [{"added": "2024-05-01T06:00:00-04:00"}]
    assert there.headers["preference-applied"] == "timezone=America/New_York"
    assert ask.rows("/items?select=added&id=eq.3") == [{"added": "2024-05-01T10:00:00+00:00"}]
    assert ask.get("/items", ("Prefer", "timezone=Mars")).error == (400, "22023")


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/nothing", 404, "PGRST205"),
        ("/a/b/c", 404, "PGRST125"),
        ("/people?zzz=eq.1", 400, "42703"),
        ("/people?select=zzz", 400, "42703"),
        ("/people?order=zzz", 400, "42703"),
        ("/people?id=eq.x", 400, "22P02"),
        ("/people?id=what.1", 400, "PGRST100"),
        ("/people?id=1", 400, "PGRST100"),
        ("/people?select=id,,name", 400, "PGRST100"),
        ("/people?select=name(", 400, "PGRST100"),
        ("/people?order=id.up", 400, "PGRST100"),
        ("/people?or=(id.eq.1", 400, "PGRST100"),
        ("/people?age=like.1*", 404, "42883"),
        ("/people?name=cs.x", 404, "42883"),
        ("/people?name=is.true", 400, "42804"),
        ("/people?mood=eq.angry", 400, "22P02"),
        ("/people?name=match.(", 400, "2201B"),
        ("/people?meta=eq.{x", 400, "22P02"),
        ("/people?meta->>a->b=eq.1", 404, "42883"),
        ("/people?select=name::nothing", 400, "42704"),
        ("/items?select=in_stock::date", 400, "42846"),
        ("/items?added=gt.someday", 400, "22007"),
        ("/items?added=gt.2024-13-01", 400, "22008"),
        ("/items?sizes=cs.1", 400, "22P02"),
        ("/items?select=price::int", 200, ""),
        ("/people?select=stars(id)", 400, "42703"),
        ("/shops?select=stars(*)", 400, "PGRST200"),
        ("/people?shops.id=eq.1", 400, "PGRST108"),
        ("/people?select=shops(id)&order=shops(id)", 400, "PGRST118"),
        ("/people?select=id&order=shops(id)", 400, "PGRST108"),
        ("/people?name=fts.ada", 501, "TRUASYNC_UNSUPPORTED"),
        ("/people?name=fts(english).ada", 501, "TRUASYNC_UNSUPPORTED"),
    ],
)
def test_refusals(ask: Asker, path: str, status: int, code: str) -> None:
    answer = ask.get(path)
    assert answer.status == status, answer.text
    if code:
        assert answer.json["code"] == code
        assert set(answer.json) == {"code", "message", "details", "hint"}


def test_refusals_say_what_postgrest_says(ask: Asker) -> None:
    assert ask.get("/peopl").json == {
        "code": "PGRST205",
        "message": "Could not find the table 'public.peopl' in the schema cache",
        "details": None,
        "hint": "Perhaps you meant the table 'public.people'",
    }
    assert ask.get("/people?select=nme").json == {
        "code": "42703",
        "message": "column people.nme does not exist",
        "details": None,
        "hint": 'Perhaps you meant to reference the column "people.name".',
    }


def test_ambiguous_embeds_are_listed() -> None:
    ask = asker(
        Table("a", {"id": "int primary key"}),
        Table("b", {"id": "int primary key", "x": "int references a", "y": "int references a"}),
    )
    answer = ask.get("/b?select=a(*)")
    assert answer.error == (300, "PGRST201")
    assert [d["relationship"] for d in answer.json["details"]] == [
        "b_x_fkey using b(x) and a(id)",
        "b_y_fkey using b(y) and a(id)",
    ]
    assert ask.rows("/b?select=a!b_x_fkey(*)") == []
    assert ask.rows("/b?select=x(*),a!y(*)") == []


def test_other_methods(ask: Asker) -> None:
    options = ask("OPTIONS", "/people")
    assert options.headers["allow"] == "OPTIONS,GET,HEAD,POST,PUT,PATCH,DELETE"
    assert ask("TRACE", "/people").error == (405, "PGRST117")
    assert ask("OPTIONS", "/nothing").status == 404
    assert ask.get("/people", ("Accept-Profile", "other")).error == (406, "PGRST106")
    assert ask.get("/people", ("Accept-Profile", "public")).headers["content-profile"] == "public"
    document = ask.get("/")
    assert document.headers["content-type"] == "application/openapi+json; charset=utf-8"
    assert set(document.json["definitions"]) == {"people", "shops", "items", "stars", "names"}


def test_plans_are_kept_but_not_the_moment() -> None:
    ask = asker(
        Table("t", {"id": "int primary key", "at": "timestamptz"}, rows=[{"id": 1, "at": "now"}])
    )
    assert ask.ids("/t?at=lt.now&select=id") == [1]
    assert ask.ids("/t?at=lt.now&select=id") == [1]
    assert ask.ids("/t?at=gt.tomorrow&select=id") == []
