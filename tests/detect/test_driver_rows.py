"""How rows of driver calls are applied, on modules made up here."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from services import need, run_story

from pytest_truasync._detect import drivers
from pytest_truasync._detect.callsite import FrameReader
from pytest_truasync._detect.drivers import DriverProbe
from pytest_truasync._detect.files import FileSorter
from pytest_truasync._detect.imports import ImportHooks
from pytest_truasync._detect.patches import PatchStack
from pytest_truasync._detect.recorder import Recorder, ThreadWatch, Watch
from pytest_truasync._model import Driver, Target
from pytest_truasync._rules import RULES
from pytest_truasync._rules.drivers import DRIVERS

pytest_plugins = ("pytester",)

MODULE = "a_driver_made_up"


class Calls:
    """Takes note of the calls instead of judging them."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def observe(
        self,
        target: Target,
        original: Callable[..., Any],
        waits: None,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        self.seen.append(target.name)
        return original(*args, **kwargs)


class Stage:
    """A driver's module, the probe, and this thread on watch."""

    def __init__(self, tmp_path: Path) -> None:
        self.module = ModuleType(MODULE)
        self.calls = Calls()
        self.faults: list[BaseException] = []
        self.patches = PatchStack()
        self.watch = Watch(Recorder())
        self.imports = ImportHooks(lambda name, error: self.faults.append(error))
        self._reader = FrameReader(FileSorter(tmp_path))

        class Connection:
            name = "no call"

            def __init__(self, *, idle: bool = False) -> None:
                self.idle = idle

            def commit(self) -> str:
                return "done"

        def connect() -> Connection:
            return Connection()

        def drive(steps: Generator[Any, Any, Any], by: int = 1) -> Any:
            sent = next(steps)
            while True:
                try:
                    sent = steps.send(sent + by)
                except StopIteration as done:
                    return done.value

        self.module.Connection = Connection  # type: ignore[attr-defined]
        self.module.connect = connect  # type: ignore[attr-defined]
        self.module.length = len  # type: ignore[attr-defined]
        self.module.drive = drive  # type: ignore[attr-defined]
        self.module.__file__ = __file__

    def install(self, *rows: Driver) -> None:
        calls: Any = self.calls
        DriverProbe(calls, self.watch, self._reader, rows).install(self.patches, self.imports)
        assert not self.faults

    def begin(self) -> None:
        """Put this thread on watch."""
        self.watch.push(ThreadWatch(self.watch.recorder))


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    stage = Stage(tmp_path)
    monkeypatch.setitem(sys.modules, MODULE, stage.module)
    yield stage
    stage.watch.clear()
    stage.patches.close()


def row(owner: str, names: str, **more: Any) -> Driver:
    return Driver(MODULE, owner, names, "TRU280", "driver", **more)


def is_busy(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    return not args[0].idle


def test_methods_are_watched_and_put_back(stage: Stage) -> None:
    kind: Any = stage.module.Connection
    before = dict(vars(kind))
    stage.install(row("Connection", "__init__ commit"))
    stage.begin()
    assert kind().commit() == "done"
    assert stage.calls.seen == ["driver", "driver.commit"]
    assert kind.commit.__wrapped__ is before["commit"]
    stage.patches.close()
    assert dict(vars(kind)) == before


def test_other_threads_are_left_alone(stage: Stage) -> None:
    stage.install(row("Connection", "commit"), row("", "drive", steps=True))
    module: Any = stage.module
    assert module.Connection().commit() == "done"
    assert module.drive(iter_of(0)) == [1]
    assert stage.calls.seen == []


def test_calls_that_cannot_wait(stage: Stage) -> None:
    stage.install(row("Connection", "commit", waits=is_busy))
    stage.begin()
    kind: Any = stage.module.Connection
    kind(idle=True).commit()
    assert stage.calls.seen == []
    kind().commit()
    assert stage.calls.seen == ["driver.commit"]


def test_wrong_arguments_are_the_calls_to_refuse(stage: Stage) -> None:
    stage.install(row("Connection", "commit", waits=is_busy))
    stage.begin()
    kind: Any = stage.module.Connection
    with pytest.raises(TypeError, match="missing 1 required positional") as error:
        kind.commit()
    assert error.value.__context__ is None
    assert stage.calls.seen == []


def test_what_a_version_lacks_is_left_out(stage: Stage) -> None:
    stage.install(row("Connection", "name gone commit"), row("Gone", "commit"), row("drive", "x"))
    assert stage.module.Connection.name == "no call"
    assert not hasattr(stage.module.Connection, "gone")


def test_types_stay_as_they_are_where_they_cannot_be_changed(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drivers, "can_patch_types", lambda: False)
    before = str.upper
    stage.module.Connection = str  # type: ignore[attr-defined]
    stage.install(row("Connection", "upper"))
    assert str.upper is before


def test_functions_are_watched_under_every_name(stage: Stage) -> None:
    alias: Any = ModuleType("somebody")
    alias.__file__ = __file__
    alias.open_it = stage.module.connect
    stage.watch.threads.clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "somebody", alias)
        patch.setitem(sys.modules, "nobody", ModuleType("nobody"))
        stage.install(row("", "connect"))
        stage.begin()
        alias.open_it()
        assert stage.calls.seen == ["driver.connect"]
        stage.patches.close()
        assert alias.open_it is stage.module.connect


def test_a_builtin_stays_one(stage: Stage) -> None:
    stage.install(row("", "length"))
    module: Any = stage.module

    class Holder:
        size = module.length

    stage.begin()
    assert Holder().size("abc") == 3
    assert stage.calls.seen == ["driver.length"]


def test_a_module_that_comes_later(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, MODULE)
    original = stage.module.connect
    stage.install(row("", "connect"))
    assert stage.module.connect is original
    stage.imports.loaded(stage.module)
    stage.begin()
    stage.module.connect()
    assert stage.calls.seen == ["driver.connect"]


def iter_of(*states: int) -> Generator[int, int, list[int]]:
    sent = []
    for state in states:
        sent.append((yield state))  # noqa: PERF401 - a comprehension cannot yield
    return sent


class TestSteps:
    def test_that_wait(self, stage: Stage) -> None:
        stage.install(row("", "drive", steps=True))
        stage.begin()
        module: Any = stage.module
        assert module.drive(iter_of(1, 5), by=2) == [3, 7]
        assert stage.calls.seen == ["driver.drive"]

    def test_that_need_not_wait(self, stage: Stage) -> None:
        stage.install(row("", "drive", steps=True))
        stage.begin()
        module: Any = stage.module
        assert module.drive(iter_of()) == []
        assert stage.calls.seen == []

    def test_that_fail(self, stage: Stage) -> None:
        def fails(first: bool) -> Generator[int, int, None]:
            if not first:
                yield 1
            raise LookupError("gone")

        stage.install(row("", "drive", steps=True))
        stage.begin()
        module: Any = stage.module
        for first in (True, False):
            with pytest.raises(LookupError, match="gone"):
                module.drive(fails(first))
        assert stage.calls.seen == ["driver.drive"]


@pytest.mark.parametrize("one", DRIVERS, ids=lambda one: f"{one.module}.{one.owner}")
def test_rows(one: Driver) -> None:
    assert one.code in RULES
    assert len(set(one.names.split())) == len(one.names.split())


def test_nothing_is_imported_for_a_row(pytester: pytest.Pytester) -> None:
    report = run_story(
        pytester,
        """
        import sys

        async def test_drivers():
            drivers = {"psycopg2", "MySQLdb", "mariadb", "pyodbc", "pymssql", "oracledb", "duckdb"}
            assert not drivers & sys.modules.keys()
        """,
    )
    assert not report.errors


def test_a_driver_that_was_imported_before_us(pytester: pytest.Pytester) -> None:
    need("psycopg2", "psycopg", "psycopg_binary", service="postgres")
    pytester.syspathinsert()
    pytester.makepyfile(early="import psycopg\nfrom psycopg2 import _connect, connect")
    report = run_story(
        pytester,
        """
        import early
        import psycopg
        import pytest
        from addresses import POSTGRES_URL

        @pytest.fixture
        def connection():
            with psycopg.connect(POSTGRES_URL) as connection:
                yield connection

        async def test_connects():
            early.connect(POSTGRES_URL).close()  # expect: TRU280 psycopg2.connect

        async def test_executes(connection):
            connection.execute("select 1")  # expect: TRU280 psycopg.Connection.execute
        """,
        "-p",
        "early",
    )
    assert report.errors == report.expected
