"""The fixtures, as a user's suite meets them: pytester runs it in a process of its own."""

import json
from pathlib import Path

import pytest

INI = """
[pytest]
addopts = -p no:cacheprovider -p no:randomly -p no:truasync
filterwarnings = error
asyncio_default_fixture_loop_scope = function
"""

ROUND_TRIP = """
    await supabase_client.insert("items", {"id": 1, "name": "pen"})
    assert await supabase_client.select("items") == [{"id": 1, "name": "pen"}]
    assert supabase_mock.rows("items") == [{"id": 1, "name": "pen"}]
"""

SCHEMA = """
import pytest
from pytest_truasync.supabase import Table

@pytest.fixture(scope="session")
def supabase_schema():
    columns = {"id": "int primary key", "name": "text not null"}
    return [Table("items", columns)]
"""


@pytest.fixture(autouse=True)
def ini(pytester: pytest.Pytester) -> None:
    pytester.makeini(INI)


def run(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    return pytester.runpytest_subprocess(*arguments, timeout=240)


@pytest.mark.parametrize("mode", ["auto", "strict"])
def test_pytest_asyncio(pytester: pytest.Pytester, mode: str) -> None:
    marker = "@pytest.mark.asyncio" if mode == "strict" else ""
    pytester.makeconftest(SCHEMA)
    pytester.makepyfile(
        f"""
import pytest

{marker}
async def test_it(supabase_client, supabase_mock):{ROUND_TRIP}
{marker}
async def test_again(supabase_client, supabase_mock):{ROUND_TRIP}
"""
    )
    run(pytester, f"--asyncio-mode={mode}").assert_outcomes(passed=2)


def test_anyio_on_asyncio_and_trio(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(SCHEMA)
    pytester.makepyfile(
        f"""
import pytest

@pytest.mark.anyio
async def test_it(supabase_client, supabase_mock):{ROUND_TRIP}
"""
    )
    run(pytester).assert_outcomes(passed=2)


def test_sync_tests_too(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
import asyncio

def test_it(supabase_client, supabase_mock):
    supabase_mock.create_table("items", {"id": "int primary key"}, rows=[{"id": 7}])
    assert asyncio.run(supabase_client.select("items")) == [{"id": 7}]
"""
    )
    run(pytester).assert_outcomes(passed=1)


def test_the_client_is_closed_after_the_test(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
import asyncio
import pytest

kept = []

@pytest.mark.asyncio
async def test_open(supabase_client, supabase_mock):
    await supabase_client.request("GET", "/auth/v1/health")
    await supabase_mock.client().request("GET", "/auth/v1/health")
    kept.append(supabase_client)
    assert not supabase_client.closed

@pytest.mark.asyncio
async def test_closed():
    assert kept[0].closed
    with pytest.raises(RuntimeError):
        await kept[0].select("items")
"""
    )
    run(pytester).assert_outcomes(passed=2)


def test_rows_are_put_back(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(
        """
import pytest

@pytest.fixture(scope="session")
def supabase_schema(pytestconfig):
    return pytestconfig.rootpath / "schema.json"
"""
    )
    pytester.path.joinpath("schema.json").write_text(
        json.dumps(
            {
                "tables": {
                    "items": {
                        "columns": {"id": "bigint", "name": "text"},
                        "primary_key": ["id"],
                        "rows": [{"id": 1, "name": "pen"}],
                    }
                }
            }
        ),
        "utf-8",
    )
    pytester.makepyfile(
        """
import pytest

@pytest.mark.asyncio
@pytest.mark.parametrize("n", range(3))
async def test_it(supabase_client, supabase_mock, n):
    assert supabase_mock.rows("items") == [{"id": 1, "name": "pen"}]
    await supabase_client.delete("items", filters={"id": 1})
    supabase_mock.policies.protect("items")
    supabase_mock.rpc("f")(lambda: 1)
    supabase_mock.storage.create_bucket("b")
    supabase_mock.auth.add_user("a@example.com")
    if n == 1:
        supabase_mock.create_table("more", {"id": "int"})

@pytest.mark.asyncio
async def test_after(supabase_client, supabase_mock):
    assert supabase_mock.store.tables == ("items",)
    assert len(await supabase_client.select("items")) == 1
    assert supabase_mock.auth.users == []
"""
    )
    run(pytester).assert_outcomes(passed=4)


def test_a_module_may_have_its_own_tables(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(SCHEMA)
    test = """
import pytest
from pytest_truasync.supabase import Table

@pytest.fixture{scope}
def supabase_schema():
    return [Table({name!r}, {{"id": "int"}})]

@pytest.mark.parametrize("n", range(10))
def test_it(supabase_mock, n):
    assert supabase_mock.store.tables == ({name!r},)
"""
    pytester.makepyfile(
        test_a="def test_it(supabase_mock): assert supabase_mock.store.tables == ('items',)",
        test_b=test.format(scope='(scope="module")', name="mine"),
        test_c=test.format(scope="", name="anew"),
        test_d="def test_it(supabase_mock): assert supabase_mock.store.tables == ('items',)",
    )
    run(pytester).assert_outcomes(passed=22)


def test_nothing_is_imported_before_it_is_used(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
import sys

def test_it(request):
    assert request.config.pluginmanager.has_plugin("truasync_supabase")
    wing = {name for name in sys.modules if name.startswith("pytest_truasync.supabase.")}
    assert wing == {"pytest_truasync.supabase.fixtures"}
    assert not {"httpx", "httpcore", "jwt"} & set(sys.modules)
"""
    )
    pytester.makeini("[pytest]\naddopts = -p no:cacheprovider -p no:truasync")
    # These plugins import these themselves.
    others = ("respx", "anyio", "asyncio", "pytest_httpx", "trio")
    off = [word for name in others for word in ("-p", f"no:{name}")]
    run(pytester, *off).assert_outcomes(passed=1)


def test_it_can_be_switched_off(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_it(supabase_mock): ...")
    result = run(pytester, "-p", "no:truasync_supabase")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*fixture 'supabase_mock' not found*"])


def test_the_environment(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPABASE_URL", "https://real.supabase.co")
    monkeypatch.setenv("SUPABASE_SERVICE_ROLE_KEY", "real-key")
    pytester.makepyfile(
        """
import os
import httpx
import pytest
from pytest_truasync.supabase import RequestRefusedError, SupabaseAsync

@pytest.mark.asyncio
async def test_named(supabase_env, supabase_url, supabase_key, supabase_service_key):
    assert os.environ["SUPABASE_URL"] == supabase_url == supabase_env.url
    assert os.environ["SUPABASE_KEY"] == os.environ["SUPABASE_ANON_KEY"] == supabase_key
    assert os.environ["SUPABASE_SERVICE_ROLE_KEY"] == supabase_service_key
    supabase_env.create_table("items", {"id": "int"})
    async with SupabaseAsync(os.environ["SUPABASE_URL"], os.environ["SUPABASE_KEY"]) as app:
        assert await app.select("items") == []

@pytest.mark.asyncio
async def test_real_keys_stay_here(supabase_mock):
    assert os.environ["SUPABASE_URL"] == "https://real.supabase.co"
    async with SupabaseAsync(os.environ["SUPABASE_URL"], "real-key") as app:
        with pytest.raises(RequestRefusedError, match="GET https://real.supabase.co/rest/v1/items"):
            await app.select("items")
    assert "real-key" not in repr(supabase_mock.calls)

def test_put_back():
    assert os.environ["SUPABASE_URL"] == "https://real.supabase.co"
    assert "SUPABASE_KEY" not in os.environ
"""
    )
    run(pytester).assert_outcomes(passed=3)


def test_a_url_and_key_of_the_app(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(
        """
import pytest

@pytest.fixture(scope="session")
def supabase_url():
    return "https://db.example.com/supabase/"

@pytest.fixture(scope="session")
def supabase_key():
    return "sb_publishable_mine"
"""
    )
    pytester.makepyfile(
        """
import httpx
import pytest

@pytest.mark.asyncio
async def test_it(supabase_client, supabase_mock):
    supabase_mock.create_table("items", {"id": "int"}, rows=[{"id": 1}])
    assert await supabase_client.select("items") == [{"id": 1}]
    assert supabase_mock.calls[0].path == "/rest/v1/items?select=%2A"
    with pytest.raises(AssertionError):
        httpx.get("https://db.example.com/other")
"""
    )
    run(pytester).assert_outcomes(passed=1)


def test_with_xdist_and_in_random_order(pytester: pytest.Pytester) -> None:
    pytester.makeini(INI.replace("-p no:randomly", "-n 2"))
    pytester.makeconftest(SCHEMA)
    pytester.makepyfile(
        f"""
import pytest

@pytest.mark.asyncio
@pytest.mark.parametrize("n", range(10))
async def test_it(supabase_client, supabase_mock, n):{ROUND_TRIP}
"""
    )
    run(pytester).assert_outcomes(passed=10)


def test_the_wing_never_meets_the_detector() -> None:
    wing = Path(__file__).parents[2] / "pytest_truasync" / "supabase"
    for path in wing.glob("*.py"):
        text = path.read_text("utf-8")
        assert "pytest_truasync._" not in text, path
        assert "import pytest\n" not in text or path.name == "fixtures.py", path
        assert "import respx" not in text or path.name in ("_routes.py", "_mock.py"), path


def test_public_names() -> None:
    import pytest_truasync.supabase as wing

    assert sorted(wing.__all__) == wing.__all__ == dir(wing)
    for name in wing.__all__:
        assert getattr(wing, name) is not None
    with pytest.raises(AttributeError, match="nope"):
        wing.nope  # noqa: B018 the access is the test
