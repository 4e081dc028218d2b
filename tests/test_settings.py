from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from pytest_truasync._model import CallSite, Permission
from pytest_truasync._options import is_asked
from pytest_truasync._rules import RULES, is_health, select
from pytest_truasync._settings import Settings, permissions_of, settings_from

pytest_plugins = ("pytester",)

HEALTH = frozenset(filter(is_health, RULES))
SWITCHES = """
import pytest
from pytest_truasync import _options, _settings

def pytest_addoption(parser):
    _options.add_options(parser)

def pytest_configure(config):
    config.addinivalue_line("markers", _options.MARKER_LINE)
    asked = _options.is_asked(config)  # else the plugin reads nothing, and refuses nothing
    try:
        settings = _settings.settings_from(config)
    except pytest.UsageError:
        assert asked
        raise
    assert asked or settings == _settings.Settings()

def pytest_collection_modifyitems(items):
    for item in items:
        _settings.permissions_of(item)
"""
ALONE = ("-p", "no:truasync", "-p", "no:asyncio", "-p", "switches")
Configure = Callable[..., pytest.Config]


@pytest.fixture
def configure(pytester: pytest.Pytester) -> Configure:
    """Return a Config with these options; the plugin itself is left out."""
    pytester.syspathinsert()
    pytester.makepyfile(switches=SWITCHES)

    def configured(*args: str, ini: str = "", toml: str = "") -> pytest.Config:
        if ini:
            pytester.makeini(f"[pytest]\n{ini}")
        if toml:
            pytester.makepyprojecttoml(toml)
        return pytester.parseconfig(*ALONE, *args)

    return configured


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(pytest.UsageError) as error:
        call()
    return str(error.value)


class TestSwitches:
    def test_defaults(self, configure: Configure) -> None:
        assert settings_from(configure()) == Settings()
        assert not is_asked(configure())

    @pytest.mark.parametrize(
        ("ini", "args", "enabled"),
        [
            ("", [], False),
            ("", ["--truasync"], True),
            ("truasync = true", [], True),
            ("truasync = false", ["--truasync"], True),
            ("truasync = true", ["--no-truasync"], False),
            ("", ["--truasync", "--no-truasync"], False),
            ("", ["--no-truasync", "--truasync"], False),
        ],
    )
    def test_on_and_off(
        self, configure: Configure, ini: str, args: Sequence[str], enabled: bool
    ) -> None:
        assert settings_from(configure(*args, ini=ini)).enabled is enabled

    def test_the_switch_takes_no_value(
        self, configure: Configure, pytester: pytest.Pytester
    ) -> None:
        pytester.mkdir("tests")
        config = configure("--truasync", "tests")
        assert config.args == ["tests"]
        assert settings_from(config).enabled

    def test_all_on_the_command_line(self, configure: Configure, pytester: pytest.Pytester) -> None:
        config = configure(
            "--truasync",
            "--truasync-mode=raise",
            "--truasync-select=TRU2,cpu-stall",
            "--truasync-select",
            "TRU310",
            "--truasync-ignore=blocking-sleep, TRU24",
            "--truasync-report=json:out.json",
            "--truasync-report=json:/tmp/a:b.json",
            "--truasync-offload=strict",
            "--truasync-stall-threshold=250ms",
            "--truasync-packages=mine, my.lib",
            "--truasync-require-reason",
            "--truasync-strict-allow",
            "--truasync-rules",
            "--truasync-explain=blocking-sleep",
        )
        assert settings_from(config) == Settings(
            enabled=True,
            mode="raise",
            selected=(select(["TRU2", "TRU401", "TRU310"]) | HEALTH) - {"TRU251", "TRU240"},
            reports=(("json", pytester.path / "out.json"), ("json", Path("/tmp/a:b.json"))),
            require_reason=True,
            strict_allow=True,
            strict_offload=True,
            packages=("mine", "my.lib"),
            stall_threshold_s=0.25,
            show_rules=True,
            explain="TRU251",
        )

    INI = """
truasync = true
truasync_mode = warn
truasync_select = TRU2, TRU3
    TRU401
truasync_ignore = TRU9
truasync_report = json:out.json
truasync_allow =
    TRU251 in app/feed.py::load  # legacy, see #12
    time.sleep, blocking-open in scripts
truasync_offload = strict
truasync_stall_threshold = 0.25
truasync_packages = mine my.lib
truasync_require_reason = false
truasync_strict_allow = true
"""
    OLD_TOML = """
[tool.pytest.ini_options]
truasync = true
truasync_mode = "warn"
truasync_select = ["TRU2", "TRU3", "TRU401"]
truasync_ignore = ["TRU9"]
truasync_report = ["json:out.json"]
truasync_allow = [
    "TRU251 in app/feed.py::load  # legacy, see #12",
    "time.sleep, blocking-open in scripts",
]
truasync_offload = "strict"
truasync_stall_threshold = 0.25
truasync_packages = ["mine", "my.lib"]
truasync_require_reason = false
truasync_strict_allow = true
"""
    TOML = OLD_TOML.replace("[tool.pytest.ini_options]", "[tool.pytest]")

    @pytest.mark.parametrize(
        "kind",
        [
            "ini",
            "old toml",
            pytest.param(
                "toml",
                marks=pytest.mark.skipif(
                    pytest.version_tuple < (9, 2), reason="no native table, or no number or text"
                ),
            ),
        ],
    )
    def test_all_in_a_file(
        self, configure: Configure, pytester: pytest.Pytester, kind: str
    ) -> None:
        if kind == "ini":
            config = configure(ini=self.INI)
        else:
            config = configure(toml=self.TOML if kind == "toml" else self.OLD_TOML)
        file = CallSite("tox.ini" if kind == "ini" else "pyproject.toml", 0)
        first = Permission(
            kind="ini",
            what=("TRU251",),
            reason="legacy, see #12",
            origin="truasync_allow line 1",
            path_glob="app/feed.py",
            function="load",
            site=file,
        )
        second = Permission(
            kind="ini",
            what=("time.sleep", "blocking-open"),
            reason="",
            origin="truasync_allow line 2",
            path_glob="scripts",
            site=file,
        )
        assert settings_from(config) == Settings(
            enabled=True,
            mode="warn",
            selected=select(["TRU2", "TRU3", "TRU401"]),
            reports=(("json", pytester.path / "out.json"),),
            allow=(first, second),
            strict_allow=True,
            strict_offload=True,
            packages=("mine", "my.lib"),
            stall_threshold_s=0.25,
        )

    def test_the_command_line_wins(self, configure: Configure) -> None:
        config = configure(
            "--truasync-mode=fail",
            "--truasync-select=TRU4",
            "--truasync-ignore=TRU402",
            "--truasync-offload=judge",
            "--truasync-stall-threshold=1s",
            ini=self.INI,
        )
        settings = settings_from(config)
        assert settings.mode == "fail"
        assert settings.selected == {"TRU401"} | HEALTH
        assert not settings.strict_offload
        assert settings.stall_threshold_s == 1

    def test_all_may_be_ignored(self, configure: Configure) -> None:
        assert settings_from(configure("--truasync-ignore=TRU")).selected == frozenset()

    @pytest.mark.parametrize(
        ("text", "seconds"),
        [("100ms", 0.1), ("0.1s", 0.1), ("0.1", 0.1), (" 5 ms ", 0.005), ("1e-1", 0.1)],
    )
    def test_thresholds(self, configure: Configure, text: str, seconds: float) -> None:
        settings = settings_from(configure(f"--truasync-stall-threshold={text}"))
        assert settings.stall_threshold_s == pytest.approx(seconds)

    @pytest.mark.parametrize(
        ("arg", "parts"),
        [
            ("--truasync-mode=fial", ["--truasync-mode", "'fial'", "'fail'"]),
            ("--truasync-mode=zzz", ["'fail', 'warn', 'raise'"]),
            ("--truasync-offload=strickt", ["--truasync-offload", "'strict'"]),
            ("--truasync-select=TRU25x", ["--truasync-select", "'TRU25x'", "'TRU251'"]),
            ("--truasync-ignore=lazy-lod", ["--truasync-ignore", "'lazy-load'"]),
            ("--truasync-report=jsn:x", ["--truasync-report", "'jsn'", "'json'"]),
            ("--truasync-report=json", ["--truasync-report", "'json'", "json:out.json"]),
            ("--truasync-report=json:", ["'json:'"]),
            ("--truasync-explain=TRU27", ["--truasync-explain", "TRU270, TRU271"]),
            ("--truasync-explain=TRU2510", ["--truasync-explain", "'TRU2510'", "'TRU251'"]),
            ("--truasync-packages=my-lib", ["--truasync-packages", "'my-lib'"]),
            ("--truasync-stall-threshold=1min", ["--truasync-stall-threshold", "'1min'"]),
            ("--truasync-stall-threshold=0", ["'0'"]),
            ("--truasync-stall-threshold=1.2.3", ["'1.2.3'"]),
            ("-otruasync_mode=fial", ["truasync_mode", "'fial'", "'fail'"]),
            ("-otruasync_select=TRU25x", ["truasync_select", "'TRU25x'"]),
            ("-otruasync=perhaps", ["truasync", "'perhaps'"]),
            ("-otruasync_allow=TRU251", ["truasync_allow line 1", "'TRU251'", "WHAT in PATH"]),
            ("-otruasync_allow=TRU25x in app", ["line 1", "'TRU25x'", "'TRU251'", "in app"]),
            ("-otruasync_allow=sleep in app", ["line 1", "'sleep'", "'time.sleep'"]),
            ("-otruasync_allow=TRU9 in app", ["line 1", "cannot be allowed"]),
            ("-otruasync_allow=in app", ["line 1", "has no WHAT"]),
            ("-otruasync_allow=open inside", ["line 1", "'open inside'"]),
            ("-otruasync_allow=, in app", ["line 1", "has no WHAT"]),
            ("-otruasync_allow=open in # x", ["line 1", "has no PATH-GLOB"]),
            ("-otruasync_allow=open in app::", ["line 1", "has no FUNCTION"]),
            ("-otruasync_allow=*, open in app", ["line 1", "'*'"]),
        ],
    )
    def test_a_typo_is_refused(self, configure: Configure, arg: str, parts: Sequence[str]) -> None:
        message = refusal(lambda: settings_from(configure(arg)))
        assert [part for part in parts if part not in message] == []

    def test_a_line_is_named_by_its_number(self, configure: Configure) -> None:
        config = configure(ini="truasync_allow =\n  open in a\n  oops\n")
        assert "truasync_allow line 2: 'oops'" in refusal(lambda: settings_from(config))

    @pytest.mark.parametrize(
        ("line", "what", "glob", "function", "reason"),
        [
            ("* in **", (), "**", "", ""),
            ("open in a b/c.py # why # not", ("open",), "a b/c.py", "", "why # not"),
            ("open in in/app::A::f", ("open",), "in/app", "A.f", ""),
            ("open  in  a#b.py  #why", ("open",), "a#b.py", "", "why"),
            ("TRU2,open in a  #", ("TRU2", "open"), "a", "", ""),
        ],
    )
    def test_lines(
        self,
        configure: Configure,
        line: str,
        what: tuple[str, ...],
        glob: str,
        function: str,
        reason: str,
    ) -> None:
        (one,) = settings_from(configure("-o", f"truasync_allow={line}")).allow
        assert (one.what, one.path_glob, one.function, one.reason) == (what, glob, function, reason)

    def test_a_missing_folder_is_refused_before_the_run(self, configure: Configure) -> None:
        arg = "--truasync-report=json:nowhere/out.json"
        assert "nowhere" in refusal(lambda: settings_from(configure("--truasync", arg)))
        assert settings_from(configure(arg)).reports

    def test_a_required_reason(self, configure: Configure) -> None:
        lines = "truasync_allow =\n  open in a  # why\n  open in b\n"
        config = configure("--truasync-require-reason", ini=lines)
        assert refusal(lambda: settings_from(config)).startswith("truasync_allow line 2: ")


class TestMarkers:
    @pytest.fixture
    def collect(self, pytester: pytest.Pytester) -> Callable[[str], list[pytest.Item]]:
        def collected(source: str) -> list[pytest.Item]:
            module = pytester.getmodulecol(f"import pytest\n{source}", ALONE_UNCHECKED)
            return pytester.genitems([module])

        return collected

    def test_on_test_class_and_module(self, collect: Callable[[str], list[pytest.Item]]) -> None:
        items = collect("""
allow = pytest.mark.allow_blocking
pytestmark = allow("TRU2", reason=" all of it ")

@allow
def test_bare(): ...

@allow("time.sleep", "open", reason="twice")
class TestIt:
    @allow("lazy-load", reason="x")
    def test_one(self): ...
    def test_two(self): ...
""")
        module = Permission("marker", ("TRU2",), "all of it", "NAME.py")
        group = Permission("marker", ("time.sleep", "open"), "twice", "NAME.py::TestIt")
        expected = [
            [Permission("marker", (), "", "NAME.py::test_bare"), module],
            [Permission("marker", ("lazy-load",), "x", "NAME.py::TestIt::test_one"), group, module],
            [group, module],
        ]
        for item, permissions in zip(items, expected, strict=True):
            found = permissions_of(item)
            name = item.nodeid.partition(".py")[0]
            assert [one.key for one in found] == [
                one.key.replace("NAME", name) for one in permissions
            ]
            assert [one.reason for one in found] == [one.reason for one in permissions]
        assert [one.site.line for one in permissions_of(items[1]) if one.site] == [11, 9, 1]
        assert [one.site.function for one in permissions_of(items[1]) if one.site] == [
            "TestIt.test_one",
            "TestIt",
            "",
        ]

    def test_a_parametrized_test_has_one_permission(
        self, collect: Callable[[str], list[pytest.Item]]
    ) -> None:
        items = collect("""
one = pytest.param(2, marks=pytest.mark.allow_blocking("open"))

@pytest.mark.allow_blocking("TRU2")
@pytest.mark.parametrize("number", [1, one])
def test_it(number): ...
""")
        first, second = (tuple(one.origin for one in permissions_of(item)) for item in items)
        assert [origin.partition("::")[2] for origin in first] == ["test_it"]
        assert sorted(origin.partition("::")[2] for origin in second) == ["test_it", "test_it[2]"]

    @pytest.mark.parametrize(
        ("mark", "parts"),
        [
            ('("TRU25x")', ["'TRU25x'", "'TRU251'"]),
            ('("blocking-slep")', ["'blocking-slep'", "'blocking-sleep'"]),
            ('("sleep")', ["'sleep'", "'time.sleep'"]),
            ('("TRU2", raeson="x")', ["no argument 'raeson'", "'reason'"]),
            ('("TRU2", because="x")', ["no argument 'because'"]),
            ('("TRU2", reason=3)', ["3 is not a string"]),
            ("(251)", ["251 is not a string"]),
            ('(["TRU2"])', ["['TRU2'] is not a string"]),
            ('("TRU251, TRU281")', ["'TRU251, TRU281'", "several words"]),
            ('("TRU251", "it is known")', ["'it is known'", "reason="]),
        ],
    )
    def test_a_typo_is_refused(
        self, collect: Callable[[str], list[pytest.Item]], mark: str, parts: Sequence[str]
    ) -> None:
        (item,) = collect(f"@pytest.mark.allow_blocking{mark}\ndef test_it(): ...")
        message = refusal(lambda: permissions_of(item))
        assert [part for part in [item.nodeid, *parts] if part not in message] == []

    def test_a_required_reason(self, collect: Callable[[str], list[pytest.Item]]) -> None:
        (item,) = collect("@pytest.mark.allow_blocking('TRU2', reason=' ')\ndef test_it(): ...")
        assert permissions_of(item)
        message = refusal(lambda: permissions_of(item, require_reason=True))
        assert message.startswith(f"{item.nodeid}: a permission needs a reason")

    def test_an_item_of_another_plugin(
        self, collect: Callable[[str], list[pytest.Item]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (item,) = collect("@pytest.mark.allow_blocking\ndef test_it(): ...")
        monkeypatch.setattr(item, "reportinfo", None)
        (one,) = permissions_of(item)
        assert one.site is not None
        assert one.site.line == 1


ALONE_UNCHECKED = ("-p", "no:truasync", "-p", "no:asyncio")


def test_a_typo_stops_the_run_before_any_test(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(switches=SWITCHES)
    pytester.makepyfile("""
        import pytest

        def test_first(): ...

        @pytest.mark.allow_blocking("blocking-slep")
        def test_second(): ...
    """)
    result = pytester.runpytest_subprocess(*ALONE, "--strict-markers")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*test_second: allow_blocking: no rule 'blocking-slep'*"])
    assert "passed" not in result.stdout.str()
    result = pytester.runpytest_subprocess(*ALONE, "--truasync-mode=fial")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--truasync-mode: 'fial' is unknown; did you mean 'fail'?"])


def test_importing_the_options_imports_nothing_else() -> None:
    code = """
import sys, pytest
before = set(sys.modules)
import pytest_truasync._options
own = ("pytest_truasync", "contextvars", "_contextvars")
print(*sorted(name for name in set(sys.modules) - before if not name.startswith(own)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
