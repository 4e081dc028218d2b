"""From a stack to the user's line and to the name by which a user knows the call."""

from __future__ import annotations

import asyncio
import functools
import json
import pathlib
import sys
import sysconfig
import threading
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from pytest_truasync._detect.callsite import WORKER_FRAME, FrameReader, Stack, code_of, name_of
from pytest_truasync._detect.files import OURS, FileSorter, Role
from pytest_truasync._detect.recorder import Recorder
from pytest_truasync._model import CallSite, Observation

ROOT = "/home/me/project"
SITE = sysconfig.get_paths()["purelib"]
LIB = sysconfig.get_paths()["stdlib"]

USER = (f"{ROOT}/app/feed.py", "load")
LIBRARY = (f"{SITE}/requests/api.py", "get")
DEEPER = (f"{SITE}/urllib3/connection.py", "connect")
STDLIB = (f"{LIB}/socket.py", "create_connection")
PLUMBING = (f"{LIB}/contextlib.py", "__enter__")
HARNESS = (f"{SITE}/_pytest/runner.py", "call")
LOOP = (f"{LIB}/asyncio/base_events.py", "_run_once")
LOOP_OWN = (f"{LIB}/asyncio/base_events.py", "create_connection")
IMPORT = ("<frozen importlib._bootstrap>", "_find_and_load")
LAZY = (f"{LIB}/mimetypes.py", "init")
BRIDGE = (f"{SITE}/anyio/from_thread.py", "run")
WORKER = (f"{OURS}/_detect/executors.py", WORKER_FRAME)
THREAD = (threading.__file__, "run")


@pytest.fixture
def reader() -> FrameReader:
    return FrameReader(FileSorter(Path(ROOT), ["mine"]))


def frames(*layers: tuple[str, str]) -> list[FrameType]:
    """Return frames of functions that called one another, outermost first."""
    found: list[FrameType] = []

    def innermost() -> None:
        frame: FrameType | None = sys._getframe(1)
        for _ in layers:
            assert frame is not None
            found.insert(0, frame)
            frame = frame.f_back

    step: Callable[[], None] = innermost
    for filename, name in reversed(layers):
        names: dict[str, Any] = {"step": step, "__name__": "m"}
        exec(compile(f"def {name}():\n    step()", filename, "exec"), names)
        step = names[name]
    step()
    return found


def read(reader: FrameReader, *layers: tuple[str, str]) -> tuple[Stack, list[FrameType]]:
    stack = frames(*layers)
    return reader.read(stack[-1]), stack


class TestStack:
    def test_the_users_own_call(self, reader: FrameReader) -> None:
        found, (_, user) = read(reader, LOOP, USER)
        assert found.user is user
        assert found.between == []
        assert found.nearest is Role.USER

    def test_a_call_through_libraries(self, reader: FrameReader) -> None:
        found, (_, user, get, connect, create) = read(reader, LOOP, USER, LIBRARY, DEEPER, STDLIB)
        assert found.user is user
        assert found.between == [create, connect, get]
        assert found.library == 1
        assert found.nearest is Role.LIBRARY

    def test_the_standard_library_is_judged_by_who_calls_it(self, reader: FrameReader) -> None:
        found, _ = read(reader, LOOP, USER, STDLIB)
        assert found.nearest is Role.USER
        found, _ = read(reader, LOOP, HARNESS, STDLIB)
        assert found.nearest is Role.QUIET

    def test_plumbing_names_nothing(self, reader: FrameReader) -> None:
        found, (_, user, _, create) = read(reader, LOOP, USER, PLUMBING, STDLIB)
        assert found.user is user
        assert found.between == [create]

    def test_what_is_above_the_callback_is_not_looked_at(self, reader: FrameReader) -> None:
        found, (_, _, get) = read(reader, USER, LOOP, LIBRARY)
        assert found.user is None
        assert found.between == [get]

    def test_a_callback_that_is_the_call_itself(self, reader: FrameReader) -> None:
        found, _ = read(reader, USER, LOOP)
        assert (found.user, found.between, found.nearest) == (None, [], Role.LOOP)

    def test_the_loops_own_functions(self, reader: FrameReader) -> None:
        found, (_, user, _) = read(reader, LOOP, USER, LOOP_OWN)
        assert found.nearest is Role.LOOP
        assert found.user is user

    def test_an_import_and_a_lazy_load(self, reader: FrameReader) -> None:
        assert read(reader, LOOP, USER, IMPORT)[0].importing
        assert read(reader, LOOP, USER, LAZY)[0].lazy
        assert not read(reader, LOOP, USER, STDLIB)[0].lazy

    def test_a_worker_and_its_way_back(self, reader: FrameReader) -> None:
        found, _ = read(reader, USER, THREAD, WORKER, BRIDGE)
        assert found.in_worker
        assert found.bridge
        assert found.user is None

    def test_the_users_line_in_a_worker(self, reader: FrameReader) -> None:
        found, (_, _, _, user, _) = read(reader, USER, THREAD, WORKER, USER, LIBRARY)
        assert found.user is user
        assert not found.in_worker

    def test_the_entry_of_a_thread_is_no_part_of_its_work(self, reader: FrameReader) -> None:
        found, (_, _, create) = read(reader, WORKER, THREAD, STDLIB)
        assert found.between == [create]

    def test_a_deep_recursion_ends(self, reader: FrameReader) -> None:
        found, _ = read(reader, USER, *[STDLIB] * 500)
        assert found.user is None

    def test_the_users_frame(self, reader: FrameReader) -> None:
        stack = frames(USER, LOOP, USER, LIBRARY)
        assert reader.user_frame(stack[-1]) is stack[2]
        assert reader.user_frame(stack[1]) is None
        assert reader.user_frame(stack[0]) is stack[0]


class TestSites:
    def test_a_line_of_the_users(self, reader: FrameReader) -> None:
        (frame,) = frames(USER)
        assert reader.site(frame) == CallSite("app/feed.py", 2, "load")
        assert reader.site(frame, 7).line == 7

    def test_a_line_of_a_library_names_the_package(self, reader: FrameReader) -> None:
        (frame,) = frames(LIBRARY)
        assert reader.site(frame).package == "requests"

    def test_a_line_at_an_instruction(self, reader: FrameReader) -> None:
        (frame,) = frames(USER)
        assert reader.site_at(frame.f_code, frame.f_lasti).line == 2
        assert reader.site_at(frame.f_code, 10**6).line == 1

    def test_a_function_of_the_users_and_another(self, reader: FrameReader) -> None:
        (mine,), (theirs,) = frames(USER), frames(LIBRARY)
        site = reader.site_of(types.FunctionType(mine.f_code, {}))
        assert site == CallSite("app/feed.py", 1, "load")
        assert reader.site_of(types.FunctionType(theirs.f_code, {})) is None
        assert reader.site_of(len) is None

    def test_the_text_of_a_line_is_read_later(self, tmp_path: Path) -> None:
        reader = FrameReader(FileSorter(tmp_path))
        (tmp_path / "app.py").write_text("def load():\n    step()  # here\n", "utf-8")
        (frame,) = frames((str(tmp_path / "app.py"), "load"))
        site = reader.site(frame)
        assert site.source == ""
        seen = Observation("TRU251", "a", "b", site, inner=site, chain=(site, CallSite("x", 1)))
        recorder = Recorder()
        recorder.add(seen)
        (told,) = recorder.drain("test", "call", reader.with_source)
        assert told.site.source == "step()  # here"
        assert told.inner is not None
        assert told.inner.source == "step()  # here"
        assert [one.source for one in told.chain] == ["step()  # here", ""]


class TestChain:
    def test_the_harness_the_loop_and_the_interpreter_are_left_out(
        self, reader: FrameReader
    ) -> None:
        stack = frames(USER, LOOP, HARNESS, USER, STDLIB, LIBRARY, USER)
        paths = [site.path for site in reader.chain(stack[-1])]
        assert paths == ["app/feed.py", LIBRARY[0], "app/feed.py"]

    def test_of_a_long_one_the_middle_is_left_out(self, reader: FrameReader) -> None:
        names = [(f"{ROOT}/app.py", f"f{number}") for number in range(40)]
        functions = [site.function for site in reader.chain(frames(LOOP, *names)[-1])]
        assert functions == [f"f{n}" for n in (*range(8), *range(32, 40))]

    def test_coroutines_that_a_task_awaits_are_on_it(self, tmp_path: Path) -> None:
        reader = FrameReader(FileSorter(Path(__file__).parent))

        async def inner() -> tuple[CallSite, ...]:
            return reader.chain(sys._getframe())

        async def outer() -> tuple[CallSite, ...]:
            return await inner()

        async def main() -> tuple[CallSite, ...]:
            return await asyncio.create_task(outer())

        names = [site.function.rpartition(".")[2] for site in asyncio.run(main())]
        assert names == ["outer", "inner"]


class Sample:
    def __init__(self) -> None:
        self.frame = sys._getframe()

    def __call__(self) -> FrameType:
        return sys._getframe()

    def method(self) -> FrameType:
        return sys._getframe()


class TestPublicNames:
    @pytest.fixture
    def package(self, monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
        """A package whose function stands in a private module of it."""
        package, inner = types.ModuleType("shop"), types.ModuleType("shop._api.calls")
        exec("import sys\ndef get():\n    return sys._getframe()", vars(inner))
        exec("def hidden():\n    return sys._getframe()", vars(inner))
        package.get = inner.get  # type: ignore[attr-defined]
        package.hidden = len  # type: ignore[attr-defined]
        for name, module in (("shop", package), ("shop._api.calls", inner)):
            monkeypatch.setitem(sys.modules, name, module)
        return inner

    def test_the_shortest_package_that_offers_the_function(
        self, reader: FrameReader, package: Any
    ) -> None:
        assert reader.public_name(package.get()) == "shop.get"

    def test_the_module_where_no_package_offers_it(self, reader: FrameReader, package: Any) -> None:
        assert reader.public_name(package.hidden()) == "shop._api.calls.hidden"

    def test_methods_and_classes(self, reader: FrameReader) -> None:
        module = __name__
        assert reader.public_name(Sample().method()) == f"{module}.Sample.method"
        assert reader.public_name(Sample().frame) == f"{module}.Sample"
        assert reader.public_name(Sample()()) == f"{module}.Sample"

    def test_a_function_inside_a_function(self, reader: FrameReader) -> None:
        def inside() -> FrameType:
            return sys._getframe()

        name = reader.public_name(inside())
        assert name.endswith("test_a_function_inside_a_function.inside")
        assert "<locals>" not in name

    @pytest.mark.parametrize(
        ("module", "shown"),
        [("posixpath", "os.path.f"), ("genericpath", "os.path.f"), ("pathlib._local", "pathlib.f")],
    )
    def test_private_modules_have_public_names(
        self, reader: FrameReader, module: str, shown: str
    ) -> None:
        names: dict[str, Any] = {"__name__": module, "sys": sys}
        exec(f"def f():\n    return sys._getframe()\n# {module}", names)
        reader = FrameReader(reader.sorter)
        assert reader.public_name(names["f"]()) == shown

    def test_what_a_function_hands_out_to_iterate_is_its_own_work(
        self, reader: FrameReader
    ) -> None:
        def rows() -> Iterator[FrameType]:
            def generate() -> Iterator[FrameType]:
                yield sys._getframe()

            return generate()

        name = reader.public_name(next(rows()))
        assert name.endswith("test_what_a_function_hands_out_to_iterate_is_its_own_work")

    def test_code_without_a_module(self, reader: FrameReader) -> None:
        names: dict[str, Any] = {"sys": sys, "__name__": None}
        exec("def f():\n    return sys._getframe()", names)
        assert reader.public_name(names["f"]()) == "f"


def add(a: int, b: int) -> int:
    return a + b


class TestCallables:
    def test_the_code_of_each_kind(self) -> None:
        assert code_of(add) is add.__code__
        assert code_of(functools.partial(functools.partial(add, 1), 2)) is add.__code__
        assert code_of(Sample().method) is Sample.method.__code__
        assert code_of(Sample()) is Sample.__call__.__code__
        assert code_of(functools.lru_cache(add)) is add.__code__
        assert code_of(len) is None
        assert code_of(json.JSONEncoder) is None

    @pytest.mark.parametrize(
        ("function", "shown"),
        [
            (json.dumps, "json.dumps"),
            (functools.partial(json.dumps, {}), "json.dumps"),
            (len, "len"),
            (pathlib.Path.read_text, "Path.read_text"),
            ([].append, "list.append"),
        ],
    )
    def test_names(self, function: Callable[..., Any], shown: str) -> None:
        assert name_of(function).endswith(shown)

    def test_a_partial_of_itself_ends(self) -> None:
        class Odd:
            @property
            def func(self) -> Odd:
                return self

            def __call__(self) -> None:
                """Do nothing."""

        assert name_of(Odd()).endswith("Odd")
        code_of(Odd())
