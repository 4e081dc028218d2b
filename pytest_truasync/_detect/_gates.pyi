from collections.abc import Callable
from collections.abc import Set as AbstractSet
from types import FrameType
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

def user_frame(
    landmarks: dict[str, Any],
    user: object,
    loop: object,
    quiet: object,
    calling_back: AbstractSet[str],
    runners: AbstractSet[str],
    frame: FrameType,
    /,
) -> FrameType | None: ...
def stack_key(frame: FrameType, ends: dict[int, Any], /) -> bytes: ...
