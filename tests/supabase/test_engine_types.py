"""Types: what PostgreSQL itself reads, prints and refuses, kept in postgres_types.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_truasync.supabase import _types as t
from pytest_truasync.supabase._cast import caster
from pytest_truasync.supabase._datetimes import timestamptz_text, zone
from pytest_truasync.supabase._errors import UNSUPPORTED, ApiError
from pytest_truasync.supabase._json import contains
from pytest_truasync.supabase._patterns import like_regex, posix_regex
from pytest_truasync.supabase._scalars import parse_jsonb

GOLDEN = json.loads(Path(__file__).with_name("postgres_types.json").read_text("utf-8"))
BOOK = t.TypeBook()


@pytest.mark.parametrize(("name", "text", "expected"), GOLDEN["texts"])
def test_texts(name: str, text: str, expected: Any) -> None:
    kind = BOOK.find(name)
    try:
        value = kind.parse(text)
        show = kind.text if kind.family == "inet" else caster(kind, t.TEXT)  # casts show the mask
        shown: Any = [show(value), kind.json(value)]
    except ApiError as error:
        reply = error.reply
        if reply.code == UNSUPPORTED:
            return  # refused by name, which is no wrong answer
        shown = {"code": reply.code, "message": reply.message, "details": reply.details}
    assert shown == expected


@pytest.mark.parametrize(("source", "text", "target", "expected"), GOLDEN["casts"])
def test_casts(source: str, text: str, target: str, expected: Any) -> None:
    left, right = BOOK.find(source), BOOK.find(target)
    try:
        value = caster(left, right)(left.parse(text))
        shown: Any = caster(right, t.TEXT)(value)
    except ApiError as error:
        if error.reply.code == UNSUPPORTED:
            return  # refused by name, which is no wrong answer
        shown = {"code": error.reply.code, "message": error.reply.message}
    assert shown == expected


@pytest.mark.parametrize(("text", "expected"), GOLDEN["json_errors"])
def test_json_errors(text: str, expected: list[str]) -> None:
    with pytest.raises(ApiError) as caught:
        parse_jsonb(text)
    reply = caught.value.reply
    assert [reply.code, reply.message, reply.details] == expected


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        ("a%", "abc", True),
        ("a_", "abc", False),
        (r"a\%", "a%", True),
        (r"a\%", "ab", False),
        ("%\n%", "a\nb", True),
        ("a.c", "abc", False),
    ],
)
def test_like(pattern: str, text: str, matches: bool) -> None:
    assert (like_regex(pattern, ignore_case=False).fullmatch(text) is not None) is matches


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        ("^a.c$", "abc", True),
        ("[[:digit:]]+", "x1", True),
        ("[^[:alpha:]]", "abc", False),
        (r"\mab\M", "x ab y", True),
        ("(?i)ABC", "abc", True),
        ("a$", "a\n", False),
        ("[]a]", "]", True),
    ],
)
def test_regular_expressions(pattern: str, text: str, matches: bool) -> None:
    assert (posix_regex(pattern, ignore_case=False).search(text) is not None) is matches


@pytest.mark.parametrize("pattern", ["(", "[", "a**", "\\", "[[:nope:]]", "x{2,1}"])
def test_bad_regular_expressions(pattern: str) -> None:
    with pytest.raises(ApiError, match="2201B"):
        posix_regex(pattern, ignore_case=False)


@pytest.mark.parametrize("pattern", [r"(a)\1", "(?n)a", "***=a", "[[.a.]]"])
def test_regular_expressions_that_are_not_modelled(pattern: str) -> None:
    with pytest.raises(ApiError, match=UNSUPPORTED):
        posix_regex(pattern, ignore_case=False)


def test_a_like_pattern_may_not_end_in_its_escape() -> None:
    with pytest.raises(ApiError, match="22025"):
        like_regex("a\\", ignore_case=False)


def test_unknown_types() -> None:
    with pytest.raises(t.UnknownTypeError):
        BOOK.find("nonsense", opaque=False)
    kind = BOOK.find("extensions.vector(3)")
    assert (kind.family, kind.json(kind.parse("[1,2,3]"))) == ("opaque", '"[1,2,3]"')


@pytest.mark.parametrize(
    ("zone_name", "shown"),
    [
        ("+05:30", "2024-01-01T06:30:00-05:30"),
        ("-4", "2024-01-01T08:00:00-04:00"),
        ("5.5", "2024-01-01T17:30:00+05:30"),
        ("utc+3", "2024-01-01T09:00:00-03:00"),
        ("asia/KOLKATA", "2024-01-01T17:30:00+05:30"),
        ("GMT", "2024-01-01T12:00:00+00:00"),
    ],
)
def test_time_zones(zone_name: str, shown: str) -> None:
    value = BOOK.find("timestamptz").parse("2024-01-01 12:00:00Z")
    assert timestamptz_text(value, zone(zone_name), as_json=True) == shown


@pytest.mark.parametrize("zone_name", ["Mars", "../etc/passwd", "05:30:15", "", "99"])
def test_unknown_time_zones(zone_name: str) -> None:
    with pytest.raises(ApiError, match="22023"):
        zone(zone_name)


@pytest.mark.parametrize("kind", ["date", "timestamp", "timestamptz"])
def test_infinity_is_beyond_every_date(kind: str) -> None:
    found = BOOK.find(kind)
    early, day, late = (found.parse(x) for x in ("-infinity", "2024-01-01", "infinity"))
    assert early < day < late
    assert late > day > early
    assert sorted([late, day, early]) == [early, day, late]
    assert (found.text(late), found.text(early)) == ("infinity", "-infinity")
    assert {late, found.parse("infinity")} == {late}
    with pytest.raises(ApiError, match=UNSUPPORTED):
        found.parse("10000-01-01")


def test_not_a_number_is_above_every_number() -> None:
    for kind in ("numeric", "double precision"):
        found = BOOK.find(kind)
        small, big, nan = (found.parse(x) for x in ("1", "Infinity", "NaN"))
        assert sorted([nan, big, small]) == [small, big, nan]
        assert nan == found.parse("NaN")
        assert nan >= big
        assert not nan < big
        assert nan <= found.parse("NaN")
        assert not nan <= big


def test_intervals_compare_by_their_length() -> None:
    parse = BOOK.find("interval").parse
    assert parse("1 day") == parse("24:00")
    assert parse("1 mon") > parse("29 days")
    assert parse("1 mon") >= parse("30 days")
    assert parse("1 hour") < parse("61 minutes")
    assert parse("1 hour") <= parse("60 minutes")
    assert {parse("1 day"), parse("24 hours")} == {parse("1 day")}
    for text in ("", "1 fortnight", "0.5 months", "999999999 years"):
        with pytest.raises(ApiError):
            parse(text)


@pytest.mark.parametrize(
    ("left", "right", "smaller"),
    [
        ("null", '"a"', True),
        ('"b"', "1", True),
        ("5", "true", True),
        ("false", "true", True),
        ("true", "[1]", True),
        ("[1, 2]", "{}", True),
        ("[2]", "[1, 1]", True),
        ("[]", "null", True),
        ("[[]]", "[null]", False),
        ('{"b": 1}', '{"a": 1, "b": 0}', True),
        ('{"b": 1}', '{"aa": 0}', False),
        ('{"a": 1}', '{"a": 2}', True),
    ],
)
def test_jsonb_order(left: str, right: str, smaller: bool) -> None:
    one, two = parse_jsonb(left), parse_jsonb(right)
    assert (one.key < two.key) is smaller
    assert (one == two) is False
    assert one == parse_jsonb(left)
    assert hash(one) == hash(parse_jsonb(left))


@pytest.mark.parametrize(
    ("outer", "inner", "holds"),
    [
        ('{"a": 1, "b": [1, {"c": 2}]}', '{"b": [{"c": 2}]}', True),
        ('{"a": 1}', '{"a": 1.0}', True),
        ('{"a": [1, 2]}', '{"a": 1}', False),
        ('["a", "b"]', '"a"', True),
        ('"a"', '["a"]', False),
        ("[[1]]", "[1]", False),
        ("[1, [2, 3]]", "[[3]]", True),
        ("5", "5", True),
    ],
)
def test_jsonb_containment(outer: str, inner: str, holds: bool) -> None:
    assert contains(parse_jsonb(outer).value, parse_jsonb(inner).value) is holds
