"""Our frames between a caller and what it called: disguised, or taken out of the record."""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import compress
from operator import attrgetter
from types import CodeType, FrameType, FunctionType
from typing import Any, Final, TypeVar

from pytest_truasync._detect import native
from pytest_truasync._detect.files import OURS

Made = TypeVar("Made")

_MOST: Final = 5_000
_filename: Final = attrgetter("filename")


def _call(original: Any, /, *args: Any, **kwargs: Any) -> Any:
    __tracebackhide__ = True
    try:
        return original(*args, **kwargs)
    except BaseException:
        del args, kwargs  # a traceback keeps this frame
        raise


def _one_line(code: CodeType) -> bytes:
    """Return a line table in which the whole of *code* stands on its first line, without columns.

    See Objects/locations.md of CPython: an entry of kind 13 covers up to 8 units of two bytes.
    """
    table = bytearray()
    units = len(code.co_code) // 2
    while units > 0:
        taken = min(units, 8)
        table += bytes((0x80 | 13 << 3 | taken - 1, 0))
        units -= taken
    return bytes(table)


_PLAIN: Final = _call.__code__.replace(co_linetable=_one_line(_call.__code__))
_codes: Final[dict[tuple[str, str, int], CodeType]] = {}


def stand_in(frame: FrameType) -> FunctionType:
    """Return a function that calls its first argument with the others, as if from *frame*.

    C code that warns, and what it calls back, name the frame that called them: its file, line and
    module decide which filter fits the warning, and whether it was seen before.
    """
    code = frame.f_code
    key = (code.co_filename, code.co_qualname, frame.f_lineno)
    known = _codes.get(key)
    if known is None:
        known = _PLAIN.replace(
            co_filename=code.co_filename,
            co_name=code.co_name,
            co_qualname=code.co_qualname,
            co_firstlineno=frame.f_lineno or 1,
        )
        if len(_codes) >= _MOST:
            _codes.clear()
        _codes[key] = known
    return FunctionType(known, frame.f_globals)


class _NotOurs(dict[str, bool]):
    """Name of a file → whether it is not ours."""

    def __missing__(self, filename: str) -> bool:
        if len(self) >= _MOST:
            self.clear()
        found = self[filename] = not filename.startswith(OURS)
        return found


_not_ours: Final = _NotOurs()


def has_ours_in_python(trace: list[Any], not_ours: dict[str, bool]) -> bool:
    """Tell whether a line of a traceback stands in one of our files."""
    # No line of Python for each entry: there are ten for each task and handle.
    return not all(map(not_ours.__getitem__, map(_filename, trace)))


_has_ours: Final = native.has_ours or has_ours_in_python


def without_us(made: Made) -> Made:
    """Return a task or handle; in debug mode it tells where it was made, and that was not here."""
    trace = getattr(made, "_source_traceback", None)
    if isinstance(trace, list) and trace and _has_ours(trace, _not_ours):
        trace[:] = compress(trace, map(_not_ours.__getitem__, map(_filename, trace)))
    return made


_hook_args: Final[Callable[[tuple[Any, ...]], Any] | None] = next(
    (kind for kind in tuple.__subclasses__() if kind.__name__ == "UnraisableHookArgs"), None
)


def can_tell_unraisable() -> bool:
    """Tell whether `unraisable_in_thread` works on this interpreter."""
    return _hook_args is not None


def unraisable_in_thread(function: Any, error: BaseException) -> None:
    """Tell of an exception that left *function*, as the interpreter does at the end of a thread.

    It would name what it was given to run, which is ours; called where *error* is caught.
    """
    text = "Exception ignored in thread started by"
    place = error.__traceback__.tb_next if error.__traceback__ is not None else None
    told = (f"{text} {function!r}", None) if sys.version_info >= (3, 13) else (text, function)
    if _hook_args is not None:
        sys.unraisablehook(_hook_args((type(error), error, place, *told)))
