"""What blockbuster adds: written down for one release, asked of any other."""

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_truasync._detect.base_table import (
    RELEASE,
    BaseTable,
    base_table,
    is_written_down,
    read_table,
)
from pytest_truasync._rules.targets import TARGETS

KNOWN = [target.name for target in TARGETS]


def found(table: BaseTable) -> dict[str, set[str]]:
    return {name: set(ends) for name, ends in table.quiet_functions.items()}


@pytest.mark.skipif(
    importlib.metadata.version("blockbuster") != RELEASE,
    reason=f"blockbuster is not {RELEASE}",
)
def test_what_is_written_down_is_what_the_release_says() -> None:
    read = read_table(KNOWN)

    assert is_written_down()
    assert found(read) == found(base_table(KNOWN))
    # Of its rows beyond ours one is left, a method of Python's that calls a target of ours.
    assert [target.name for target in read.targets] == ["socket.socket.accept"]
    assert {"socket.socket._accept", "os.stat", "time.sleep"} <= set(KNOWN)


def lay(folder: Path, release: str, text: str) -> None:
    (folder / "blockbuster").mkdir()
    (folder / "blockbuster" / "__init__.py").write_text(text)
    (folder / f"blockbuster-{release}.dist-info").mkdir()


def ask(folder: Path, code: str) -> str:
    run = f"import sys; sys.path.insert(0, {str(folder)!r})\n{code}"
    return subprocess.run(
        [sys.executable, "-c", run], check=True, capture_output=True, text=True
    ).stdout.strip()


ANOTHER = """
class Row:
    can_block_functions = [("spool.py", {"drain"})]
    can_block_predicate = staticmethod(lambda *_, **__: True)
class BlockBuster:
    functions = {"os.sync": Row()}
"""
TABLE = "from pytest_truasync._detect.base_table import base_table; table = base_table([])\n"


def test_another_release_is_asked(tmp_path: Path) -> None:
    lay(tmp_path, "99.0", ANOTHER)

    said = ask(tmp_path, TABLE + "print([t.name for t in table.targets], table.quiet_functions)")

    assert said == "['os.sync'] {'drain': ('spool.py',)}"


@pytest.mark.parametrize("text", ["class BlockBuster: functions = 3", "raise OSError", ""])
def test_one_whose_insides_have_changed_adds_nothing(tmp_path: Path, text: str) -> None:
    lay(tmp_path, "99.0", text)

    assert ask(tmp_path, TABLE + "print(table.targets, table.quiet_functions)") == "() {}"


def test_a_known_release_is_not_imported() -> None:
    code = TABLE + "print(sorted({'blockbuster', 'forbiddenfruit', 'sqlite3'} & set(sys.modules)))"
    code += "\nfrom pytest_truasync._detect.base_table import is_written_down as known"
    code += "\nprint(known())"

    said = ask(Path.cwd(), code).splitlines()

    assert (said[0] == "[]") is (said[1] == "True")


def test_without_blockbuster_the_written_rows_stand() -> None:
    code = "sys.modules['blockbuster'] = None\n" + TABLE
    code += "from pytest_truasync._detect.base_table import QUIET_FUNCTIONS as written\n"

    assert ask(Path.cwd(), code + "print(table.quiet_functions == written)") == "True"
