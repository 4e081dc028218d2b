"""Work that is one call on files and no more: what threads are for, with nothing in it to watch."""

from __future__ import annotations

import io
import stat
from collections.abc import Iterable, Mapping
from contextvars import Context
from functools import partial
from pathlib import Path
from types import BuiltinFunctionType, MethodType
from typing import Any, Final

from pytest_truasync._detect import originals

_PLAIN: Final = frozenset(
    {str, bytes, bytearray, memoryview, int, bool, float, type(None), type(Path())}
)
_BUFFERED: Final = frozenset(
    {io.BufferedReader, io.BufferedWriter, io.BufferedRandom, io.TextIOWrapper}
)
_open: Final = io.open


def are_plain(values: Iterable[Any]) -> bool:
    """Tell whether *values* bring no code of the user's, as an opener of files or a path may."""
    return _PLAIN.issuperset(map(type, values))


def is_of_file(stream: Any) -> bool:
    """Tell whether a stream of the interpreter's reads and writes a file, not a pipe, say."""
    try:
        buffer = stream.buffer if type(stream) is io.TextIOWrapper else stream
        if type(buffer) not in _BUFFERED or type(buffer.raw) is not io.FileIO:
            return False
        return originals.S_IFMT(originals.fstat(buffer.fileno()).st_mode) == stat.S_IFREG
    except (AttributeError, ValueError, OSError):  # closed, detached, or of another make
        return False


class FileCalls:
    """Knows what stands in for the calls on files."""

    def __init__(self) -> None:
        self.stand_ins: dict[int, str] = {}
        """Number of what stands in for a callable → name of its target."""

    def add(self, stand_in: Any, name: str) -> None:
        """Take note that *stand_in*, which is never let go, is in the place of *name*."""
        self.stand_ins[id(stand_in)] = name

    def name_of(self, function: Any) -> str:
        """Return the name of the one call that *function* is; empty if it may be anything else.

        It calls no code of the user's.
        """
        args: tuple[Any, ...] = ()
        named: Mapping[str, Any] = {}
        if type(function) is partial:
            args, named, function = function.args, function.keywords, function.func
        known = function.__func__ if type(function) is MethodType else function
        if (found := self.stand_ins.get(id(known))) is not None:
            return found if are_plain(args) and are_plain(named.values()) else ""
        if type(function) is not BuiltinFunctionType or not are_plain(named.values()):
            return ""
        if function is _open:
            return "open" if are_plain(args) else ""
        owner = function.__self__
        if type(owner) in _BUFFERED:
            file_like = function.__name__ != "writelines" and is_of_file(owner) and are_plain(args)
            return f"io.{type(owner).__name__}.{function.__name__}" if file_like else ""
        if type(owner) is Context and args and not named:  # as `asyncio.to_thread` hands it over
            return self.name_of(args[0]) if are_plain(args[1:]) else ""
        return ""
