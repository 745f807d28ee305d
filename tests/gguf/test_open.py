"""What a path may turn out to be: each a typed error that says what to do."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.gguf import builder as b
from zerostall import _core
from zerostall.errors import (
    ModelFormatError,
    ModelNotFoundError,
    StorageError,
    UnsupportedModelError,
)
from zerostall.gguf import open_model


def test_a_missing_file_lists_the_models_next_to_it(tmp_path: Path) -> None:
    (tmp_path / "real.gguf").write_bytes(b.Builder().build())
    with pytest.raises(ModelNotFoundError, match=r"no such file.*that folder has real.gguf"):
        open_model(tmp_path / "reel.gguf")


@pytest.mark.parametrize("path", ["no/such/m.gguf", "file.gguf/m.gguf"])
def test_a_missing_folder_is_named(path: str, tmp_path: Path) -> None:
    (tmp_path / "file.gguf").write_bytes(b"GGUF")
    with pytest.raises(ModelNotFoundError, match=r"there is no folder"):
        open_model(tmp_path / path)


def test_a_folder_lists_the_models_in_it(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="a folder without GGUF files"):
        open_model(tmp_path)
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(ModelNotFoundError, match=r"folder of a safetensors model.*convert_hf"):
        open_model(tmp_path)
    for i in range(7):
        (tmp_path / f"m{i}.gguf").touch()
    with pytest.raises(ModelNotFoundError, match=r"m0.gguf, m1.gguf, .*m4.gguf, \.\.\.$"):
        open_model(tmp_path)


def test_a_file_without_permission_is_a_storage_error(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(b.Builder().build())
    path.chmod(0)
    # In a process of its own, because root may read everything until it becomes someone else.
    script = textwrap.dedent("""
        import os, sys
        from zerostall.errors import StorageError
        from zerostall.gguf import open_model
        if os.getuid() == 0:
            os.setuid(65534)
        try:
            open_model(sys.argv[1])
        except StorageError as error:
            print(error)
    """)
    run = subprocess.run(
        [sys.executable, "-c", script, path], capture_output=True, text=True, check=True
    )
    assert run.stdout.startswith(f"{path}: permission to read it was denied; make the file")


def test_an_empty_file_says_so(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").touch()
    with pytest.raises(ModelFormatError, match="the file is empty"):
        open_model(tmp_path / "m.gguf")


@pytest.mark.parametrize(
    ("head", "error", "expected"),
    [
        (b"PK\x03\x04....", UnsupportedModelError, "a PyTorch checkpoint"),
        (b"\x80\x02}q\x00", UnsupportedModelError, "a Python pickle"),
        (b"\x10\0\0\0\0\0\0\0{}", UnsupportedModelError, "a safetensors file"),
        (b"lmgg\x01\0\0\0", UnsupportedModelError, "a GGML file from before GGUF"),
        (b"\x1f\x8b\x08\0", ModelFormatError, "a gzip archive"),
        (b"<!DOCTYPE HTML>", ModelFormatError, "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", ModelFormatError, "Git LFS pointer"),
        (b"GG", ModelFormatError, "begins with b'GG'"),
        (b"hello", ModelFormatError, "begins with b'hell'"),
    ],
)
def test_another_kind_of_file_is_recognised(
    head: bytes, error: type[Exception], expected: str, tmp_path: Path
) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(head)
    with pytest.raises(error, match="expected a GGUF model") as caught:
        open_model(path)
    assert expected in str(caught.value)
    assert "; " in str(caught.value)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_a_named_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(StorageError, match="give a regular file"):
        open_model(path)
    with pytest.raises(StorageError, match="not a regular file"):
        _core.GgufFile(path)


def test_the_core_refuses_what_is_no_file_or_no_gguf(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="No such file"):
        _core.GgufFile(tmp_path / "absent")
    with pytest.raises(StorageError, match="not a regular file"):
        _core.GgufFile(tmp_path)
    (tmp_path / "text").write_bytes(b"text")
    with pytest.raises(ModelFormatError, match="magic: found 'text', expected 'GGUF'"):
        _core.GgufFile(tmp_path / "text")
    (tmp_path / "empty").touch()
    with pytest.raises(ModelFormatError, match="magic: found 4 bytes at byte 0, expected at most"):
        _core.GgufFile(tmp_path / "empty")
