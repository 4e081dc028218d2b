"""Runs of a function are told apart, and nothing of them is kept."""

from __future__ import annotations

import sqlite3
import sys
import warnings
import weakref
from types import FrameType, SimpleNamespace
from typing import Any
from unittest import mock

import pytest

from pytest_truasync._detect.files import OURS
from pytest_truasync._detect.marks import Mark, mark_of
from pytest_truasync._detect.standins import stand_in, without_us


class Thing:
    """Something that a weak reference can point to."""


def here() -> FrameType:
    return sys._getframe(1)


def mark_caller() -> tuple[int, object]:
    frame = sys._getframe(1)
    return id(frame), mark_of(frame)


class TestMarks:
    def test_one_run_has_one_mark(self) -> None:
        frame = here()
        assert mark_of(frame) is mark_of(frame)

    def test_the_next_run_has_another_though_its_frame_has_the_same_number(self) -> None:
        def run() -> tuple[int, object]:
            return mark_caller()

        runs = [run() for _ in range(20)]
        assert len({number for number, _ in runs}) < 20
        assert len({id(mark) for _, mark in runs}) == 20

    def test_what_the_function_held_is_let_go(self) -> None:
        def run() -> tuple[object, weakref.ref[Thing]]:
            thing = Thing()
            return mark_caller()[1], weakref.ref(thing)

        mark, thing = run()
        assert isinstance(mark, Mark)
        assert thing() is None

    def test_a_debugger_finds_the_frame_untraced(self) -> None:
        frame = here()
        mark_of(frame)
        trace: Any = frame.f_trace
        assert not trace
        assert trace(frame, "line", None) is None

    def test_a_frame_that_is_traced_is_left_alone(self) -> None:
        frame = here()

        def trace(*_: Any) -> None:
            return None

        frame.f_trace = trace
        try:
            assert mark_of(frame) == id(frame)
            assert frame.f_trace is trace
        finally:
            frame.f_trace = None


class TestStandIns:
    def test_a_warning_names_the_callers_line(self) -> None:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            frame, line = here(), here().f_lineno
            stand_in(frame)(warnings.warn, "careful")
        (one,) = caught
        assert (one.filename, one.lineno) == (__file__, line + 1)

    def test_filters_by_module_see_the_callers(self) -> None:
        names: dict[str, Any] = {"__name__": "app.feed", "f": here}
        exec(compile("def make():\n    return f()", "/app/feed.py", "exec"), names)
        run = stand_in(names["make"]())
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.filterwarnings("ignore", module=r"app\.feed")
            run(warnings.warn, "careful")
        assert "__warningregistry__" in names

    def test_arguments_results_and_exceptions_pass(self) -> None:
        run = stand_in(here())
        assert run(dict, [("a", 1)], b=2) == {"a": 1, "b": 2}
        with pytest.raises(ValueError, match="invalid literal"):
            run(int, "x")

    def test_an_exception_keeps_no_argument_alive(self) -> None:
        thing = Thing()
        gone = weakref.ref(thing)
        with pytest.raises(TypeError) as caught:
            stand_in(here())(int, thing)
        del thing
        assert gone() is None
        assert caught.value.__traceback__ is not None

    def test_a_callback_from_c_finds_the_callers_frame(self) -> None:
        database = sqlite3.connect(":memory:")
        database.create_function("caller", 0, lambda: sys._getframe(1).f_code.co_name)
        (found,) = stand_in(here())(database.execute, "select caller()").fetchone()
        assert found == "test_a_callback_from_c_finds_the_callers_frame"
        database.close()

    def test_the_frame_has_no_columns_that_would_mislead(self) -> None:
        positions, line = list(stand_in(here()).__code__.co_positions()), here().f_lineno
        assert {line for line, *_ in positions} == {line}
        assert {tuple(columns) for _, _, *columns in positions} == {(None, None)}


def test_debug_traces_lose_our_entries_alone() -> None:
    ours = SimpleNamespace(filename=f"{OURS}/_detect/loops.py")
    theirs = SimpleNamespace(filename="/app/feed.py")
    task = SimpleNamespace(_source_traceback=[theirs, ours, theirs])
    assert without_us(task) is task
    assert task._source_traceback == [theirs, theirs]
    assert without_us(3) == 3
    for odd in (mock.MagicMock(), mock.Mock(), SimpleNamespace(_source_traceback=(ours,))):
        assert without_us(odd) is odd
