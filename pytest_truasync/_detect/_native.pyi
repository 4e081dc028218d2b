from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any, Self

SOURCE: str

class Threads(dict[int, Any]): ...

class Gate:
    def __new__(
        cls,
        kind: str,
        threads: dict[int, Any],
        original: Callable[..., Any],
        wrapper: Callable[..., Any],
        /,
        *asks: Any,
    ) -> Self: ...
    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...

class TaskNoter:
    guest: Any
    def __new__(
        cls,
        tasks: dict[int, Any],
        endings: tuple[CodeType, ...],
        landmarks: dict[str, Any],
        user: object,
        loop: object,
        quiet: object,
        calling_back: frozenset[str],
        runners: frozenset[str],
        /,
    ) -> Self: ...
    def note(self, task: object, coroutine: object, maker: object, /) -> None: ...

class Offloader:  # on Linux alone
    def __new__(cls, asks: tuple[Any, ...], /) -> Self: ...
    def track(
        self,
        function: Any,
        frame: FrameType,
        via: str,
        pool_of: Callable[..., Any] | None,
        owner: Any,
        /,
    ) -> Any: ...
    def begin(self, work: Any, /) -> Any: ...
    def end(self, work: Any, on: Any, /) -> None: ...

class Lane:  # from CPython 3.12 on
    def __new__(
        cls,
        kind: str,
        function: Callable[..., Any],
        original: Callable[..., Any],
        asks: tuple[Any, ...],
        /,
    ) -> Self: ...

class Alarm:  # on Linux alone
    switches: int
    postponed_ns: int
    def __new__(cls, threads: dict[int, Any] = ..., tick_ns: int = ..., /) -> Self: ...
    def set(self, pause_ns: int, /) -> None: ...
    def wait(self) -> None: ...
    def close(self) -> None: ...

def stack_key(frame: FrameType, ends: dict[int, Any], /) -> bytes: ...
def know_slots(kind: type, /) -> None: ...
def make_twin(name: str, text: str | None, stand: object, module: str, /) -> Callable[..., Any]: ...
def set_on_type(owner: type, name: str, value: object = ..., /) -> None: ...
def holders(dicts: list[dict[str, Any]], numbers: dict[int, Any], /) -> list[int]: ...
def read_file(path: bytes, /) -> bytes: ...  # on Linux alone
def open_high(path: bytes, lowest: int, /) -> int: ...  # on Linux alone
def read_queue(file: int, /) -> tuple[int, int] | None: ...  # on Linux alone
def turns() -> int: ...  # on Linux alone
def thread_clocks() -> tuple[int, int, int, int]: ...  # on Linux alone
def has_ours(trace: list[Any], not_ours: dict[str, bool], /) -> bool: ...
def set_apart(objects: list[Any] | tuple[Any, ...], /) -> None: ...  # up to CPython 3.13
def give_back() -> None: ...
