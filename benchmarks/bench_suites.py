"""What the plugin costs the suites of ../shared/suites, on a machine whose speed changes.

    python benchmarks/bench_suites.py --work DIR --python PYTHON [--suites anyio] [--rounds 9]

`run_suites.py` runs plain and with the plugin one after the other; on a virtual machine whose
processors others use, too, the two then differ by 20 % for reasons of their own. Here both run at
once and on the same processor, which the system hands from one to the other every few milliseconds,
so that each has the same share of good and bad moments; and each in a network of its own, where the
system allows it, since the server of httpx's tests has a port that is always the same.

Told is CPU time (user and system, of the process and its children) to that of the plain run at its
side: the geometric mean of the rounds and its standard error. It needs the project's shared folder,
which a clone has not, and Linux.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import threading
import tomllib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SUITES = ROOT.parent / "shared" / "suites"
TOOLS = ("plain", "truasync-warn")


def go_apart(processor: int) -> None:
    """Make all that the calling thread starts run on one processor, in a network of its own."""
    os.sched_setaffinity(0, {processor})
    try:
        os.unshare(os.CLONE_NEWNET)
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    except (AttributeError, OSError) as error:  # before Python 3.12, or not as root
        print(f"  in the network of all others, which httpx cannot be: {error}", flush=True)


def run_beside(suite: Any, tool: str, number: int) -> dict[str, Any]:
    """Run a suite, in a copy of its own."""
    suite.src = suite.root / f"src-{tool}"
    found: dict[str, Any] = suite.run(tool, f"beside{number}")
    return found


def compare(suites: Mapping[str, Any], rounds: int, processor: int) -> list[float]:
    """Return the ratios of CPU time; the first round compiles the bytecode and is left out."""
    ratios = []
    here = threading.Barrier(len(TOOLS))

    def begin() -> None:
        go_apart(processor)
        here.wait()  # a thread for each tool, also where the first one is soon done

    with ThreadPoolExecutor(len(TOOLS), initializer=begin) as pool:
        for number in range(rounds + 1):
            order = TOOLS if number % 2 else TOOLS[::-1]
            jobs = {tool: pool.submit(run_beside, suites[tool], tool, number) for tool in order}
            plain, watched = (jobs[tool].result() for tool in TOOLS)
            if len(watched["outcomes"]) < len(plain["outcomes"]) or watched["rc"] != plain["rc"]:
                print(f"  round {number}: not the same outcomes, left out", flush=True)
            elif number:
                ratios.append(watched["cpu"] / plain["cpu"])
    return ratios


def main() -> int:
    """Print a line for each suite, and the median."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--work", required=True, help="folder for tests and environments")
    parser.add_argument("--python", default=sys.executable, help="the interpreter under test")
    parser.add_argument("--suites", help="comma-separated names (default: all)")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--processor", type=int, default=0)
    parser.add_argument("--json", type=Path, help="where to write all ratios")
    args = parser.parse_args()
    if not SUITES.exists() or not hasattr(os, "sched_setaffinity"):
        print("bench_suites: skipped, it needs ../shared/suites and Linux")
        return 0
    sys.path.insert(0, str(SUITES))
    from run_suites import Suite

    table = tomllib.loads((SUITES / "suites.toml").read_text())
    given = argparse.Namespace(
        work=args.work, python=args.python, truasync=str(ROOT), truasync_args="", prefix=""
    )
    found: dict[str, list[float]] = {}
    for name in args.suites.split(",") if args.suites else table:
        suites = {tool: Suite(name, table[name], given) for tool in TOOLS}
        if not suites["plain"].set_up():
            return 1
        ratios = compare(suites, args.rounds, args.processor)
        if not ratios:
            print(f"{name:12} no round came to its end: see the logs in {suites['plain'].root}")
            return 1
        found[name] = ratios
        mean = statistics.geometric_mean(ratios)
        error = statistics.stdev(ratios) / len(ratios) ** 0.5 if len(ratios) > 1 else 0.0
        print(f"{name:12} {mean:.3f} x +- {error:.3f}, {len(ratios)} rounds", flush=True)
    means = [statistics.geometric_mean(ratios) for ratios in found.values()]
    print(f"median {statistics.median(means):.3f} x, worst {max(means):.3f} x")
    if args.json:
        args.json.write_text(json.dumps(found, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
