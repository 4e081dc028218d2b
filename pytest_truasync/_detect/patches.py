"""Replace and put back: attributes of modules and classes, methods of built-in types, builtins."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from importlib import import_module
from types import FunctionType, ModuleType
from typing import Any, Final

from pytest_truasync._detect import native

MISSING: Final = object()

IMMUTABLE_TYPE: Final = 1 << 8
"""Py_TPFLAGS_IMMUTABLETYPE, public since 3.10."""


class PatchStack(ExitStack):
    """Replacements that are undone in reverse order when the stack closes."""

    def replace(self, owner: type | ModuleType, name: str, new: object) -> None:
        """Replace the attribute *name* of *owner* until the stack closes.

        Args:
            owner: a module, a class, or a type implemented in C.
            name: an attribute that *owner* has, its own or inherited.
            new: what stands there meanwhile.

        Raises:
            AttributeError: *owner* has no such attribute.
            TypeError: *owner* is an immutable type and this interpreter keeps it so.
        """
        old = vars(owner).get(name, MISSING)
        if old is MISSING:
            getattr(owner, name)  # inherited, or AttributeError
        _put(owner, name, new)
        self.callback(_put_back, owner, name, new, old)


def _put_back(owner: type | ModuleType, name: str, new: object, old: object) -> None:
    stand = getattr(new, "__self__", None)
    if type(stand) is _Stand and old is not MISSING:  # a twin; somebody may still have it
        # It lets go of what it ran, and of all that hangs on that.
        stand.__call__ = old  # type: ignore[operator]  # a slot of that name is no method
    if vars(owner).get(name, MISSING) is not new:
        return  # somebody replaced it after us and has not put it back: it is theirs now
    _put(owner, name, old)


_core: Final[Any] = (
    native if native.make_twin is not None else import_module("pytest_truasync._detect.by_address")
)
_set_on_type: Final[Callable[..., None] | None] = _core.set_on_type


def can_patch_types() -> bool:
    """Tell whether methods of types implemented in C can be replaced here."""
    return _set_on_type is not None


def _put(owner: type | ModuleType, name: str, new: object) -> None:
    """Set an attribute, or take it away where *new* is `MISSING`.

    Of an immutable type the flag is lifted, so that `type.__setattr__` does all the rest: the
    interpreter itself then updates the slots (`tp_iternext` for `__next__`), the subclasses and the
    caches, on the way there and on the way back; nothing else is written by address.
    """
    if not isinstance(owner, type) or not owner.__flags__ & IMMUTABLE_TYPE:
        _set(owner, name, new)
        return
    if _set_on_type is None:
        raise TypeError(f"{owner!r} is immutable here")
    _set_on_type(owner, name, *(() if new is MISSING else (new,)))


def _set(owner: type | ModuleType, name: str, new: object) -> None:
    if new is MISSING:
        delattr(owner, name)
    else:
        setattr(owner, name, new)


def builtin_twin(original: Callable[..., Any], function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a builtin function like *original* that runs *function*.

    A Python function in its place would bind as a method where a class holds it
    (`wait = time.sleep`), would not pickle as `time.sleep` does, and would not be a builtin for
    `inspect`. The twin is a true builtin made by `PyCFunction_NewEx`, which calls what its stand
    holds. Where none can be made *function* itself is returned.

    Args:
        original: the builtin, an attribute of the module that it names.
        function: what runs, with the arguments of *original*.
    """
    if not _twins_work():
        return dress(original, function)
    return _make_twin(original, function)


class _Stand(ModuleType):
    """What a builtin belongs to, which pickle and `repr` ask for; it is the module for them.

    Its slot `__call__` holds what the twin runs.
    """

    __slots__ = ("__call__",)


_Stand.__name__ = _Stand.__qualname__ = "module"
native.know_slots(_Stand)


def _make_twin(original: Callable[..., Any], function: Callable[..., Any]) -> Callable[..., Any]:
    module = original.__module__ or "builtins"
    stand = _Stand(module)
    stand.__call__ = function  # type: ignore[operator]  # a slot of that name is no method
    text = getattr(original, "__text_signature__", None)
    doc = original.__doc__
    if text:  # the C side reads the signature from the head of the text
        doc = f"{original.__name__}{text}\n--\n\n{doc or ''}"
    twin: Callable[..., Any] = _core.make_twin(original.__name__, doc, stand, module)
    return twin


_twin_verdict: list[bool] = []


def _twins_work() -> bool:
    """Tell, by trying one, whether twins can be made on this interpreter."""
    if not _twin_verdict:
        try:
            twin = _make_twin(os.getpid, lambda *args, **kwargs: (args, kwargs))
            works = sys.implementation.name == "cpython" and twin(1, b=2) == ((1,), {"b": 2})
        except (AttributeError, TypeError):
            works = False
        _twin_verdict.append(works)
    return _twin_verdict[0]


def dress(original: Callable[..., Any], function: Callable[..., Any]) -> Callable[..., Any]:
    """Give *function* the name, text and signature of *original*, and return it."""
    for name in ("__module__", "__name__", "__qualname__", "__doc__", "__text_signature__"):
        try:  # each offload has one: `contextlib.suppress` would cost as much as all the rest
            setattr(function, name, getattr(original, name))
        except (AttributeError, TypeError):
            continue
    owner = getattr(original, "__objclass__", None)
    if owner is not None:  # a method of a C type, which is pickled as the attribute of its type
        function.__module__ = owner.__module__
        function.__qualname__ = f"{owner.__qualname__}.{function.__name__}"
    if isinstance(function, FunctionType) or native.is_gate(function):
        function.__wrapped__ = original  # type: ignore[attr-defined]
        function.__annotations__ = dict(getattr(original, "__annotations__", None) or {})
    return function
