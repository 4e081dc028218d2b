"""What lives as long as the run is not visited by garbage collections; the user's objects are."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from lean import lean

from pytest_truasync._detect import native
from pytest_truasync._plain import for_good

pytest_plugins = ("pytester",)

pytestmark = pytest.mark.skipif(
    not hasattr(native._loaded, "set_apart"), reason="the part in C does not do so here"
)


class Pair(NamedTuple):
    one: Any
    two: Any = None


class Node:
    other: Any = None


def is_visited(thing: object) -> bool:
    return any(one is thing for one in gc.get_objects())


@pytest.fixture(autouse=True)
def gives_back() -> Iterator[None]:
    """Leave nothing behind; what the plugin itself has set apart comes back, too."""
    yield
    native.give_back()


class TestSetApart:
    @pytest.mark.parametrize(
        "make",
        [list, set, Node, lambda: {"key": []}, lambda: lambda: None, lambda: type("T", (), {})],
    )
    def test_it_is_not_visited_until_it_is_given_back(self, make: Any) -> None:
        thing = make()
        native.set_apart([thing])
        assert not is_visited(thing)
        assert gc.is_tracked(thing)
        native.give_back()
        assert is_visited(thing)

    def test_so_are_the_tuples_in_tuples_and_nothing_else(self) -> None:
        node = Node()
        inner = Pair(node)
        outer = Pair(Pair(inner), two=[inner])
        native.set_apart((outer,))
        assert not any(map(is_visited, (outer, outer.one, inner)))
        assert is_visited(node)
        assert is_visited(outer.two)

    def test_it_dies_as_ever(self) -> None:
        thing = Node()
        gone = weakref.ref(thing)
        native.set_apart((thing,))
        del thing
        assert gone() is None
        native.give_back()

    def test_what_it_refers_to_is_alive(self) -> None:
        holder, node = {"node": Node()}, Node()
        holder["node"].other = holder["node"]  # in a circle
        native.set_apart((holder,))
        alive = weakref.ref(holder["node"])
        gc.collect()
        assert alive() is not None
        node.other = node
        gone = weakref.ref(node)
        del node
        gc.collect()
        assert gone() is None

    def test_a_circle_is_collected_when_it_was_given_back(self) -> None:
        node = Node()
        node.other = node
        gone = weakref.ref(node)
        native.set_apart((node,))
        del node
        gc.collect()
        assert gone() is not None
        native.give_back()
        gc.collect()
        assert gone() is None

    def test_twice_is_once(self) -> None:
        thing, other = Node(), Node()
        for _ in range(2):
            native.set_apart((thing, other, thing))
        native.give_back()
        assert is_visited(thing)
        assert is_visited(other)

    def test_what_the_collector_does_not_know_stays_so(self) -> None:
        numbers = (1, 2)
        gc.collect()
        native.set_apart((1, "text", None, numbers, {}))
        native.give_back()
        assert not gc.is_tracked(numbers)

    def test_a_dict_that_fills_up_later_is_visited(self) -> None:
        kept: dict[str, Any] = {}
        native.set_apart((kept,))
        kept["node"] = Node()
        assert is_visited(kept)

    def test_a_circle_of_tuples_is_no_trouble(self) -> None:
        holder: list[Any] = []
        circle = (holder,)
        holder.append(circle)
        deep: tuple[Any, ...] = ()
        for _ in range(100_000):
            deep = (deep,)
        native.set_apart((circle, deep))
        assert not is_visited(circle)

    def test_in_many_threads_at_once(self) -> None:
        kept: list[Any] = []

        def make() -> None:
            for _ in range(500):
                node = Node()
                native.set_apart((node, Node()))  # one dies at once
                kept.append(node)

        threads = [threading.Thread(target=make) for _ in range(4)]
        for thread in threads:
            thread.start()
        for _ in range(20):
            gc.collect()
        for thread in threads:
            thread.join()
        numbers = set(map(id, kept))
        assert numbers.isdisjoint(map(id, gc.get_objects()))
        native.give_back()
        assert numbers.issubset(map(id, gc.get_objects()))

    def test_what_is_garbage_already_stays_with_its_collection(self) -> None:
        class Dying:
            def __init__(self) -> None:
                self.own: Any = (self, [])
                self.kept = Node()
                self.kept.other = self.own

            def __del__(self) -> None:
                native.set_apart((self, self.own, self.own[1], (self.own, 1), Node()))

        gone = []
        for _ in range(3):
            gone.append(weakref.ref(Dying().kept))
            for _ in range(3):
                gc.collect()
        assert [one() for one in gone] == [None] * 3

    def test_one_that_comes_to_life_again_is_an_object_as_others_are(self) -> None:
        alive: list[Any] = []

        class Undying:
            def __init__(self) -> None:
                self.own: Any = (self, [])

            def __del__(self) -> None:
                native.set_apart((self, self.own))
                alive.append(self)

        Undying()
        for _ in range(3):
            gc.collect()
        assert [type(one) for one in alive] == [Undying]
        assert all(map(is_visited, alive))

    @pytest.mark.parametrize("wrong", [None, 1, {}, "text", Pair(1)])
    def test_what_it_takes(self, wrong: Any) -> None:
        with pytest.raises(TypeError, match="set_apart"):
            native.set_apart(wrong)


class TestForGood:
    def test_what_is_made_meanwhile_is_set_apart_where_it_is_kept(self) -> None:
        before = Node()
        with for_good() as keep:
            node = Node()
            keep()
            after = Node()
        assert not is_visited(node)
        assert is_visited(before)
        assert is_visited(after)

    def test_else_it_is_not(self) -> None:
        with for_good():
            node = Node()
        assert is_visited(node)

    @pytest.mark.parametrize("on", [True, False])
    def test_collections_go_on_as_before(self, on: bool) -> None:
        was_on = gc.isenabled()
        try:
            (gc.enable if on else gc.disable)()
            with for_good():
                assert not gc.isenabled()
            assert gc.isenabled() is on
        finally:
            (gc.enable if was_on else gc.disable)()


STORY = """
import asyncio, gc, sys, time, types

def visited():
    return set(map(id, gc.get_objects()))

def others():
    return {
        id(one): f"{name}.{key}"
        for name, module in list(sys.modules.items())
        if isinstance(module, types.ModuleType)
        for key, one in list(vars(module).items())
        if isinstance(one, (types.FunctionType, type)) and gc.is_tracked(one)
        if not str(one.__module__).startswith("pytest_truasync")
        if "pytest_truasync" not in str(getattr(one, "__code__", None))
    }
"""


def test_all_of_ours_is_apart_and_nothing_of_others(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(
        STORY
        + """
def pytest_unconfigure():
    from pytest_truasync._detect import recorder

    seen = visited()
    print("BACK", id(recorder.Recorder) in seen, id(vars(recorder)) in seen)
"""
    )
    pytester.makepyfile(
        STORY
        + """
import pytest

async def offload(number):
    await asyncio.to_thread(time.sleep, 0.001)
    await asyncio.to_thread(sum, [number])
    time.sleep(0.001)

@pytest.mark.parametrize("number", range(3))
async def test_it(number):
    await offload(number)

def test_others():
    seen = visited()
    assert [name for number, name in others().items() if number not in seen] == []

def test_ours():
    from pytest_truasync._detect import recorder

    seen = visited()
    assert id(recorder.Recorder) not in seen
    assert id(vars(recorder)) not in seen
    assert id(recorder.Recorder.fold) not in seen

def test_what_was_found():
    from pytest_truasync import _model
    from pytest_truasync._detect import offloads

    kinds = {
        _model.CallSite, _model.Observation, _model.Violation, _model.Rule, offloads.Handover,
    }
    assert [one for one in gc.get_objects() if type(one) in kinds] == []
"""
    )
    result = pytester.runpytest_subprocess(
        *lean("pytest_asyncio"), "--truasync", "--truasync-mode=warn", "-s", timeout=120
    )
    result.assert_outcomes(passed=6)
    result.stdout.fnmatch_lines(["*BACK True True*"])
