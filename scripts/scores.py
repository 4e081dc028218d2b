"""Score the plugin on ../shared and compare with the floor in .ci/floor.toml.

    python scripts/scores.py [--python PYTHON ...] [--only corpus|postgrest|story] [--jobs N]

Exit status 1 where a score is below the floor. Where ../shared is absent (a clone of a user has
none), the scores that need it are skipped with a word.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import subprocess
import sys
import tempfile
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
FLOOR = tomllib.loads((ROOT / ".ci" / "floor.toml").read_text())


def corpus(python: str) -> list[str]:
    """Return what is below the floor."""
    script = SHARED / "corpus" / "run_corpus.py"
    if not script.exists():
        print("corpus: skipped, ../shared is not here")
        return []
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "out.json")
        command = [sys.executable, str(script), "--tool", "truasync", "--python", python]
        command += ["--json", str(out)]
        told = subprocess.STDOUT
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=told, text=True, check=False)
        print(done.stdout, flush=True)  # whole: another Python may be scored beside it
        done.check_returncode()
        result: dict[str, Any] = json.loads(out.read_text())
    total = result["total"]
    floor = FLOOR["corpus"]
    low = [
        f"corpus {python}: {name} {found}/{of} is below {floor[name]}"
        for name in ("block", "offload", "site")
        for found, of in [total[name]]
        if found < floor[name] * of
    ]
    if total["false_positives"][0] > floor["false_positives"]:
        low.append(f"corpus {python}: {total['false_positives'][0]} false positives")
    if total["crashed"] > floor["crashed"]:
        low.append(f"corpus {python}: {total['crashed']} cases crashed")
    if left_out := result["left_out"]:
        print(f"corpus {python}: left out {sorted(left_out)}")
    return low


def postgrest(python: str) -> list[str]:
    """Return what is below the floor."""
    script = SHARED / "postgrest" / "judge.py"
    if not script.exists():
        print("postgrest: skipped, ../shared is not here")
        return []
    command = [python, str(script), "--app", "judge_app:app", "--path", "tests/supabase"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    last = done.stdout.strip().rpartition("\n")[2]
    print(f"postgrest: {last}")
    found = re.fullmatch(r"(\d+) of (\d+).*", last)
    if found is None:
        return [f"postgrest: no score: {done.stdout[-500:]}{done.stderr[-500:]}"]
    passed, cases = map(int, found.groups())
    share = FLOOR["postgrest"]["share"]
    return [] if passed >= share * cases else [f"postgrest: {passed} of {cases} is below {share}"]


def story(python: str) -> list[str]:
    """Return what is below the floor: the true client's gain, and the plugin's word on both."""
    benchmark = ROOT / "examples" / "contest_agent" / "benchmark.py"
    done = subprocess.run(
        [python, str(benchmark), "--check"], capture_output=True, text=True, check=False
    )
    print(done.stdout)
    low = [] if done.returncode == 0 else [f"story: benchmark.py --check failed {done.stderr}"]
    for mode in ("fail", "warn", "raise"):
        command = [python, "-m", "pytest", "-p", "no:cacheprovider", "--truasync"]
        command += [f"--truasync-mode={mode}", "examples/contest_agent/test_true_client.py"]
        clean = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if clean.returncode != 0 or "truasync: no violations" not in clean.stdout:
            low.append(
                f"story: the true client is not clean in mode {mode}: {clean.stdout[-2000:]}"
            )
    return low


SCORES = {"corpus": corpus, "postgrest": postgrest, "story": story}


def main() -> int:
    """Print the scores; 1 when one is below its floor."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", action="append", help="interpreter with the plugin; repeatable")
    parser.add_argument("--only", choices=SCORES, action="append")
    parser.add_argument("--jobs", type=int, default=1, help="scores taken at once (default: 1)")
    args = parser.parse_args()
    todo = list(itertools.product(args.python or [sys.executable], args.only or SCORES))
    with ThreadPoolExecutor(args.jobs) as pool:
        low = [*itertools.chain(*pool.map(lambda one: SCORES[one[1]](one[0]), todo))]
    for line in low:
        print(f"BELOW THE FLOOR: {line}")
    return int(bool(low))


if __name__ == "__main__":
    raise SystemExit(main())
