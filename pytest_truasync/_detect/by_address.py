"""What the interpreter has no names for, written by address: for where there is no part in C.

Only then is it imported, as ctypes takes a while to load; `_native.c` has the same.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any, Final

IMMUTABLE_TYPE: Final = 1 << 8
"""Py_TPFLAGS_IMMUTABLETYPE, public since 3.10."""

VARARGS_WITH_NAMES: Final = 0x0080 | 0x0002
"""METH_FASTCALL | METH_KEYWORDS, public and stable since 3.10."""

_SIZE: Final = 300


def _find_flags() -> int | None:
    """Return the offset of `tp_flags` in a type object, or None where it cannot be told."""
    if sys.implementation.name != "cpython" or not getattr(sys, "_is_gil_enabled", lambda: True)():
        return None  # without a GIL other threads read the flags while they are written
    known = (int, str, list, dict, type, object, BaseException, ModuleType)
    size: int = vars(type)["__basicsize__"].__get__(type)
    for offset in range(0, size, ctypes.sizeof(ctypes.c_void_p)):
        if all(ctypes.c_ulong.from_address(id(t) + offset).value == t.__flags__ for t in known):
            return offset
    return None


_FLAGS_OFFSET: Final = _find_flags()


def _set_on_type(owner: type, name: str, *value: object) -> None:
    """Do as `setattr`, or as `delattr` without a value, on an immutable type."""
    assert _FLAGS_OFFSET is not None
    flags = ctypes.c_ulong.from_address(id(owner) + _FLAGS_OFFSET)
    flags.value &= ~IMMUTABLE_TYPE
    try:
        if value:
            setattr(owner, name, *value)
        else:
            delattr(owner, name)
    finally:
        flags.value |= IMMUTABLE_TYPE


set_on_type: Final = _set_on_type if _FLAGS_OFFSET is not None else None


class _MethodDef(ctypes.Structure):
    """PyMethodDef of the stable ABI."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    )


_kept: list[object] = []  # C structures that a twin points into; twins may outlive us in aliases


def make_twin(name: str, text: str | None, stand: object, module: str) -> Callable[..., Any]:
    """Return a builtin that calls *stand*.

    Args:
        name: of the builtin.
        text: its `__doc__`, behind a signature that the C side reads.
        stand: what it belongs to, its `__self__`.
        module: its `__module__`.

    Raises:
        AttributeError: this interpreter does not say how.
        TypeError: it does not let us.
    """
    definition = _MethodDef(
        name.encode(),
        ctypes.cast(ctypes.pythonapi.PyObject_Vectorcall, ctypes.c_void_p).value,
        VARARGS_WITH_NAMES,
        text.encode() if text is not None else None,
    )
    _kept.extend((definition, stand))
    new = ctypes.pythonapi.PyCFunction_NewEx
    new.restype = ctypes.py_object
    new.argtypes = (ctypes.c_void_p, ctypes.py_object, ctypes.py_object)
    try:
        twin: Callable[..., Any] = new(ctypes.addressof(definition), stand, module)
    except ctypes.ArgumentError as error:
        raise TypeError(str(error)) from error
    return twin


def _file_reader() -> Callable[[bytes], bytes] | None:
    """Return what reads a small file, or None where it cannot be done so.

    It calls the C library with the GIL held, which `os.read` would let go of: what is read stays of
    one moment, no thread can meddle with the descriptor, and no audit hook hears of it.
    """
    try:
        library = ctypes.PyDLL(None)
        opened, read, close = library.open, library.read, library.close
    except (OSError, AttributeError, TypeError):  # Windows
        return None
    opened.argtypes = (ctypes.c_char_p, ctypes.c_int, ctypes.c_int)
    read.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t)
    read.restype = ctypes.c_ssize_t
    close.argtypes = (ctypes.c_int,)
    buffer = ctypes.create_string_buffer(_SIZE)
    flags = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0)

    def read_file(path: bytes) -> bytes:
        file = opened(path, flags, 0)
        if file < 0:  # another system, or the thread has ended
            return b""
        length = read(file, buffer, _SIZE)
        text = buffer.raw[: max(0, length)]
        close(file)
        return text

    return read_file


read_file: Final = _file_reader()
