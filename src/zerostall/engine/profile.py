"""Which experts a model wanted, remembered from one run to the next."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import xxhash

from zerostall.errors import StorageError

if TYPE_CHECKING:
    from zerostall._core import GgufFile

VERSION = 1
_HEAD_BYTES = 1 << 20


def read_profile(path: Path, file: GgufFile) -> list[float]:
    """Scores of experts, layer by layer; empty if the profile is missing or of another model.

    Raises:
        StorageError: the file is there and cannot be read.
    """
    try:
        record = json.loads(path.read_text())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError):
        return []  # cut short or not ours; it is written anew on close
    if not isinstance(record, dict) or record.get("zerostall_profile") != VERSION:
        return []
    scores = record.get("scores")
    if record.get("model") != model_key(file) or not isinstance(scores, list):
        return []
    if not all(isinstance(score, int | float) and 0 <= score <= 1 for score in scores):
        return []  # a score without end would hold its place for ever
    return [float(score) for score in scores]


def write_profile(path: Path, file: GgufFile, scores: list[float]) -> None:
    """Keep the scores for the next run; under its name only when it is whole.

    Raises:
        StorageError: the folder cannot be written.
    """
    record = {
        "zerostall_profile": VERSION,
        "model": model_key(file),
        "scores": [round(score, 4) for score in scores],
    }
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("w") as stream:
            json.dump(record, stream)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise StorageError(f"{path}: cannot be written: {error.strerror}") from error


def model_key(file: GgufFile) -> str:
    """Of the model's first bytes, which hold its metadata, and its sizes."""
    digest = xxhash.xxh3_64()
    with Path(file.paths[0]).open("rb") as stream:
        digest.update(stream.read(_HEAD_BYTES))
    for path in file.paths:
        digest.update(str(Path(path).stat().st_size).encode())
    return digest.hexdigest()
