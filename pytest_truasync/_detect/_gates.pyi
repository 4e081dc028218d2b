from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any, Self

REVISION: int
call_stand: int

class Gate:
    def __new__(
        cls,
        kind: str,
        threads: dict[int, Any],
        original: Callable[..., Any],
        wrapper: Callable[..., Any],
        *asks: Any,
    ) -> Self: ...
    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...

class Walker:
    def __new__(
        cls,
        landmarks: dict[str, Any],
        user: object,
        loop: object,
        quiet: object,
        calling_back: frozenset[str],
        runners: frozenset[str],
        endings: tuple[CodeType, ...],
        /,
    ) -> Self: ...
    def note_task(
        self, tasks: dict[int, Any], task: object, coroutine: object, maker: object, /
    ) -> None: ...

def stack_key(frame: FrameType, ends: dict[int, Any], /) -> bytes: ...
