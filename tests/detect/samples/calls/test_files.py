"""Files, one observation for each call of the user's."""

import mmap
import os
import pathlib
import shutil
import tempfile

import pytest


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"a\nb\nc\n")
    return path


async def test_open_and_read(file):
    with open(file) as text:  # expect: TRU230 open
        text.read()  # expect: TRU231 io.FileIO.readall
    with open(file, "rb", buffering=0) as raw:  # expect: TRU230 open
        raw.readinto(bytearray(1))  # expect: TRU231 io.FileIO.readinto
        raw.readall()  # expect: TRU231 io.FileIO.readall


async def test_iterate(file):
    with open(file) as text:  # expect: TRU230 open
        for line in text:  # expect: TRU231 io.FileIO.readinto x2
            assert line


async def test_write(file):
    with open(file, "w") as text:  # expect: TRU230 open
        text.write("x")
        text.flush()  # expect: TRU231 io.FileIO.write
        os.fsync(text.fileno())  # expect: TRU231 os.fsync
        text.truncate()  # expect: TRU231 io.FileIO.truncate


async def test_descriptors(file):
    fd = os.open(file, os.O_RDWR)  # expect: TRU230 os.open
    os.read(fd, 1)  # expect: TRU231 os.read
    os.write(fd, b"x")  # expect: TRU231 os.write
    os.ftruncate(fd, 0)  # expect: TRU231 os.ftruncate
    os.close(fd)


async def test_pathlib(file):
    file.read_text()  # expect: TRU231 pathlib.Path.read_text
    file.write_bytes(b"x")  # expect: TRU231 pathlib.Path.write_bytes
    assert file.exists()  # expect: TRU240 pathlib.Path.exists
    file.stat()  # expect: TRU240 pathlib.Path.stat
    file.parent.joinpath("new").mkdir()  # expect: TRU240 pathlib.Path.mkdir
    file.unlink()  # expect: TRU240 pathlib.Path.unlink


async def test_paths(file):
    os.path.exists(file)  # expect: TRU240 os.path.exists
    os.path.getsize(file)  # expect: TRU240 os.path.getsize
    os.listdir(file.parent)  # expect: TRU240 os.listdir
    os.chmod(file, 0o600)  # expect: TRU240 os.chmod
    os.utime(file)  # expect: TRU240 os.utime
    os.rename(file, f"{file}2")  # expect: TRU240 os.rename
    list(os.scandir(file.parent))  # expect: TRU240 os.scandir


async def test_shutil(file):
    shutil.copy(file, f"{file}2")  # expect: TRU231 shutil.copy
    shutil.rmtree(file.parent)  # expect: TRU230 shutil.rmtree


async def test_mmap(file):
    with open(file, "r+b") as data:  # expect: TRU230 open
        with mmap.mmap(data.fileno(), 0) as memory:  # expect: TRU231 mmap.mmap
            memory.flush()  # expect: TRU231 mmap.mmap.flush


async def test_tempfile():
    tempfile.NamedTemporaryFile().close()  # expect: TRU230 tempfile.NamedTemporaryFile; TRU240 tempfile._TemporaryFileWrapper.close


async def test_pathlib_of_a_class():
    class Config(pathlib.PosixPath):
        pass

    Config(__file__).read_bytes()  # expect: TRU231 pathlib.Path.read_bytes
