"""Start without what a start need not have: asserts rewritten, garbage collected.

pytest rewrites the modules of a plugin's distribution. Ours have no asserts, and where no bytecode
is kept (`PYTHONDONTWRITEBYTECODE`, a read-only image) each start would compile them all anew.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_REWRITER = "_pytest.assertion.rewrite"


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
def no_collections() -> Iterator[None]:
    """Put off garbage collections: what is made meanwhile stays, and is looked at ten times."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
