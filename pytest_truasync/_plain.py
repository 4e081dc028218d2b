"""Start without what a start need not have: asserts rewritten, garbage collected.

pytest rewrites the modules of a plugin's distribution. Ours have no asserts, and where no bytecode
is kept (`PYTHONDONTWRITEBYTECODE`, a read-only image) each start would compile them all anew.
"""

from __future__ import annotations

import gc
import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

_REWRITER = "_pytest.assertion.rewrite"

_OTHERS: Final = (
    *("asyncio", "concurrent.futures.thread", "contextvars", "platform", "resource", "sysconfig"),
    *("_interpreters", "_xxsubinterpreters"),
)
"""What a start imports that is not ours."""


@contextmanager
def plain_imports() -> Iterator[None]:
    """Take pytest's finder off `sys.meta_path` for a while; where it stood, it stands again."""
    held = [(at, one) for at, one in enumerate(sys.meta_path) if type(one).__module__ == _REWRITER]
    for _, finder in held:
        sys.meta_path.remove(finder)
    try:
        yield
    finally:
        for at, finder in held:
            sys.meta_path.insert(at, finder)


@contextmanager
def for_good() -> Iterator[Callable[[], None]]:
    """Put off garbage collections, and give what sets all that was made meanwhile apart from them.

    It stays to the end of the run. To visit it would make the collections of the user's own objects
    longer: these are several thousand, where a suite has a hundred thousand. See `native`.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        for name in _OTHERS:
            with suppress(ImportError):
                importlib.import_module(name)
        known = len(gc.get_objects(generation=0))

        def keep() -> None:
            from pytest_truasync._detect import native  # the heavy part, which was asked for

            native.set_apart(gc.get_objects(generation=0)[known:])  # the youngest are the last

        yield keep
    finally:
        if was_on:
            gc.enable()
