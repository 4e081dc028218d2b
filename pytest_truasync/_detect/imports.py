"""Does something to a module as soon as it has been imported, and nothing before."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

Then = Callable[[ModuleType], None]


class ImportHooks:
    """A finder at the head of `sys.meta_path` that finds nothing itself.

    Args:
        broken: hears of a callback that raised, with the module's name.
    """

    def __init__(self, broken: Callable[[str, BaseException], None]) -> None:
        self._broken = broken
        self._then: dict[str, list[Then]] = {}
        self._searching: set[str] = set()

    def when(self, name: str, then: Then) -> None:
        """Call *then* with the module *name*: now if it is imported, else when it has been."""
        module = sys.modules.get(name)
        if module is not None and not _initialising(module):
            self._call(then, module)
        else:
            self._then.setdefault(name, []).append(then)

    def install(self) -> None:
        """Stand in front of the other finders."""
        sys.meta_path.insert(0, self)

    def uninstall(self) -> None:
        """Step out."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Let the others find *name*, and have its loader call us back."""
        if name not in self._then or name in self._searching:
            return None
        self._searching.add(name)
        try:
            for finder in list(sys.meta_path):
                find = getattr(finder, "find_spec", None)
                if finder is self or find is None:
                    continue
                spec: ModuleSpec | None = find(name, path, target)
                if spec is not None:
                    break
            else:
                return None
        finally:
            self._searching.discard(name)
        if hasattr(spec.loader, "exec_module"):
            spec.loader = _Loader(spec.loader, self)  # type: ignore[assignment]
        return spec

    def loaded(self, module: ModuleType) -> None:
        """Call what waits for *module*."""
        for then in self._then.pop(module.__name__, ()):
            self._call(then, module)

    def _call(self, then: Then, module: ModuleType) -> None:
        try:
            then(module)
        except Exception as error:  # noqa: BLE001 - the import is the user's, the fault ours
            self._broken(module.__name__, error)


class _Loader:
    """The real loader, but for one call; the module gets to see the real one."""

    def __init__(self, real: Any, hooks: ImportHooks) -> None:
        self._real = real
        self._hooks = hooks

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        spec.loader = self._real
        try:
            module: ModuleType | None = self._real.create_module(spec)
        finally:
            spec.loader = self  # type: ignore[assignment]
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._real
        if module.__spec__ is not None:
            module.__spec__.loader = self._real
        self._real.exec_module(module)
        self._hooks.loaded(module)


def _initialising(module: ModuleType) -> bool:
    return bool(getattr(getattr(module, "__spec__", None), "_initializing", False))
