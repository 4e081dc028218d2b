"""Where a call needs no Python of ours: what the part in C lets through by itself, if it is there.

Without it, the functions in Python that it stands in front of stand alone. They decide alike.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

_REVISION: Final = 3
"""Of the source that this is written for; an older build, left in a checkout, is not used."""


def _load() -> Any:
    """Return the part in C, or None: it was not built, or TRUASYNC_CORE asks for Python."""
    if os.environ.get("TRUASYNC_CORE") == "python":
        return None
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        return None
    try:
        from pytest_truasync._detect import _gates
    except ImportError:
        return None
    return _gates if _gates.REVISION == _REVISION else None


native: Final[Any] = _load()


def gated(
    kind: str,
    threads: dict[int, Any],
    original: Callable[..., Any],
    wrapper: Callable[..., Any],
    *asks: Any,
) -> Callable[..., Any]:
    """Return what lets a call through to *original* where *wrapper* would only do the same.

    Args:
        kind: by which it is told, see `_gates.c`: "plain", "call", "lock", "socket" or "poll".
        threads: number of a thread → what is known of it; calls on others pass.
        original: what is called in the end.
        wrapper: what decides all that is not as simple.
        asks: what tells more, by kind.
    """
    return wrapper if native is None else native.Gate(kind, threads, original, wrapper, *asks)


def is_gate(function: object) -> bool:
    """Tell whether *function* is of the part in C."""
    return native is not None and type(function) is native.Gate


stack_key: Final[Callable[[FrameType, dict[int, Any]], bytes] | None] = getattr(
    native, "stack_key", None
)
