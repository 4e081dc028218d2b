"""Probe: calls into drivers that wait in C, watched once their module is imported."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from types import ModuleType
from typing import Any

from pytest_truasync._detect import originals
from pytest_truasync._detect.calls import CallProbe
from pytest_truasync._detect.callsite import FrameReader
from pytest_truasync._detect.files import Role
from pytest_truasync._detect.imports import ImportHooks
from pytest_truasync._detect.patches import (
    IMMUTABLE_TYPE,
    PatchStack,
    builtin_twin,
    can_patch_types,
    dress,
)
from pytest_truasync._detect.recorder import Watch
from pytest_truasync._model import Driver, Target


class DriverProbe:
    """Puts the calls of drivers through the probe of blocking calls.

    Args:
        calls: records a call of ours as it does its own.
        watch: the threads that run a loop or offloaded work.
        reader: tells whose a module is.
        drivers: rows of calls.
    """

    def __init__(
        self, calls: CallProbe, watch: Watch, reader: FrameReader, drivers: Iterable[Driver]
    ) -> None:
        self._calls = calls
        self._watch = watch
        self._reader = reader
        self._drivers = tuple(drivers)

    def install(self, patches: PatchStack, imports: ImportHooks) -> None:
        """Apply the rows of the modules that are imported, and the others when theirs are."""
        for row in self._drivers:
            early = row.module in originals.modules

            def apply(module: ModuleType, row: Driver = row, early: bool = early) -> None:
                self._apply(patches, row, module, early=early)

            imports.when(row.module, apply)

    def _apply(self, patches: PatchStack, row: Driver, module: ModuleType, *, early: bool) -> None:
        owner = vars(module).get(row.owner) if row.owner else module
        if owner is None or not _can_patch(owner):
            return
        news: dict[int, tuple[Any, Any]] = {}
        for name in row.names.split():
            original = vars(owner).get(name)
            if callable(original):
                new = self._stand_in(row, name, original, in_module=owner is module)
                patches.replace(owner, name, new)
                news[id(original)] = (original, new)
        if early and owner is module:
            self._rebind(patches, module, news)

    def _stand_in(
        self, row: Driver, name: str, original: Callable[..., Any], *, in_module: bool
    ) -> Callable[..., Any]:
        hidden = name in ("__init__", "__call__", "__exit__")
        target = Target(row.shown if hidden else f"{row.shown}.{name}", row.code)
        function = (
            self._steps(target, original) if row.steps else self._whole(target, original, row)
        )
        if in_module and not hasattr(type(original), "__get__"):
            # A function in its place would bind as a method where a class holds it.
            return builtin_twin(original, function)
        return dress(original, function)

    def _whole(
        self, target: Target, original: Callable[..., Any], row: Driver
    ) -> Callable[..., Any]:
        threads = self._watch.threads
        get_ident = originals.get_ident
        observe = self._calls.observe
        waits = row.waits

        def call(*args: Any, **kwargs: Any) -> Any:
            __tracebackhide__ = True
            if not threads or get_ident() not in threads:
                return original(*args, **kwargs)
            # Asked here, so that what runs inside a call that cannot wait is watched.
            if not can_wait(args, kwargs):
                return original(*args, **kwargs)
            return observe(target, original, None, args, kwargs)

        def can_wait(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
            try:
                return waits is None or waits(args, kwargs)
            except Exception:  # noqa: BLE001 - wrong arguments: the call itself will say so
                return False

        return call

    def _steps(self, target: Target, original: Callable[..., Any]) -> Callable[..., Any]:
        threads = self._watch.threads
        get_ident = originals.get_ident
        observe = self._calls.observe

        def call(steps: Any, *args: Any, **kwargs: Any) -> Any:
            __tracebackhide__ = True
            if not threads or get_ident() not in threads:
                return original(steps, *args, **kwargs)
            try:
                first = next(steps)
            except StopIteration as done:
                return done.value  # it had nothing to wait for
            return observe(target, original, None, (_resumed(first, steps), *args), kwargs)

        return call

    def _rebind(
        self, patches: PatchStack, home: ModuleType, news: dict[int, tuple[Any, Any]]
    ) -> None:
        """Replace what others have by name from a module that was imported before us."""
        for module in list(originals.modules.values()):
            names = getattr(module, "__dict__", None)
            file = getattr(module, "__file__", None)
            if module is home or not isinstance(names, dict) or not isinstance(file, str):
                continue
            if self._reader.sorter(file).role not in (Role.USER, Role.LIBRARY):
                continue
            for alias, value in list(names.items()):
                original, new = news.get(id(value), (None, None))
                if new is not None and value is original:
                    patches.replace(module, alias, new)


def _can_patch(owner: Any) -> bool:
    if isinstance(owner, ModuleType):
        return True
    return isinstance(owner, type) and (not owner.__flags__ & IMMUTABLE_TYPE or can_patch_types())


def _resumed(first: Any, steps: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
    """Go on with *steps*, whose *first* was taken already."""
    state = first
    while True:
        sent = yield state
        try:
            state = steps.send(sent)
        except StopIteration as done:
            return done.value
