"""Build the part in C, which is a matter of speed alone: where it cannot be built, do without."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCE = Path("pytest_truasync", "_detect", "_native.c")
NAME = "pytest_truasync._detect._native"


class NativeHook(BuildHookInterface[Any]):
    """Puts the part in C into the wheel; beside its source for an editable install."""

    folder = ""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build it, if this is CPython with a GIL and a C compiler."""
        root = Path(self.root)
        name = SOURCE.stem + str(sysconfig.get_config_var("EXT_SUFFIX"))
        place = root / SOURCE.parent / name
        self.folder = tempfile.mkdtemp()
        try:
            if version == "editable":
                place.unlink(missing_ok=True)
            if not _is_wanted():
                return
            built = self._build(root, Path(self.folder))
            if version == "editable":
                fresh = place.with_name(f".{os.getpid()}.{name}")
                try:
                    shutil.copy2(built, fresh)
                    fresh.replace(place)  # at once: another process may load it meanwhile
                finally:
                    fresh.unlink(missing_ok=True)
            else:
                build_data["force_include"][str(built)] = (SOURCE.parent / name).as_posix()
                build_data["pure_python"] = False
                build_data["infer_tag"] = True
        except Exception as error:  # noqa: BLE001 - of any compiler or disk; the plugin works without
            self.app.display_warning(f"pytest-truasync is built without its part in C: {error!r}")

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Take away what was built, which is in the wheel now."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _build(self, root: Path, folder: Path) -> Path:
        from setuptools import Distribution, Extension
        from setuptools.command.build_ext import build_ext

        digest = hashlib.sha256((root / SOURCE).read_bytes()).hexdigest()[:16]
        part = Extension(NAME, [str(root / SOURCE)], define_macros=[("SOURCE", f'"{digest}"')])
        command = build_ext(Distribution({"ext_modules": [part]}))
        command.build_lib, command.build_temp = str(folder / "lib"), str(folder / "temp")
        command.ensure_finalized()
        command.run()
        return Path(command.get_ext_fullpath(NAME))


def _is_wanted() -> bool:
    return (
        sys.implementation.name == "cpython"
        and not sysconfig.get_config_var("Py_GIL_DISABLED")
        and os.environ.get("TRUASYNC_CORE") != "python"
    )
