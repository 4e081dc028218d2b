"""TRU9xx: what the plugin says of itself and of the permissions it was given."""

from __future__ import annotations

from pytest_truasync._model import Rule

UNUSED_PERMISSION = Rule(
    code="TRU901",
    name="unused-permission",
    level="warning",
    summary="{target} let nothing through",
    instead="remove it, or mend what it names",
    why=(
        "A permission that nothing needs any more would hide the next blocking call at its place. "
        "It is reported after a full run only: nothing left out, no test failed by itself. Under "
        "truasync_strict_allow = true it fails the run."
    ),
    bad="""\
@pytest.mark.allow_blocking("TRU251", reason="the retry sleeps, issue 41")
async def test_retry() -> None:
    await retry()  # mended since: it awaits asyncio.sleep
""",
    good="""\
async def test_retry() -> None:
    await retry()
""",
)

PERMISSION_WITHOUT_REASON = Rule(
    code="TRU902",
    name="permission-without-reason",
    level="warning",
    summary="{target} gives no reason",
    instead='reason="...", and name the codes that it speaks of',
    why=(
        "A year later nobody knows whether it may go. A reason can be reviewed when it is "
        "written, and checked when it is met again. Under truasync_require_reason = true it "
        "stops the run before the first test."
    ),
    bad="""\
@pytest.mark.allow_blocking
async def test_import() -> None:
    await run_import()
""",
    good="""\
@pytest.mark.allow_blocking("TRU240", reason="the importer runs alone")
async def test_import() -> None:
    await run_import()
""",
)

PROBE_FAILED = Rule(
    code="TRU903",
    name="probe-failed",
    level="warning",
    summary="{target} failed and was switched off",
    instead="report this to pytest-truasync; until then, what the probe watches is not checked",
    why=(
        "The plugin must not break the test that it watches: a probe that raises is switched off "
        "for the rest of the run, and its kind of call goes unseen from then on."
    ),
    bad="""\
class Response(requests.Response):
    __class__ = property(fail)  # a probe looks at the class, and raises
""",
    good="""\
class Response(requests.Response):
    pass
""",
)

PROBE_UNAVAILABLE = Rule(
    code="TRU904",
    name="probe-unavailable",
    level="note",
    summary="{target} is not available here",
    instead="run the suite also where it is available, such as CPython 3.12+ on Linux",
    why=(
        "The platform or the interpreter lacks what the probe needs, so that its kind of call is "
        "not checked in this run."
    ),
    bad="""\
fcntl = None  # Windows has no flock, and so no probe for it
""",
    good="""\
import fcntl
""",
)

FINDINGS_DROPPED = Rule(
    code="TRU905",
    name="findings-dropped",
    level="warning",
    summary="{target} reached its limit, and dropped what came after",
    instead="mend or allow what is listed, then run again to see the rest",
    why=(
        "Memory and time stay bounded: calls at one line are counted in one record, but a run "
        "with too many different lines keeps the first of them only."
    ),
    bad="""\
async def test_generated() -> None:
    for step in generate(100_000):  # each sleeps at a line of its own
        step()
""",
    good="""\
async def test_generated() -> None:
    for step in generate(100_000):
        await step()
""",
)

RULES = (
    UNUSED_PERMISSION,
    PERMISSION_WITHOUT_REASON,
    PROBE_FAILED,
    PROBE_UNAVAILABLE,
    FINDINGS_DROPPED,
)
