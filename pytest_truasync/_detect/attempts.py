"""Locks and queues: what can be had at once is not waited for, so it is tried first."""

from __future__ import annotations

import _thread
from collections.abc import Callable, Mapping
from threading import TIMEOUT_MAX
from typing import Any, Final

from pytest_truasync._detect import originals

Attempt = Callable[[tuple[Any, ...], dict[str, Any]], tuple[bool, Any]]


FOREVER: Final = -1
"""The timeout of a lock that waits until it is free."""


def _lock_attempt(
    original: Callable[..., Any], blocking: str = "blocking", forever: int | None = FOREVER
) -> Attempt:
    """`acquire`, with the name of its first argument and the timeout that waits for ever."""
    names = (blocking, "timeout")

    def attempt(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[bool, Any]:
        given = dict(zip(names, args[1:], strict=False)) | kwargs
        lock = args[0]
        wants = given.keys() <= {*names} and len(args) <= 3
        timeout: Any = given.get("timeout", forever)
        if (
            not wants
            or type(given.get(blocking, True)) not in (bool, int)
            or not given.get(blocking, True)
            or not (
                timeout == forever or (type(timeout) in (int, float) and 0 < timeout <= TIMEOUT_MAX)
            )
        ):
            return True, original(*args, **kwargs)
        return (True, True) if original(lock, False) else (False, None)

    return attempt


def _process_lock_attempt(original: Callable[..., Any]) -> Attempt:
    return _lock_attempt(original, "block", None)  # here less than 0 is at once


def _with_attempt(original: Callable[..., Any]) -> Attempt:
    acquires: dict[
        type, Any
    ] = {}  # `__enter__` takes no arguments: the same type's `acquire` tries

    def attempt(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[bool, Any]:
        if len(args) != 1 or kwargs:
            return True, original(*args, **kwargs)
        kind = type(args[0])
        acquire = acquires.get(kind)
        if acquire is None:
            acquire = acquires[kind] = ACQUIRES.get(kind) or kind.acquire
        return (True, True) if acquire(args[0], False) else (False, None)

    return attempt


def _queue_attempt(original: Callable[..., Any]) -> Attempt:
    names = ("block", "timeout")

    def attempt(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[bool, Any]:
        given = dict(zip(names, args[1:], strict=False)) | kwargs
        if (
            not given.get("block", True)
            or given.get("timeout", 1) == 0
            or not args
            or args[0].qsize() > 0
        ):
            return True, original(*args, **kwargs)
        return False, None

    return attempt


def _handle_attempt(original: Callable[..., Any]) -> Attempt:
    """`_ThreadHandle.join`, below `Thread.join` since 3.13."""

    def attempt(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[bool, Any]:
        timeout = args[1] if len(args) > 1 else kwargs.get("timeout")
        if args[0].is_done() or timeout == 0:
            return True, original(*args, **kwargs)
        return False, None

    return attempt


ACQUIRES: Final[dict[type, Callable[..., Any]]] = {
    type(originals.allocate_lock()): type(originals.allocate_lock()).acquire,
    _thread.RLock: _thread.RLock.acquire,
}

LOCKS: Final[Mapping[str, type]] = {
    "threading.Lock": type(originals.allocate_lock()),
    "threading.RLock": _thread.RLock,
}

ATTEMPTS: Final[Mapping[str, Callable[[Callable[..., Any]], Attempt]]] = {
    "threading.Lock.acquire": _lock_attempt,
    "threading.Lock.acquire_lock": _lock_attempt,
    "threading.Lock.__enter__": _with_attempt,
    "threading.RLock.acquire": _lock_attempt,
    "threading.RLock.__enter__": _with_attempt,
    "_multiprocessing.SemLock.acquire": _process_lock_attempt,
    "_multiprocessing.SemLock.__enter__": _with_attempt,
    "queue.SimpleQueue.get": _queue_attempt,
    "_thread._ThreadHandle.join": _handle_attempt,
}
