from __future__ import annotations

import itertools
import json

import pytest

from pytest_truasync._model import (
    CallSite,
    Observation,
    Permission,
    PoolUse,
    Violation,
    merge_observations,
    observation_from_json,
    observation_to_json,
    permission_from_json,
    pool_from_json,
    sited_to_json,
)
from pytest_truasync._options import FORMAT_NAMES
from pytest_truasync._report import FORMATS
from pytest_truasync._rules import RULES

SITE = CallSite("app/feed.py", 42, "load_feed", "time.sleep(1)")
LIBRARY = CallSite("/lib/jinja2/loaders.py", 7, package="jinja2")
SEEN = Observation("TRU251", "time.sleep", "time.sleep", SITE, test="t.py::test_a")


def travel(data: object) -> object:
    return json.loads(json.dumps(data))


@pytest.mark.parametrize(
    "seen",
    [
        SEEN,
        SEEN._replace(inner=LIBRARY, via="asyncio.to_thread", chain=(SITE, LIBRARY), pool="p"),
        SEEN._replace(when="teardown", permission="with a:1", detail="x", count=3, total_ns=5),
    ],
)
def test_an_observation_travels(seen: Observation) -> None:
    data = travel(observation_to_json(seen))
    assert isinstance(data, dict)
    assert observation_from_json(data) == seen


@pytest.mark.parametrize("site", [None, SITE])
def test_a_permission_and_a_pool_travel(site: CallSite | None) -> None:
    permission = Permission("ini", ("TRU2", "open"), "why", "line 1", "app/*", "load", site)
    pool = PoolUse("p", "pool", 3, 100, 3, 97, 5, 50, site)
    first, second = travel(sited_to_json(permission)), travel(sited_to_json(pool))
    assert isinstance(first, dict)
    assert isinstance(second, dict)
    assert permission_from_json(first) == permission
    assert pool_from_json(second) == pool


def test_names_of_things() -> None:
    assert str(SITE) == "app/feed.py:42"
    assert SEEN.key == ("TRU251", "app/feed.py", 42, "time.sleep", "")
    inner = SITE._replace(path="app/jobs.py", line=7, function="run")
    assert SEEN._replace(inner=inner).key[-1] == "app/jobs.py::run"
    assert Violation(RULES["TRU251"], "error", SEEN).sort_key[:3] == ("app/feed.py", 42, "TRU251")
    assert Permission("marker", (), "", "t.py::a").key == "marker t.py::a"
    assert Permission("marker", ("TRU2", "open"), "", "t.py").key == "marker t.py TRU2 open"


def test_a_group_is_merged_in_any_order() -> None:
    group = [
        SEEN._replace(test="b", longest_ns=9, total_ns=9, primitive="select.select"),
        SEEN._replace(test="a", longest_ns=2, total_ns=4, count=2, inner=LIBRARY),
        SEEN._replace(test="a", longest_ns=3, total_ns=3, inner=SITE, chain=(LIBRARY,)),
        SEEN._replace(test="", longest_ns=1, total_ns=1),
    ]
    results = [merge_observations(order) for order in itertools.permutations(group)]
    merged, tests = results[0]
    assert all(result == results[0] for result in results)
    assert (merged.count, merged.total_ns, merged.longest_ns) == (5, 17, 9)
    assert tests == ("a", "b")


def test_the_evidence_of_a_group_does_not_depend_on_times() -> None:
    one, other = SEEN._replace(primitive="a"), SEEN._replace(primitive="b")
    for longest in (1, 3):
        merged, _ = merge_observations(
            [one._replace(longest_ns=2), other._replace(longest_ns=longest)]
        )
        assert merged.primitive == "a"


def test_a_pool_is_merged_in_any_order() -> None:
    uses = [
        PoolUse("p", "pool", 3, 10, 3, 7, 5, 20, None),
        PoolUse("p", "pool b", 4, 1, 1, 0, 9, 9, LIBRARY),
        PoolUse("p", "pool a", 3, 1, 1, 0, 0, 0, SITE),
    ]
    merged = [a.merge(b).merge(c) for a, b, c in itertools.permutations(uses)]
    assert all(one == merged[0] for one in merged)
    assert merged[0] == PoolUse("p", "pool", 4, 12, 3, 7, 9, 29, LIBRARY)
    assert uses[0].merge(uses[0]).site is None


def test_every_format_has_a_renderer() -> None:
    assert tuple(FORMATS) == FORMAT_NAMES
