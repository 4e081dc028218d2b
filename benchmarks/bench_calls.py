"""What a watched call costs, as a ratio to the same call through a bare Python wrapper.

    python benchmarks/bench_calls.py [--json FILE]

A wrapper of any kind costs a Python call; so the unit is `def bare(*args, **kwargs): return
original(*args, **kwargs)`, timed in the same run, in turn with ours and with blockbuster's. For
each call: off-loop (no loop runs in the thread; another one runs in another thread, which is the
dear case), and on-loop but silent (a call that cannot block).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import socket
import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pytest_truasync._detect import Detector
from pytest_truasync._rules.targets import AUDITED, OFFLOAD_CODES, TARGETS, code_for

ROUNDS = 15
CALLS = 4_000
OFF_LOOP_TARGET = 1.3
ON_LOOP_TARGET = 3.0


def bare(original: Callable[..., Any]) -> Callable[..., Any]:
    """Return the wrapper that is the unit."""

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return original(*args, **kwargs)

    return wrapper


def timed(call: Callable[..., Any], args: tuple[Any, ...]) -> float:
    """Return the CPU time of one call, in nanoseconds."""
    started = time.thread_time_ns()
    for _ in range(CALLS):
        call(*args)
    return (time.thread_time_ns() - started) / CALLS


def ratios(
    unit: Callable[..., Any], ours: Callable[..., Any], args: tuple[Any, ...]
) -> list[float]:
    """Return ours ÷ unit of each round, the two in turn."""
    found = []
    for _ in range(ROUNDS):
        first = timed(unit, args)
        found.append(timed(ours, args) / first)
    return found


def detector() -> Detector:
    """Return the detector as the plugin makes it."""
    return Detector(
        root=Path.cwd(),
        packages=(),
        targets=TARGETS,
        audited=AUDITED,
        name_code=code_for,
        offload_codes=OFFLOAD_CODES,
    )


def cases() -> dict[str, tuple[Any, str, tuple[Any, ...], tuple[Any, ...]]]:
    """Return name → owner, attribute, arguments off-loop, arguments that are silent on a loop."""
    left, right = socket.socketpair()
    left.setblocking(False)
    _open.extend((left, right))
    lock = threading.Lock()
    return {
        "os.stat": (os, "stat", ("/dev/null",), ("/dev/null",)),
        "time.sleep(0)": (time, "sleep", (0,), (0,)),
        "socket.send": (socket.socket, "send", (left, b""), (left, b"")),
        "lock.acquire": (type(lock), "acquire", (lock, False), (lock, False)),
    }


_open: list[socket.socket] = []


def measure(blockbuster: bool) -> dict[str, float]:
    """Return case → median ratio, for ours or for blockbuster."""
    import blockbuster as peer

    found: dict[str, list[float]] = {}
    rows = cases()
    originals = {name: getattr(owner, attribute) for name, (owner, attribute, *_) in rows.items()}
    watched: Any = peer.BlockBuster() if blockbuster else detector()
    (watched.activate if blockbuster else watched.install)()
    stop = threading.Event()
    other = threading.Thread(target=lambda: asyncio.run(_idle(stop)))
    other.start()
    try:
        for name, (owner, attribute, off, on) in rows.items():
            ours = getattr(owner, attribute)
            unit = bare(originals[name])
            found[f"{name} off-loop"] = ratios(unit, ours, off)

            async def inside(
                unit: Callable[..., Any] = unit,
                ours: Callable[..., Any] = ours,
                args: tuple[Any, ...] = on,
            ) -> list[float]:
                return ratios(unit, ours, args)

            with contextlib.suppress(peer.BlockingError):  # it takes some for blocking
                found[f"{name} on-loop, silent"] = asyncio.run(inside())
    finally:
        stop.set()
        other.join()
        (watched.deactivate if blockbuster else watched.uninstall)()
    return {name: statistics.median(values) for name, values in found.items()}


async def _idle(stop: threading.Event) -> None:
    while not stop.is_set():  # noqa: ASYNC110 - a loop that only has to be there
        await asyncio.sleep(0.2)


def main() -> int:
    """Print the table; 1 when a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    args = parser.parse_args()
    ours, theirs = measure(blockbuster=False), measure(blockbuster=True)
    missed = 0
    print(f"{'call':32} {'truasync':>9} {'blockbuster':>12} {'target':>8}")
    for name, ratio in ours.items():
        target = OFF_LOOP_TARGET if "off-loop" in name else ON_LOOP_TARGET
        peer = f"{theirs[name]:.2f}" if name in theirs else "raises"
        missed += ratio > target
        print(f"{name:32} {ratio:>8.2f}x {peer:>11}x {'<= ' + str(target):>8}")
    if args.json:
        args.json.write_text(json.dumps({"truasync": ours, "blockbuster": theirs}, indent=2))
    return int(missed > 0)


if __name__ == "__main__":
    raise SystemExit(main())
