"""Replacing and putting back: nothing is left, and what stands there meanwhile looks the part."""

from __future__ import annotations

import _io
import _socket
import _thread
import copy
import inspect
import math
import os
import pickle
import sqlite3
import sys
import time
import types
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_truasync._detect import patches
from pytest_truasync._detect.patches import PatchStack, builtin_twin, can_patch_types, dress

LOCK = type(_thread.allocate_lock())
BUILTINS = [time.sleep, os.stat, os.listdir, os.read, _socket.getaddrinfo, _thread.start_new_thread]
METHODS = [
    (LOCK, "acquire"),
    (LOCK, "__enter__"),
    (_io.FileIO, "read"),
    (_socket.socket, "recv"),
    (sqlite3.Cursor, "execute"),
    (sqlite3.Cursor, "__next__"),
]


def through(*args: Any, **kwargs: Any) -> tuple[Any, ...]:
    return (*args, kwargs)


def forward(original: Callable[..., Any]) -> Callable[..., Any]:
    def method(*args: Any, **kwargs: Any) -> Any:
        return original(*args, **kwargs)

    return dress(original, method)


@pytest.fixture
def stack() -> Iterator[PatchStack]:
    with PatchStack() as opened:
        yield opened


class TestPatchStack:
    def test_puts_back_in_reverse_order(self) -> None:
        module = types.ModuleType("m")
        module.it = "original"  # type: ignore[attr-defined]
        with PatchStack() as stack:
            stack.replace(module, "it", "first")
            stack.replace(module, "it", "second")
            assert module.it == "second"
        assert module.it == "original"

    def test_puts_back_after_an_exception(self) -> None:
        module = types.ModuleType("m")
        module.it = "original"  # type: ignore[attr-defined]
        with pytest.raises(LookupError), PatchStack() as stack:  # noqa: PT012 - both are needed
            stack.replace(module, "it", "new")
            raise LookupError
        assert module.it == "original"

    def test_a_misspelt_name_raises_and_writes_nothing(self, stack: PatchStack) -> None:
        module = types.ModuleType("m")
        with pytest.raises(AttributeError, match="nothing"):
            stack.replace(module, "nothing", 1)
        with pytest.raises(AttributeError, match="nothing"):
            stack.replace(LOCK, "nothing", 1)
        assert "nothing" not in vars(module)

    def test_what_was_inherited_is_inherited_again(self) -> None:
        class Base:
            def run(self) -> str:
                return "base"

        class Child(Base):
            pass

        with PatchStack() as stack:
            stack.replace(Child, "run", lambda self: "new")
            assert Child().run() == "new"
            assert Base().run() == "base"
        assert "run" not in vars(Child)
        assert Child().run() == "base"

    def test_descriptors_are_put_back_as_they_were(self) -> None:
        class Owner:
            @classmethod
            def make(cls) -> str:
                return cls.__name__

            @staticmethod
            def help() -> str:
                return "help"

        before = dict(vars(Owner))
        with PatchStack() as stack:
            stack.replace(Owner, "make", lambda: "new")
            stack.replace(Owner, "help", lambda: "new")
        assert all(vars(Owner)[name] is before[name] for name in ("make", "help"))

    def test_what_somebody_put_there_since_is_theirs(self) -> None:
        module = types.ModuleType("m")
        module.it = "original"  # type: ignore[attr-defined]
        with PatchStack() as stack:
            stack.replace(module, "it", "ours")
            module.it = "theirs"  # type: ignore[attr-defined]
        assert module.it == "theirs"

    @given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from("abc")), max_size=20))
    def test_any_replacements_leave_no_trace(self, steps: list[tuple[int, str]]) -> None:
        class Top:
            a = "top a"
            b = "top b"
            c = "top c"

        class Middle(Top):
            b = "middle b"

        class Bottom(Middle):
            c = "bottom c"

        owners = (Top, Middle, Bottom)
        before = [dict(vars(owner)) for owner in owners]
        with PatchStack() as stack:
            for place, (index, name) in enumerate(steps):
                stack.replace(owners[index], name, place)
                assert getattr(owners[index], name) == place
        assert [dict(vars(owner)) for owner in owners] == before


@pytest.mark.skipif(not can_patch_types(), reason="C types are immutable here")
class TestTypes:
    @pytest.mark.parametrize(("owner", "name"), METHODS)
    def test_a_method_of_a_c_type_is_replaced_and_put_back(self, owner: type, name: str) -> None:
        original = vars(owner)[name]
        flags = flags_of(owner)
        new = forward(original)
        with PatchStack() as stack:
            stack.replace(owner, name, new)
            assert vars(owner)[name] is new
            assert flags_of(owner) == flags
        assert vars(owner)[name] is original
        assert flags_of(owner) == flags

    def test_instances_that_exist_see_it_and_forget_it(self) -> None:
        lock = _thread.allocate_lock()
        seen = []

        def acquire(self: Any, *args: Any) -> bool:
            seen.append(args)
            return original(self, *args)

        original = LOCK.acquire
        with PatchStack() as stack:
            stack.replace(LOCK, "acquire", dress(original, acquire))
            assert lock.acquire(False)
        assert not lock.acquire(False)
        assert seen == [(False,)]

    def test_the_slot_of_next_is_restored(self) -> None:
        cursor = sqlite3.connect(":memory:").execute("values (1), (2), (3), (4)")
        original = vars(sqlite3.Cursor)["__next__"]
        seen = []

        def step(self: Any) -> Any:
            seen.append("step")
            return original(self)

        with PatchStack() as stack:
            stack.replace(sqlite3.Cursor, "__next__", step)
            assert next(cursor) == (1,)
            for row in cursor:
                assert row == (2,)
                break
        assert seen == ["step", "step"]
        assert list(cursor) == [(3,), (4,)]
        assert len(seen) == 2
        cursor.connection.close()

    def test_a_subclass_that_overrides_it_keeps_its_own(self) -> None:
        class Mine(_io.FileIO):
            def read(self, size: int | None = -1) -> bytes:
                return b"mine " + (super().read(size) or b"")

        original = _io.FileIO.read
        calls = []

        def read(self: Any, size: int | None = -1) -> Any:
            calls.append(type(self))
            return original(self, size)

        with PatchStack() as stack:
            stack.replace(_io.FileIO, "read", dress(original, read))
            with Mine(os.devnull) as file:
                assert file.read() == b"mine "
        assert calls == [Mine]

    def test_no_immutable_type_is_written_where_the_flag_is_unknown(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(patches, "_set_on_type", None)
        assert not can_patch_types()
        with PatchStack() as stack, pytest.raises(TypeError, match="immutable"):
            stack.replace(int, "bit_length", lambda self: 0)
        assert (5).bit_length() == 3


class TestDressed:
    """Methods of C types are replaced by functions that look as much like them as one can."""

    @pytest.mark.parametrize(("owner", "name"), METHODS)
    def test_names_text_and_signature_are_the_originals(self, owner: type, name: str) -> None:
        original = vars(owner)[name]
        new = forward(original)
        assert new.__name__ == original.__name__
        assert new.__qualname__ == original.__qualname__
        assert new.__doc__ == original.__doc__
        assert signature_of(new) == signature_of(original)

    @pytest.mark.parametrize(("owner", "name"), METHODS)
    def test_it_is_pickled_as_the_attribute_of_its_type(self, owner: type, name: str) -> None:
        new = forward(vars(owner)[name])
        with PatchStack() as stack:
            stack.replace(owner, name, new)
            if getattr(sys.modules[owner.__module__], owner.__name__, None) is owner:
                assert pickle.loads(pickle.dumps(new)) is new

    def test_wrong_arguments_get_the_originals_message(self, stack: PatchStack) -> None:
        lock = _thread.allocate_lock()
        plain = message_of(lock.acquire, 1, 2, 3)
        unbound = message_of(LOCK.acquire)
        stack.replace(LOCK, "acquire", forward(LOCK.acquire))
        assert message_of(lock.acquire, 1, 2, 3) == plain
        assert message_of(LOCK.acquire) == unbound


class TestTwins:
    @pytest.mark.parametrize("original", BUILTINS, ids=lambda f: f.__name__)
    def test_it_looks_like_the_builtin(self, original: Callable[..., Any]) -> None:
        twin = builtin_twin(original, through)
        assert type(twin) is type(original)
        assert inspect.isbuiltin(twin)
        assert repr(twin) == repr(original)
        for name in ("__name__", "__qualname__", "__module__", "__doc__", "__text_signature__"):
            assert getattr(twin, name) == getattr(original, name), name
        assert signature_of(twin) == signature_of(original)

    def test_a_class_that_holds_it_does_not_bind_it(self) -> None:
        class Client:
            wait = builtin_twin(time.sleep, through)

        assert Client().wait(1) == (1, {})

    def test_arguments_and_exceptions_pass(self) -> None:
        def fail(*args: Any, **kwargs: Any) -> None:
            raise ZeroDivisionError(args, kwargs)

        assert builtin_twin(os.stat, through)("p", follow_symlinks=False) == (
            "p",
            {"follow_symlinks": False},
        )
        with pytest.raises(ZeroDivisionError) as caught:
            builtin_twin(os.stat, fail)(1, b=2)
        assert caught.value.args == ((1,), {"b": 2})

    def test_it_is_pickled_and_copied_by_its_name(self, stack: PatchStack) -> None:
        twin = builtin_twin(time.sleep, through)
        stack.replace(time, "sleep", twin)
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            assert pickle.loads(pickle.dumps(twin, protocol)) is twin
        assert copy.deepcopy(twin) is twin

    def test_twins_of_one_builtin_are_their_own(self) -> None:
        first, second = (builtin_twin(time.sleep, through) for _ in range(2))
        assert first == first
        assert first != second
        assert first != time.sleep
        assert len({first, second, time.sleep}) == 3

    @given(st.lists(st.integers()), st.dictionaries(st.text(), st.integers()))
    def test_any_arguments_pass(self, args: list[int], kwargs: dict[str, int]) -> None:
        assert builtin_twin(time.sleep, through)(*args, **kwargs) == (*args, kwargs)

    def test_a_builtin_without_text_has_none(self) -> None:
        def bare() -> None:
            pass

        assert builtin_twin(bare, through).__doc__ is None

    def test_where_no_twin_can_be_made_a_function_stands(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(patches, "_twin_verdict", [False])
        assert builtin_twin(time.sleep, through)(1, b=2) == (1, {"b": 2})


def flags_of(owner: type) -> int:
    """Return the flags that do not come and go with the cache of attributes."""
    return owner.__flags__ & ~(1 << 19)


def signature_of(function: Callable[..., Any]) -> inspect.Signature | None:
    try:
        return inspect.signature(function)
    except ValueError:
        return None


def message_of(function: Callable[..., Any], *args: Any) -> str:
    with pytest.raises(TypeError) as caught:
        function(*args)
    return str(caught.value)


def test_a_twin_that_somebody_keeps_is_the_original_again() -> None:
    def through(*args: Any) -> str:
        return "ours"

    gone, twin = weakref.ref(through), builtin_twin(math.sqrt, through)
    with PatchStack() as patches:
        patches.replace(math, "sqrt", twin)
        del through
        assert twin(4) == "ours"
    assert math.sqrt is not twin
    assert twin(4) == 2
    assert gone() is None
