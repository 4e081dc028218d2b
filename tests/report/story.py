"""One run for all the reports: each shape that a finding can have, once."""

from __future__ import annotations

from pytest_truasync._model import CallSite, Observation, Permission, PoolUse, RunInfo
from pytest_truasync._verdict import Policy, judge, merge, unused, with_violations

MS = 1_000_000

SLEEP = CallSite("app/feed.py", 42, "load_feed", "time.sleep(0.12)")
DEEP = CallSite(
    "app/services/a rather deep folder/with_long_names/upstream_client.py",
    142,
    "UpstreamClient.load_everything",
    "return requests.get(url, timeout=self.timeout, headers=self.headers, verify=self.verify)",
)
SENT = CallSite(
    "app/fake_client.py",
    31,
    "FakeClient.fetch",
    "return await loop.run_in_executor(self._pool, self._get, url)",
)
INNER = CallSite(
    "app/fake_client.py", 18, "FakeClient._get", "return requests.get(url, timeout=30)"
)
LIBRARY = CallSite(
    "/venv/site-packages/starlette/templating.py", 99, "get_template", "os.stat(path)", "starlette"
)
STORY = "tests/test_contests.py::test_hundred"
POOL = PoolUse(
    key="ThreadPoolExecutor at app/fake_client.py:12",
    name="ThreadPoolExecutor(max_workers=3)",
    capacity=3,
    calls=100,
    peak_running=3,
    peak_queued=97,
    longest_wait_ns=14_200 * MS,
    total_wait_ns=700_000 * MS,
    site=SENT,
)
OTHER_POOLS = (
    PoolUse("asyncio", "asyncio default executor", 32, 2, 2, 0),
    PoolUse("anyio", "anyio's limiter", 40, 60, 40, 20, 31 * MS, 500 * MS, SLEEP),
    PoolUse("bare", "threading.Thread", 0, 1, 1, 0, 0, 0, SENT),
)

OBSERVATIONS = (
    Observation(
        "TRU251",
        "time.sleep",
        "time.sleep",
        SLEEP,
        total_ns=120_400_000,
        longest_ns=120_400_000,
        test="tests/test_feed.py::test_load",
    ),
    *(
        Observation(
            "TRU210",
            "requests.get",
            "socket.socket.recv_into",
            DEEP,
            count=3,
            total_ns=320 * MS,
            longest_ns=200 * MS,
            test=f"tests/test_feed.py::test_upstream[case {number}]",
        )
        for number in range(5)
    ),
    Observation(
        "TRU310",
        "requests.get",
        "socket.socket.recv_into",
        SENT,
        INNER,
        via="loop.run_in_executor",
        count=100,
        total_ns=50_100 * MS,
        longest_ns=520 * MS,
        test=STORY,
        pool=POOL.key,
    ),
    Observation(
        "TRU303",
        POOL.name,
        POOL.name,
        SENT,
        via="loop.run_in_executor",
        count=97,
        total_ns=700_000 * MS,
        longest_ns=14_200 * MS,
        test=STORY,
        pool=POOL.key,
    ),
    Observation(
        "TRU240",
        "os.stat",
        "os.stat",
        LIBRARY,
        chain=(CallSite("tests/test_pages.py", 3), CallSite("app/my pages.py", 9), LIBRARY),
        count=2,
        test="tests/test_pages.py::test_home",
    ),
    Observation(
        "TRU302",
        "shrink",
        "open",
        CallSite("app/images.py", 7, "thumbnail", "await asyncio.to_thread(shrink, path)"),
        via="asyncio.to_thread",
        count=3,
        total_ns=12 * MS,
        longest_ns=8 * MS,
        test="tests/test_images.py::test_thumbnail",
    ),
    Observation(
        "TRU290",
        "ssl.SSLContext.load_verify_locations",
        "ssl.SSLContext.load_verify_locations",
        CallSite("app/true_client.py", 20, "TrueClient._client"),
        total_ns=48_230_000,
        longest_ns=48_230_000,
        test=STORY,
    ),
    Observation("TRU903", "probe of input", "", CallSite("", 0), detail="ValueError: no console"),
)
PERMISSIONS = (
    Permission(
        "marker",
        ("TRU251",),
        "the retry sleeps",
        "tests/test_retry.py::test_retry",
        site=CallSite("tests/test_retry.py", 8, "test_retry"),
    ),
    Permission("with", ("blocking-open", "TRU240"), "", "app/settings.py:12"),
    Permission(
        "ini",
        ("time.sleep",),
        "legacy",
        "truasync_allow line 1",
        "app/old/**",
        "load_feed",
        CallSite("pytest.ini", 0),
    ),
)
ALLOWED = Observation(
    "TRU251", "time.sleep", "time.sleep", CallSite("app/old/feed.py", 3, "load_feed"), count=1_234
)
RUN = RunInfo("0.1.0", "3.12.1", "linux", "fail", tests=9, times={"overhead_ms": 12.5})

JUDGED = merge(
    [
        judge([*OBSERVATIONS, ALLOWED], PERMISSIONS[2:], Policy(), [POOL, *OTHER_POOLS]),
        judge([], PERMISSIONS[:2], Policy()),
    ]
)
VERDICT = with_violations(JUDGED, unused(JUDGED.permissions, JUDGED.allowed, full_run=True))
