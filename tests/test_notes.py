"""Notes are counted as they come, and judged once: the same comes out as test by test."""

from __future__ import annotations

import pytest

from pytest_truasync import _notes
from pytest_truasync._detect.recorder import Note
from pytest_truasync._model import CallSite, Observation, PoolUse
from pytest_truasync._notes import Held, NoteBook, observation
from pytest_truasync._verdict import Policy, judge, merge

LINES = [CallSite("app.py", line, "load") for line in range(3)]


def note(line: int, via: str = "asyncio.to_thread") -> Note:
    return Note(Observation("TRU302", "int", "int", LINES[line], via=via))


def book(policy: Policy = Policy()) -> NoteBook:  # noqa: B008 - it cannot be changed
    return NoteBook(policy, lambda site: site._replace(source="x"))


@pytest.mark.parametrize("most", [1, 1_000])
def test_the_same_as_test_by_test(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    monkeypatch.setattr(_notes, "_MOST_TALLIES", most)
    first, second, other_way = note(0), note(1), note(0, "loop.run_in_executor")
    tests: dict[str, Held] = {
        "t.py::b": [("setup", [(first, 1, 5, 5)]), ("call", [(first, 2, 9, 8), (second, 1, 1, 1)])],
        "t.py::a": [("teardown", [(other_way, 1, 3, 3)]), ("call", [(first, 1, 2, 2)])],
        "t.py::c": [("call", [])],
    }
    ours = book()
    verdicts = []
    for test, held in tests.items():
        ours.keep(held, test)
        seen = [
            observation(one, test, when, lambda site: site._replace(source="x"))
            for when, some in held
            for one in some
        ]
        verdicts.append(judge(seen, (), Policy()))
    assert ours.judge() == merge(verdicts).notes
    assert ours.judge()[0].tests == ("t.py::a", "t.py::b")


def test_a_rule_that_is_off_says_nothing() -> None:
    ours = book(Policy(frozenset({"TRU251"})))
    ours.keep([("call", [(note(0), 1, 1, 1)])], "t.py::a")
    assert ours.judge() == ()


def test_pools_of_all_tests_are_one() -> None:
    ours = book()
    for calls in (1, 2):
        ours.keep_pools([PoolUse("a", "a", 3, calls=calls), PoolUse("b", "b", 0, calls=5)])
    assert [(use.key, use.calls) for use in ours.pools] == [("a", 3), ("b", 10)]
