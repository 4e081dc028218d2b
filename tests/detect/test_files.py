"""Whose file is it?"""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import os
import site
import sys
import sysconfig
import threading
from pathlib import Path

import pytest

import pytest_truasync
from pytest_truasync._detect.files import FileSorter, Role, SourceFile, install_folders

SITE = Path(sysconfig.get_paths()["purelib"])


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return tmp_path / "project"


@pytest.fixture
def sort(project: Path) -> FileSorter:
    return FileSorter(project)


class TestUser:
    def test_a_file_below_rootdir_is_the_users(self, sort: FileSorter, project: Path) -> None:
        found = sort(str(project / "app" / "feed.py"))
        assert found == SourceFile(Role.USER, "app/feed.py", "")

    def test_a_folder_whose_name_begins_alike_is_not(self, sort: FileSorter, project: Path) -> None:
        assert sort(f"{project}-old/app.py").role is Role.LIBRARY

    def test_a_relative_name_is_read_from_the_working_directory(
        self, project: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        project.mkdir()
        monkeypatch.chdir(project)
        assert FileSorter(project)("app.py").path == "app.py"

    @pytest.mark.parametrize("folder", [".venv", "env", "node_modules/x"])
    def test_a_virtual_environment_inside_is_installed(
        self, sort: FileSorter, project: Path, folder: str
    ) -> None:
        for packages in ("site-packages", "dist-packages"):
            file = project / folder / "lib" / "python3" / packages / "requests" / "api.py"
            assert sort(str(file)) == SourceFile(Role.LIBRARY, str(file), "requests.api")

    def test_the_environment_of_the_run_inside_rootdir_is_installed(
        self, project: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sys, "prefix", str(project / "venv"))
        file = str(project / "venv" / "bin" / "tool")
        assert FileSorter(project)(file).role is Role.LIBRARY

    def test_a_project_inside_site_packages_is_the_users(self) -> None:
        """Someone runs the tests that a package installs."""
        sort = FileSorter(SITE / "mine")
        assert sort(str(SITE / "mine" / "tests" / "test_a.py")).role is Role.USER
        assert sort(str(SITE / "other" / "a.py")).role is Role.LIBRARY

    def test_a_project_below_the_prefix_is_the_users(
        self, project: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sys, "prefix", str(project.parent))
        assert FileSorter(project)(str(project / "a.py")).role is Role.USER


class TestInstalled:
    def test_a_package_is_a_library(self, sort: FileSorter) -> None:
        found = sort(str(SITE / "requests" / "sessions.py"))
        assert (found.role, found.package) == (Role.LIBRARY, "requests.sessions")

    def test_a_package_named_by_the_user_is_theirs(self, project: Path) -> None:
        sort = FileSorter(project, ["ours"])
        assert sort(str(SITE / "ours" / "sub" / "a.py")).role is Role.USER
        assert sort(str(SITE / "ours.py")).role is Role.USER
        assert sort(str(SITE / "ours_too" / "a.py")).role is Role.LIBRARY

    def test_an_editable_install_elsewhere_is_a_library(
        self, sort: FileSorter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.syspath_prepend(str(tmp_path / "elsewhere" / "src"))
        found = sort(str(tmp_path / "elsewhere" / "src" / "lib" / "core.py"))
        assert (found.role, found.package) == (Role.LIBRARY, "lib.core")

    def test_an_editable_install_can_be_named_as_the_users(
        self, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.syspath_prepend(str(tmp_path / "elsewhere"))
        sort = FileSorter(project, ["lib"])
        assert sort(str(tmp_path / "elsewhere" / "lib" / "core.py")).role is Role.USER

    def test_the_folder_of_the_user_is_installed(self, project: Path) -> None:
        if not site.ENABLE_USER_SITE:
            pytest.skip("this interpreter has none")
        folder = site.getusersitepackages()
        assert FileSorter(project)(f"{folder}/requests/api.py").role is Role.LIBRARY

    @pytest.mark.parametrize(
        ("name", "role"),
        [
            ("_pytest/runner.py", Role.QUIET),
            ("pytest_asyncio/plugin.py", Role.QUIET),
            ("coverage/collector.py", Role.QUIET),
            ("uvloop/loop.pyx", Role.LOOP),
            ("trio/_core/_run.py", Role.LOOP),
            ("trio/_threads.py", Role.BRIDGE),
            ("anyio/from_thread.py", Role.BRIDGE),
            ("anyio/pytest_plugin.py", Role.QUIET),
            ("anyio/_core/_fileio.py", Role.LIBRARY),
            ("certifi/core.py", Role.LAZY),
        ],
    )
    def test_known_packages_have_roles(self, sort: FileSorter, name: str, role: Role) -> None:
        assert sort(str(SITE / name)).role is role


class TestInterpreter:
    @pytest.mark.parametrize(
        ("file", "role", "package"),
        [
            (json.__file__, Role.STDLIB, "json"),
            (threading.__file__, Role.STDLIB, "threading"),
            (asyncio.base_events.__file__, Role.LOOP, "asyncio.base_events"),
            (importlib.metadata.__file__, Role.LAZY, "importlib.metadata"),
            ("<frozen importlib._bootstrap>", Role.IMPORT, "importlib._bootstrap"),
            ("<frozen os>", Role.STDLIB, "os"),
            ("<string>", Role.PLUMBING, ""),
            ("<stdin>", Role.PLUMBING, ""),
            ("<attrs generated init x>", Role.PLUMBING, ""),
            ("", Role.PLUMBING, ""),
        ],
    )
    def test_roles(self, sort: FileSorter, file: str, role: Role, package: str) -> None:
        found = sort(file)
        assert (found.role, found.package) == (role, package)

    def test_this_package_is_ours(self, sort: FileSorter) -> None:
        file = os.path.join(os.path.dirname(pytest_truasync.__file__), "_detect", "calls.py")  # noqa: PTH118, PTH120 - as code objects hold it
        assert sort(file).role is Role.OURS

    def test_this_package_is_ours_also_while_it_is_tested(self) -> None:
        root = Path(pytest_truasync.__file__).parents[1]
        sort = FileSorter(root)
        assert sort(str(root / "pytest_truasync" / "plugin.py")).role is Role.OURS
        assert sort(str(root / "tests" / "test_plugin.py")).role is Role.USER


class TestIsInstalled:
    def test_files_of_the_system_and_of_packages(self, sort: FileSorter, project: Path) -> None:
        assert sort.is_installed("/etc/mime.types")
        assert sort.is_installed(json.__file__)
        assert sort.is_installed(str(SITE / "certifi" / "cacert.pem"))
        assert not sort.is_installed(str(project / "data.json"))
        assert not sort.is_installed("/var/lib/data.json")
        assert not sort.is_installed("data.json")

    def test_packages_of_an_environment_inside_rootdir(self, project: Path) -> None:
        sort = FileSorter(project)
        assert not sort.is_installed(str(project / "site" / "a.json"))


def test_the_folders_are_those_of_sysconfig() -> None:
    known = sysconfig.get_paths()

    found = install_folders()

    assert {name: os.path.realpath(path) for name, path in found.items()} == {
        name: os.path.realpath(known[name]) for name in found
    }
    assert {"stdlib", "platstdlib", "purelib", "platlib"} <= found.keys()


def test_a_scheme_of_a_distribution_s_own_is_expanded_by_sysconfig(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    get_paths = sysconfig.get_paths
    schemes = {False: dict.fromkeys(get_paths(), "{its_own}/lib"), True: get_paths()}
    monkeypatch.setattr(sysconfig, "get_paths", lambda expand=True: schemes[expand])

    assert install_folders() == schemes[True]


def test_a_file_is_sorted_once(sort: FileSorter, project: Path) -> None:
    name = str(project / "a.py")
    assert sort(name) is sort(name)


class TestIsSettings:
    @pytest.fixture
    def sort(self, project: Path, monkeypatch: pytest.MonkeyPatch) -> FileSorter:
        monkeypatch.setenv("HOME", "/home/me")
        return FileSorter(project)

    @pytest.mark.parametrize(
        "path", ["/home", "/home/me", "/home/me/.pgpass", "/home/me/.aws/config", "/.dockerenv"]
    )
    def test_hidden_files(self, sort: FileSorter, path: str) -> None:
        assert sort.is_settings(path)

    @pytest.mark.parametrize(
        "path",
        [
            "/home/me/data.json",
            "/home/me/.cache/model.bin",
            "/home/me/work/.env",
            "/home/you/.pgpass",
            "/srv/.data/file",
            ".env",
            "",
        ],
    )
    def test_other_files(self, sort: FileSorter, path: str) -> None:
        assert not sort.is_settings(path)

    def test_not_those_of_the_project(self, project: Path, sort: FileSorter) -> None:
        assert not sort.is_settings(str(project / ".env"))
