"""With parts switched off by `-p no:...`, and with each way to capture output."""

from __future__ import annotations

import pytest
from neighbours import need, run

pytest_plugins = ("pytester",)

SOURCE = """
import asyncio
import sys
import time

async def main():
    print("shown")
    sys.stdout.flush()
    print("shown", file=sys.stderr)
    time.sleep(0.001)  # expect: TRU251 time.sleep
    await asyncio.to_thread(time.sleep, 0.001)  # expect: TRU351 time.sleep

def test_it():
    asyncio.run(main())
"""


@pytest.mark.parametrize(
    "options",
    [
        ("-p", "no:faulthandler", "-s"),
        ("-p", "no:capture"),
        ("--capture=sys",),
        ("-p", "no:terminal"),
        ("-p", "no:logging", "-p", "no:unraisableexception", "-p", "no:threadexception"),
        ("-p", "no:asyncio", "-p", "no:anyio"),
        ("--assert=plain", "--import-mode=importlib"),
    ],
    ids=" ".join,
)
def test_same_findings(pytester: pytest.Pytester, options: tuple[str, ...]) -> None:
    ran = run(pytester, {"test_it": SOURCE}, *options, plugins=())
    assert ran.code == 0, ran.out
    assert ran.found == ran.expected, ran.out
    assert ran.left == ((),)


def test_without_us(pytester: pytest.Pytester) -> None:
    need("pytest_asyncio")
    source = """
    import sys
    import time

    async def test_it():
        time.sleep(0.001)
        assert not [name for name in sys.modules if name.startswith("pytest_truasync._detect")]
    """
    ran = run(pytester, {"test_it": source}, truasync=False)
    assert (ran.code, ran.outcomes) == (0, {"passed": 1}), ran.out
    blocked = pytester.runpytest_subprocess(
        "-pno:truasync", "--truasync", "-pno:cacheprovider", "test_it.py"
    )
    assert blocked.ret == pytest.ExitCode.USAGE_ERROR
    assert "--truasync" in blocked.stderr.str()


def test_no_plugin_runs_the_test(pytester: pytest.Pytester) -> None:
    source = """
    import pytest

    @pytest.mark.xfail(strict=True)
    async def test_async():
        pass

    def test_sync():
        pass
    """
    ran = run(pytester, {"test_it": source}, "-pno:asyncio", "-pno:anyio", plugins=())
    ran.check(passed=1, xfailed=1)
