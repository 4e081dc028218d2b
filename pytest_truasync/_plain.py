"""Import our own modules as Python does, past pytest's rewriting of asserts.

pytest rewrites the modules of a plugin's distribution. Ours have no asserts, and where no bytecode
is kept (`PYTHONDONTWRITEBYTECODE`, a read-only image) each start would compile them all anew.
"""

from __future__ import annotations

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
