"""Opening a GGUF model: what a path may turn out to be, as typed errors."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from zerostall._core import GgufFile, TensorInfo
from zerostall.errors import (
    ModelFormatError,
    ModelNotFoundError,
    StorageError,
    UnsupportedModelError,
)

__all__ = ["GgufFile", "TensorInfo", "open_model"]

_CONVERT = "convert the model with llama.cpp's convert_hf_to_gguf.py, or download a GGUF of it"

# Other model formats by their first bytes: a model, but not one this reads.
_OTHER_FORMATS = {
    b"PK\x03\x04": "a zip archive, such as a PyTorch checkpoint",
    b"\x80\x02": "a Python pickle, such as an old PyTorch checkpoint",
    b"\x80\x04": "a Python pickle, such as an old PyTorch checkpoint",
    b"\x89HDF": "an HDF5 file, such as a Keras model",
    b"lmgg": "a GGML file from before GGUF",
    b"fmgg": "a GGMF file from before GGUF",
    b"tjgg": "a GGJT file from before GGUF",
}
# Files that stand in for a model after a failed or partial download.
_FAILED_DOWNLOADS = {
    b"version https://git-lfs": "a Git LFS pointer, not the file it stands for",
    b"<!doctype html": "a web page, probably an error or login page",
    b"<html": "a web page, probably an error or login page",
    b"\x1f\x8b": "a gzip archive",
    b"(\xb5/\xfd": "a Zstandard archive",
    b"\xfd7zXZ": "an xz archive",
    b"7z\xbc\xaf": "a 7-Zip archive",
}


def open_model(path: str | os.PathLike[str]) -> GgufFile:
    """Open a GGUF file, or all files of a split model given its first.

    Nothing but metadata and the tensor directory is read; tensors are mapped.

    Raises:
        ModelNotFoundError: no such file, or a directory.
        StorageError: the file may not be read.
        ModelFormatError: empty, truncated, corrupt, or a failed download.
        UnsupportedModelError: another model format, GGUF version 1, big endian, or a tensor
            type that is unknown.
        InvalidRequestError: a part other than the first of a split model.
    """
    file = Path(path)
    try:
        mode = file.stat().st_mode  # before opening: a named pipe would wait for its writer
        if stat.S_ISDIR(mode):
            raise ModelNotFoundError(_directory(file))
        if not stat.S_ISREG(mode):
            raise StorageError(f"{file}: is a device, pipe or socket; give a regular file")
        with file.open("rb") as stream:
            head = stream.read(64)
    except (FileNotFoundError, NotADirectoryError):
        raise ModelNotFoundError(_missing(file)) from None
    except PermissionError:
        raise StorageError(
            f"{file}: permission to read it was denied; "
            "make the file and its folders readable for this user"
        ) from None
    except (OSError, ValueError) as error:
        raise StorageError(f"{file}: cannot be read: {error}; check the path and disk") from error
    if not head.startswith(b"GGUF"):
        _reject(file, head)
    return GgufFile(file)


def _missing(file: Path) -> str:
    if not file.parent.is_dir():
        return f"{file}: there is no folder {file.parent}; check the path"
    nearby = _models_in(file.parent)
    hint = f"; that folder has {nearby}" if nearby else ""
    return f"{file}: there is no such file; check the path{hint}"


def _directory(folder: Path) -> str:
    nearby = _models_in(folder)
    if nearby:
        return f"{folder}: is a folder, expected a GGUF file; give one of its files: {nearby}"
    if any(folder.glob("*.safetensors")):
        return f"{folder}: is a folder of a safetensors model, expected a GGUF file; {_CONVERT}"
    return f"{folder}: is a folder without GGUF files; give the path of a GGUF file"


def _models_in(folder: Path) -> str:
    try:
        names = sorted(entry.name for entry in folder.glob("*.gguf"))
    except OSError:
        return ""
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


def _reject(file: Path, head: bytes) -> None:
    if not head:
        raise ModelFormatError(
            f"{file}: the file is empty, expected a GGUF model; download it again"
        )
    for magic, kind in _OTHER_FORMATS.items():
        if head.startswith(magic):
            raise UnsupportedModelError(f"{file}: found {kind}, expected a GGUF model; {_CONVERT}")
    if _is_safetensors(head):
        raise UnsupportedModelError(
            f"{file}: found a safetensors file, expected a GGUF model; {_CONVERT}"
        )
    for magic, kind in _FAILED_DOWNLOADS.items():
        if head[: len(magic)].lower() == magic.lower():
            raise ModelFormatError(
                f"{file}: found {kind}, expected a GGUF model; unpack it or download it again"
            )
    raise ModelFormatError(
        f"{file}: found a file that begins with {head[:4]!r}, expected a GGUF model, which begins "
        f"with b'GGUF'; check the path, or download it again"
    )


def _is_safetensors(head: bytes) -> bool:
    # A 64-bit header length, then a JSON object (huggingface.co/docs/safetensors).
    return head[8:9] == b"{" and 2 <= int.from_bytes(head[:8], "little") <= 100_000_000
