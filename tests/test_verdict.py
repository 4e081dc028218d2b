from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_truasync._model import CallSite, Observation, Permission, PoolUse, Verdict
from pytest_truasync._rules import RULES, select
from pytest_truasync._verdict import (
    Policy,
    covers,
    judge,
    merge,
    speaks_of,
    title_of,
    unused,
    verdict_from_json,
    verdict_to_json,
    with_violations,
)

SITE = CallSite("app/feed.py", 42, "Feed.load", "time.sleep(1)")
SLEEP = Observation(
    "TRU251", "time.sleep", "time.sleep", SITE, total_ns=5, longest_ns=5, test="t.py::test_a"
)
HTTP = SLEEP._replace(code="TRU310", target="requests.get", primitive="socket.socket.recv")
NOTE = SLEEP._replace(code="TRU302", target="shrink", primitive="open", via="asyncio.to_thread")
FULL = SLEEP._replace(code="TRU303", target="asyncio.to_thread")
SICK = SLEEP._replace(code="TRU903", target="probe sleep")


def allow(
    *what: str,
    kind: Literal["marker", "with", "ini"] = "marker",
    glob: str = "**",
    function: str = "",
    reason: str = "why",
) -> Permission:
    glob = glob if kind == "ini" else ""
    return Permission(kind, what, reason, "t.py:3", path_glob=glob, function=function)


def codes(verdict: Verdict) -> list[list[str]]:
    parts = (verdict.violations, verdict.warnings, verdict.notes)
    return [[one.rule.code for one in part] for part in parts]


class TestJudge:
    def test_levels_come_from_the_rules(self) -> None:
        verdict = judge([SLEEP, HTTP, NOTE, FULL, SICK], [], Policy())
        assert codes(verdict) == [["TRU251", "TRU310"], ["TRU303", "TRU903"], ["TRU302"]]
        assert verdict.violations[0].instead.startswith("await asyncio.sleep")
        assert verdict.violations[0].tests == ("t.py::test_a",)

    def test_like_observations_are_one_violation(self) -> None:
        again = SLEEP._replace(count=2, total_ns=8, longest_ns=7, when="teardown")
        (one,) = judge([SLEEP, again], [], Policy()).violations
        assert (one.observation.count, one.observation.total_ns) == (3, 13)
        assert one.observation.longest_ns == 7
        elsewhere = SLEEP._replace(site=SITE._replace(line=43))
        assert len(judge([SLEEP, elsewhere], [], Policy()).violations) == 2

    def test_strict_offload_makes_every_offload_an_error(self) -> None:
        verdict = judge([NOTE, HTTP], [], Policy(strict_offload=True))
        assert codes(verdict) == [["TRU304", "TRU310"], [], []]
        assert verdict.violations[0].instead == RULES["TRU304"].instead

    def test_what_is_not_selected_is_dropped(self) -> None:
        policy = Policy(select(["TRU3"]) - {"TRU302"})
        verdict = judge([SLEEP, HTTP, NOTE], [allow("TRU251")], policy)
        assert codes(verdict) == [["TRU310"], [], []]
        assert verdict.allowed == {}

    def test_strict_offload_and_selection(self) -> None:
        policy = Policy(select(["TRU302"]), strict_offload=True)
        assert codes(judge([NOTE], [], policy)) == [[], [], []]

    def test_calls_let_through_are_counted_for_each_permission(self) -> None:
        permissions = [allow("TRU2"), allow("time.sleep"), allow("TRU3")]
        verdict = judge([SLEEP, SLEEP._replace(count=4)], permissions, Policy())
        assert codes(verdict) == [[], [], []]
        assert verdict.allowed == {permissions[0].key: 5, permissions[1].key: 5}
        assert set(verdict.permissions) == set(permissions)

    def test_a_permission_for_the_note_covers_the_error_it_becomes(self) -> None:
        for word in ("TRU302", "TRU304", "offloaded-work", "strict-offload"):
            verdict = judge([NOTE], [allow(word)], Policy(strict_offload=True))
            assert codes(verdict) == [[], [], []]

    def test_no_permission_covers_the_health_of_the_plugin(self) -> None:
        assert codes(judge([SICK], [allow()], Policy())) == [[], ["TRU903"], []]

    def test_pools_are_merged_and_handed_on(self) -> None:
        pool = PoolUse("p", "pool", 3, calls=2, peak_queued=1)
        assert judge([], [], Policy(), [pool, pool]).pools == (pool._replace(calls=4),)

    def test_a_hundred_thousand_calls_are_one_group(self) -> None:
        verdict = judge([SLEEP._replace(count=100_000)], [], Policy())
        assert verdict.violations[0].observation.count == 100_000


class TestCovers:
    @pytest.mark.parametrize(
        ("word", "seen", "expected"),
        [
            ("TRU251", SLEEP, True),
            ("TRU25", SLEEP, True),
            ("TRU2", SLEEP, True),
            ("TRU2", HTTP, False),
            ("TRU3", HTTP, True),
            ("blocking-sleep", SLEEP, True),
            ("fake-async-sleep", SLEEP, False),
            ("time.sleep", SLEEP, True),
            ("time", SLEEP, True),
            ("time.sl", SLEEP, False),
            ("tim", SLEEP, False),
            ("requests", HTTP, True),
            ("request", HTTP, False),
            ("socket.socket", HTTP, True),
            ("open", NOTE, True),
            ("asyncio.to_thread", NOTE, True),
            ("input", SLEEP._replace(target="builtins.input", primitive="x"), True),
            ("builtins.open", NOTE, True),
        ],
    )
    def test_words(self, word: str, seen: Observation, expected: bool) -> None:
        assert covers(allow(word), seen) is expected
        assert covers(allow("lazy-load", word), seen) is expected

    def test_no_word_covers_all(self) -> None:
        assert covers(allow(), SLEEP)
        assert covers(allow(), HTTP)

    def test_a_with_block_covers_what_was_seen_inside_it(self) -> None:
        outer, inner = allow("TRU251", kind="with"), allow("TRU3", kind="with")
        assert not covers(outer, SLEEP)
        assert covers(outer, SLEEP._replace(permission=outer.key))
        assert not covers(inner, SLEEP._replace(permission=inner.key))
        assert covers(outer, SLEEP._replace(permission=f"{outer.key}\n{inner.key}"))

    @pytest.mark.parametrize(
        ("glob", "path", "expected"),
        [
            ("app/feed.py", "app/feed.py", True),
            ("./app/feed.py", "app/feed.py", True),
            ("app", "app/feed.py", True),
            ("app/", "app/deep/feed.py", True),
            ("ap", "app/feed.py", False),
            ("feed.py", "app/feed.py", False),
            ("*", "app/feed.py", True),
            ("*", "feed.py", True),
            ("*", "/lib/x.py", False),
            ("**", "/lib/x.py", True),
            ("**", "x.py", True),
            ("app/*.py", "app/feed.py", True),
            ("app/*.py", "app/deep/feed.py", False),
            ("app/**/feed.py", "app/feed.py", True),
            ("app/**/feed.py", "app/very/deep/feed.py", True),
            ("app/**", "app/very/deep/feed.py", True),
            ("app/**", "app", False),
            ("**/feed.py", "feed.py", True),
            ("**/feed.py", "app/feed.py", True),
            ("**/feed.py", "app/xfeed.py", False),
            ("**/site-packages/jinja2", "/venv/lib/site-packages/jinja2/loaders.py", True),
            ("app/f??d.py", "app/feed.py", True),
            ("app/f?d.py", "app/feed.py", False),
            ("app/[a-z].py", "app/a.py", False),
            ("app/[a-z].py", "app/[a-z].py", True),
            ("app/a+b.py", "app/a+b.py", True),
            ("app/feed.p", "app/feedxp", False),
        ],
    )
    def test_an_ini_line_covers_its_paths(self, glob: str, path: str, expected: bool) -> None:
        seen = SLEEP._replace(site=SITE._replace(path=path))
        assert covers(allow("TRU2", kind="ini", glob=glob), seen) is expected

    def test_an_ini_line_covers_what_is_done_there_in_a_thread(self) -> None:
        """A framework that hands a sync endpoint to a thread stands on the test's line."""
        inner = SITE._replace(path="app/feed.py", function="load")
        seen = SLEEP._replace(site=SITE._replace(path="tests/t.py"), inner=inner)
        line = allow("TRU2", kind="ini", glob="app/**", function="load")
        assert covers(line, seen)
        assert not covers(line, seen._replace(inner=None))

    @pytest.mark.parametrize(
        ("function", "name", "expected"),
        [
            ("load", "Feed.load", True),
            ("Feed.load", "Feed.load", True),
            ("Feed", "Feed.load", False),
            ("oad", "Feed.load", False),
            ("Other.load", "Feed.load", False),
            ("load", "load.<locals>.<lambda>", True),
            ("inner", "load.<locals>.inner", True),
            ("load.inner", "load.<locals>.inner", True),
            ("load.<locals>.inner", "load.<locals>.inner", True),
            ("load", "load.<locals>.inner", False),
            ("load", "", False),
        ],
    )
    def test_and_its_function(self, function: str, name: str, expected: bool) -> None:
        seen = SLEEP._replace(site=SITE._replace(function=name))
        assert covers(allow(kind="ini", function=function), seen) is expected


class TestUnused:
    def test_a_permission_that_let_nothing_through(self) -> None:
        used, idle = allow("TRU251"), allow("TRU310")
        verdict = judge([SLEEP], [used, idle], Policy())
        (one,) = unused(verdict.permissions, verdict.allowed, full_run=True)
        assert (one.rule.code, one.level) == ("TRU901", "warning")
        assert one.observation.target == '@pytest.mark.allow_blocking("TRU310")'
        assert (one.observation.site.path, one.observation.site.line) == ("t.py", 3)
        assert one.observation.detail == "its reason: why"
        assert unused(verdict.permissions, verdict.allowed, full_run=False) == ()

    def test_is_an_error_when_strict(self) -> None:
        (one,) = unused([allow("TRU310")], {}, True, strict=True)
        assert one.level == "error"
        assert with_violations(Verdict(), [one]).violations == (one,)

    def test_is_not_said_for_rules_that_are_not_in_force(self) -> None:
        permissions = [allow("TRU310"), allow("fake-async-dns", "TRU37")]
        assert unused(permissions, {}, True, policy=Policy(select(["TRU2", "TRU9"]))) == ()
        assert unused([allow("time.sleep")], {}, True, policy=Policy(select(["TRU2", "TRU9"])))
        assert (
            unused([allow("TRU310")], {}, True, policy=Policy(select(["TRU"]) - {"TRU901"})) == ()
        )

    def test_a_permission_without_a_reason(self) -> None:
        bare = allow(reason="")
        (one,) = unused([bare, bare], {bare.key: 1}, False)
        assert (one.rule.code, one.level) == ("TRU902", "warning")
        (one,) = unused([bare], {bare.key: 1}, full_run=True, require_reason=True)
        assert (one.rule.code, one.level) == ("TRU902", "error")
        assert unused([bare], {}, False, policy=Policy(select(["TRU2"]))) == ()

    def test_where_it_stands(self) -> None:
        test = Permission("marker", (), "why", "tests/t.py::test_a")
        line = Permission("ini", ("open",), "why", "truasync_allow line 2", "app", "load")
        known = line._replace(what=("TRU2",), site=CallSite("pytest.ini", 0))
        sites = [one.observation.site.path for one in unused([test, line, known], {}, True)]
        assert sites == ["pytest.ini", "tests/t.py", "truasync_allow line 2"]

    def test_titles(self) -> None:
        assert title_of(allow()) == "@pytest.mark.allow_blocking"
        assert title_of(allow("TRU2", "open", kind="with")) == 'with allow("TRU2", "open")'
        line = allow("TRU2", kind="ini", glob="app", function="load")
        assert title_of(line) == "TRU2 in app::load (t.py:3)"
        assert title_of(allow(kind="ini")) == "* in ** (t.py:3)"

    def test_what_a_permission_speaks_of(self) -> None:
        assert speaks_of(allow("TRU28")) == {"TRU280", "TRU281"}
        assert speaks_of(allow()) == select(["TRU2", "TRU3", "TRU4"])
        assert speaks_of(allow("TRU28", "time.sleep")) == speaks_of(allow())


def test_the_reason_of_a_permission_given_twice_is_kept() -> None:
    with_reason, without = allow("TRU2"), allow("TRU2", reason="")
    for order in ([with_reason, without], [without, with_reason]):
        assert judge([], order, Policy()).permissions == (with_reason,)


sites = st.builds(
    CallSite,
    path=st.sampled_from(["a.py", "b.py"]),
    line=st.integers(1, 2),
    function=st.sampled_from(["", "f"]),
    package=st.sampled_from([None, "p"]),
)
observations = st.builds(
    Observation,
    code=st.sampled_from(["TRU251", "TRU302", "TRU303", "TRU310", "TRU903"]),
    target=st.sampled_from(["time.sleep", "requests.get"]),
    primitive=st.sampled_from(["time.sleep", "open"]),
    site=sites,
    inner=st.none() | sites,
    chain=st.lists(sites, max_size=1).map(tuple),
    count=st.integers(1, 3),
    total_ns=st.integers(0, 5),
    longest_ns=st.integers(0, 5),
    test=st.sampled_from(["", "t1", "t2"]),
    when=st.sampled_from(["setup", "call"]),
)
permissions = st.builds(
    Permission,
    kind=st.just("marker"),
    what=st.sampled_from([("TRU3",), ("time.sleep",), ("open",)]),
    reason=st.sampled_from(["", "x"]),
    origin=st.sampled_from(["t1", "t2"]),
)
pools = st.builds(
    PoolUse,
    key=st.sampled_from(["p", "q"]),
    name=st.sampled_from(["n", "m"]),
    capacity=st.integers(0, 3),
    calls=st.integers(0, 3),
    site=st.none() | sites,
)
verdicts = st.builds(
    judge,
    st.lists(observations, max_size=6),
    st.lists(permissions, max_size=2),
    st.just(Policy()),
    st.lists(pools, max_size=2),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(verdicts, max_size=4), st.data())
def test_verdicts_merge_in_any_order(several: Sequence[Verdict], data: st.DataObject) -> None:
    whole = merge(several)
    assert merge(data.draw(st.permutations(several))) == whole
    assert merge([merge(several[:2]), merge(several[2:])]) == whole
    assert merge([whole]) == whole


@settings(max_examples=60, deadline=None)
@given(st.lists(observations, max_size=6), st.data())
def test_judging_takes_observations_in_any_order(
    seen: Sequence[Observation], data: st.DataObject
) -> None:
    assert judge(seen, [], Policy()) == judge(data.draw(st.permutations(seen)), [], Policy())


@settings(max_examples=60, deadline=None)
@given(verdicts)
def test_a_verdict_travels_as_json(verdict: Verdict) -> None:
    assert verdict_from_json(json.loads(json.dumps(verdict_to_json(verdict)))) == verdict
