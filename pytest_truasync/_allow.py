"""`with allow(...)`: a permission for a few lines, and for the tasks made inside."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from types import TracebackType
from typing import Final

from pytest_truasync._model import PERMISSION, CallSite, Permission
from pytest_truasync._rules import check_words

_entered: Final[dict[str, Permission]] = {}
"""Permissions of the blocks that were entered since the last `take_entered`."""

_known: Final[dict[str, Permission]] = {}
"""Permissions of all blocks of the run: one around a fixture's yield is open for many tests."""

_MOST: Final = 10_000


class allow:  # noqa: N801 - it reads as a verb: `with allow("TRU251", reason=...)`
    """Let blocking calls through, here and in the tasks made inside.

    ```python
    with pytest_truasync.allow("blocking-open", reason="reads 200 bytes, once"):
        settings = load()
    ```

    Without `--truasync` it does nothing. It may be entered again, also by another task.

    Args:
        what: codes, prefixes, rule names or dotted targets such as `"time.sleep"`; none of them
            allows everything.
        reason: why; without one the report says so (TRU902).

    Raises:
        ValueError: a word of *what* is no rule and no target.
        TypeError: *reason* or a word is not text.
    """

    def __init__(self, *what: str, reason: str = "") -> None:
        if not isinstance(reason, str):
            raise TypeError(f"allow: reason must be text, not {reason!r}")
        for word in what:
            if not isinstance(word, str):
                raise TypeError(f"allow: {word!r} is not text")
        check_words(what)
        frame = sys._getframe(1)
        path = _relative(frame.f_code.co_filename)
        self.permission = Permission(
            kind="with",
            what=what,
            reason=reason,
            origin=f"{path}:{frame.f_lineno}",
            site=CallSite(path, frame.f_lineno, frame.f_code.co_qualname),
        )

    def __enter__(self) -> None:
        key = self.permission.key
        if len(_entered) < _MOST:
            _entered[key] = self.permission
        if len(_known) < _MOST:
            _known[key] = self.permission
        outer = PERMISSION.get()
        PERMISSION.set(f"{outer}\n{key}" if outer else key)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # No token: one block may be open in several tasks at once, and an async fixture may leave
        # it in another context than it entered.
        keys = PERMISSION.get().split("\n")
        for place in range(len(keys) - 1, -1, -1):
            if keys[place] == self.permission.key:
                del keys[place]
                break
        PERMISSION.set("\n".join(keys))


root: str = ""
"""The project, for the paths in permissions; the plugin sets it."""


def _relative(filename: str) -> str:
    path = filename.replace(os.sep, "/")
    return path[len(root) :] if root and path.startswith(root) else path


def take_entered() -> tuple[Permission, ...]:
    """Return the permissions of the blocks entered since the last time."""
    if not _entered:
        return ()
    entered = tuple(_entered.values())
    _entered.clear()
    return entered


def held(keys: Iterable[str]) -> tuple[Permission, ...]:
    """Return the permissions of these keys, one a line, whenever their blocks were entered."""
    named = {key for lines in keys if lines for key in lines.split("\n")}
    return tuple(_known[key] for key in sorted(named) if key in _known)
