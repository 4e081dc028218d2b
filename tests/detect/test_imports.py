"""What is to happen after an import happens once, and the import is as it was."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_truasync._detect.imports import ImportHooks


class Log:
    def __init__(self) -> None:
        self.faults: list[tuple[str, BaseException]] = []
        self.seen: list[object] = []

    def broken(self, name: str, error: BaseException) -> None:
        self.faults.append((name, error))


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def hooks(log: Log, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ImportHooks]:
    monkeypatch.syspath_prepend(str(tmp_path))
    before = list(sys.meta_path)
    known = set(sys.modules)
    hooks = ImportHooks(log.broken)
    hooks.install()
    yield hooks
    hooks.uninstall()
    hooks.uninstall()
    assert sys.meta_path == before
    for name in set(sys.modules) - known:
        del sys.modules[name]


def module(folder: Path, name: str, text: str = "x = 1") -> None:
    folder.joinpath(f"{name}.py").write_text(text, "utf-8")
    importlib.invalidate_caches()


def test_an_imported_module_is_handed_over_at_once(hooks: ImportHooks, log: Log) -> None:
    hooks.when("sys", log.seen.append)
    assert log.seen == [sys]


def test_another_when_it_has_been_executed(hooks: ImportHooks, log: Log, tmp_path: Path) -> None:
    module(tmp_path, "trua_later")
    hooks.when("trua_later", lambda m: log.seen.append((m, m.x)))
    assert not log.seen
    later = importlib.import_module("trua_later")
    assert log.seen == [(later, 1)]
    importlib.import_module("trua_later")
    assert len(log.seen) == 1


def test_the_module_has_its_own_loader_and_spec(
    hooks: ImportHooks, log: Log, tmp_path: Path
) -> None:
    module(tmp_path, "trua_plain", "loader = type(__loader__), type(__spec__.loader)")
    hooks.when("trua_plain", log.seen.append)
    plain = importlib.import_module("trua_plain")
    real = importlib.machinery.SourceFileLoader
    assert plain.loader == (real, real)
    assert type(plain.__loader__) is type(plain.__spec__.loader) is real  # type: ignore[union-attr]
    assert plain.__file__ == str(tmp_path / "trua_plain.py")
    assert importlib.util.find_spec("trua_plain") is plain.__spec__


def test_a_package_and_its_submodule(hooks: ImportHooks, log: Log, tmp_path: Path) -> None:
    (tmp_path / "trua_pkg").mkdir()
    module(tmp_path / "trua_pkg", "__init__")
    module(tmp_path / "trua_pkg", "sub")
    hooks.when("trua_pkg.sub", log.seen.append)
    importlib.import_module("trua_pkg")
    assert not log.seen
    sub = importlib.import_module("trua_pkg.sub")
    assert log.seen == [sub]


def test_a_module_that_is_not_there_is_not_found(hooks: ImportHooks, log: Log) -> None:
    hooks.when("trua_absent", log.seen.append)
    with pytest.raises(ModuleNotFoundError, match="trua_absent") as caught:
        importlib.import_module("trua_absent")
    assert caught.value.name == "trua_absent"
    assert importlib.util.find_spec("trua_absent") is None


def test_an_import_that_fails_fails_as_ever_and_may_be_tried_again(
    hooks: ImportHooks, log: Log, tmp_path: Path
) -> None:
    module(tmp_path, "trua_fails", "import trua_flag\nif trua_flag.bad: raise OSError('no')")
    module(tmp_path, "trua_flag", "bad = True")
    hooks.when("trua_fails", log.seen.append)
    with pytest.raises(OSError, match="no"):
        importlib.import_module("trua_fails")
    assert "trua_fails" not in sys.modules
    assert not log.seen
    sys.modules["trua_flag"].bad = False  # type: ignore[attr-defined]
    again = importlib.import_module("trua_fails")
    assert log.seen == [again]


def test_a_callback_that_raises_is_a_fault_of_ours_alone(
    hooks: ImportHooks, log: Log, tmp_path: Path
) -> None:
    module(tmp_path, "trua_broken")
    hooks.when("trua_broken", lambda _: 1 / 0)  # type: ignore[arg-type]
    hooks.when("trua_broken", log.seen.append)
    broken = importlib.import_module("trua_broken")
    assert [(name, type(error)) for name, error in log.faults] == [
        ("trua_broken", ZeroDivisionError)
    ]
    assert log.seen == [broken]


def test_after_uninstall_nothing_is_called(hooks: ImportHooks, log: Log, tmp_path: Path) -> None:
    module(tmp_path, "trua_late")
    hooks.when("trua_late", log.seen.append)
    hooks.uninstall()
    importlib.import_module("trua_late")
    assert not log.seen
