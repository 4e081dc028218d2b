"""What the probes saw is grouped and bounded; threads are put on watch and taken off again."""

from __future__ import annotations

import threading
import tracemalloc
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_truasync._detect.recorder import (
    MOST_GROUPS,
    Call,
    Note,
    Recorder,
    ThreadWatch,
    Watch,
    merge_notes,
)
from pytest_truasync._model import CallSite, Observation

HERE = CallSite("app.py", 3, "load")


def call(line: int = 3, **more: Any) -> Call:
    fields: dict[str, Any] = {
        "code": "TRU251",
        "target": "time.sleep",
        "site": CallSite("app.py", line, "load"),
        "permission": "",
        "entry": None,
        "steady": True,
        "place": (1, 2),
        "rank": 9,
        "started_ns": 100,
    }
    made = Call(**{name: more.pop(name, given) for name, given in fields.items()})
    made.chain = (HERE,)
    for name, given in more.items():
        setattr(made, name, given)
    return made


def observation(**more: Any) -> Observation:
    return Observation("TRU310", "requests.get", "socket.socket.connect", HERE, **more)


class TestCall:
    def test_a_steady_call_lasts_from_its_first_wait_to_its_last(self) -> None:
        one = call(started_ns=100)
        one.add("time.sleep", 110, 120)
        one.add("time.sleep", 150, 180)
        assert (one.total_ns, one.waited_ns) == (80, 40)

    def test_one_that_may_be_suspended_lasts_as_long_as_its_waits(self) -> None:
        one = call(started_ns=100, steady=False)
        one.add("time.sleep", 110, 120)
        one.add("time.sleep", 1150, 1180)
        assert (one.total_ns, one.waited_ns) == (40, 40)

    def test_it_runs_until_a_wait_has_ended(self) -> None:
        one = call()
        assert one.running
        one.add("time.sleep", 1, 2)
        assert not one.running


class TestRecorder:
    def test_calls_alike_are_one_group(self) -> None:
        recorder = Recorder()
        for total in (5, 30, 10):
            recorder.fold(call(total_ns=total))
        recorder.fold(call(line=4))
        first, second = recorder.drain("test_a", "call")
        assert (first.count, first.total_ns, first.longest_ns) == (3, 45, 30)
        assert (first.test, first.when, first.chain) == ("test_a", "call", (HERE,))
        assert second.site.line == 4

    def test_a_permission_makes_a_group_of_its_own(self) -> None:
        recorder = Recorder()
        recorder.fold(call())
        recorder.fold(call(permission="with app.py:2"))
        assert [one.permission for one in recorder.drain("", "call")] == ["", "with app.py:2"]

    def test_observations_alike_are_one(self) -> None:
        recorder = Recorder()
        recorder.add(observation(total_ns=5, longest_ns=5, via="b"))
        recorder.add(observation(total_ns=9, longest_ns=9, via="a"))
        (one,) = recorder.drain("t", "setup")
        assert (one.count, one.total_ns, one.longest_ns) == (2, 14, 9)
        assert (one.test, one.when) == ("t", "setup")

    def test_which_of_them_speaks_depends_on_no_time(self) -> None:
        slow, fast = observation(longest_ns=9, via="b"), observation(longest_ns=1, via="a")
        spoken: set[str] = set()
        for order in ((slow, fast), (fast, slow)):
            recorder = Recorder()
            for one in order:
                recorder.add(one)
            spoken.update(seen.via for seen in recorder.drain("", "call"))
        assert spoken == {"a"}

    def test_it_is_empty_after_it_was_drained(self) -> None:
        recorder = Recorder()
        recorder.fold(call())
        recorder.add(observation())
        assert len(list(recorder.drain("", "call"))) == 2
        assert not list(recorder.drain("", "call"))

    def test_100_000_calls_of_one_line_take_the_room_of_one(self) -> None:
        recorder = Recorder()
        recorder.fold(call())
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            for _ in range(100_000):
                recorder.fold(call(total_ns=1))
            after, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert len(recorder.groups) == 1
        assert after - before < 10_000
        (one,) = recorder.drain("", "call")
        assert one.count == 100_001

    def test_notes_take_the_room_of_those_that_differ(self) -> None:
        recorder = Recorder()
        often, other = Note(observation()), Note(observation())
        tracemalloc.start()
        try:
            for _ in range(100_000):
                recorder.note(often, 2)
            recorder.note(other, 5)
            taken, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert taken < 3_000_000
        assert merge_notes(recorder.notes()) == [(often, 100_000, 200_000, 2), (other, 1, 5, 5)]
        assert not recorder.notes()
        assert not recorder.noted

    def test_notes_that_all_differ_are_bounded_and_the_rest_is_counted(self) -> None:
        recorder = Recorder()
        for _ in range(2 * MOST_GROUPS):
            recorder.note(Note(observation()), 1)
        assert len(recorder.notes()) == recorder.dropped == MOST_GROUPS

    def test_100_000_lines_are_bounded_and_the_rest_is_counted(self) -> None:
        recorder = Recorder()
        for line in range(100_000):
            recorder.fold(call(line))
        for line in range(100_000):
            recorder.add(Observation("TRU310", "a", "b", CallSite("app.py", line)))
        assert len(recorder.groups) == len(recorder.ready) == MOST_GROUPS
        assert recorder.dropped == 2 * (100_000 - MOST_GROUPS)


class TestWatch:
    def test_a_thread_is_watched_for_the_last_thing_begun(self) -> None:
        recorder = Recorder()
        watch = Watch(recorder)
        outer, inner = ThreadWatch(recorder), ThreadWatch(recorder)
        me = threading.get_ident()
        watch.push(outer)
        watch.push(inner)
        assert watch.threads == {me: inner}
        watch.pop(inner)
        assert watch.threads == {me: outer}
        watch.pop(outer)
        assert watch.threads == {}

    def test_ending_the_outer_one_ends_all(self) -> None:
        recorder = Recorder()
        watch = Watch(recorder)
        outer, inner = ThreadWatch(recorder), ThreadWatch(recorder)
        watch.push(outer)
        watch.push(inner)
        inner.call = call()
        watch.pop(outer)
        assert watch.threads == {}
        assert len(recorder.groups) == 1

    def test_an_open_call_is_handed_over_when_something_else_begins(self) -> None:
        recorder = Recorder()
        watch = Watch(recorder)
        outer = ThreadWatch(recorder)
        watch.push(outer)
        outer.call = call()
        watch.push(ThreadWatch(recorder))
        assert len(recorder.groups) == 1
        outer.finish()
        assert len(recorder.groups) == 1

    def test_a_brief_call_is_none(self) -> None:
        recorder = Recorder()
        on = ThreadWatch(recorder)
        on.call = call(brief=True)
        on.finish()
        assert not recorder.groups

    def test_settle_hands_over_what_is_open_in_all_threads(self) -> None:
        recorder = Recorder()
        watch = Watch(recorder)
        outer, inner = ThreadWatch(recorder), ThreadWatch(recorder)
        watch.push(outer)
        watch.push(inner)
        outer.call, inner.call = call(1), call(2)
        watch.settle()
        assert len(recorder.groups) == 2

    @pytest.mark.parametrize("where", ["outer", "inner"])
    def test_what_there_is_to_settle(self, where: str) -> None:
        """A server that waits for a request has nothing; asked after each phase of a test."""
        recorder = Recorder()
        watch = Watch(recorder)
        on = {"outer": ThreadWatch(recorder), "inner": ThreadWatch(recorder)}
        for one in on.values():
            one.subject = SimpleNamespace(stay=None)
            watch.push(one)
        assert not watch.any_open()
        on[where].call = call()
        assert watch.any_open()
        watch.settle()
        assert not watch.any_open()
        on[where].subject.stay = object()
        assert watch.any_open()
        on[where].subject = None
        assert not watch.any_open()
        on[where].work = object()
        assert watch.any_open()

    def test_once_closed_it_watches_no_more(self) -> None:
        recorder = Recorder()
        watch = Watch(recorder)
        on = ThreadWatch(recorder)
        watch.push(on)
        watch.close()
        assert watch.threads == {}
        watch.pop(on)
        watch.push(on)
        watch.pop(on)
        assert watch.threads == {}
