"""Which experts a model wanted, remembered from one run to the next."""

from __future__ import annotations

import json
import os
from pathlib import Path

from zerostall.errors import StorageError

VERSION = 1


def read_profile(path: Path, key: str) -> list[float]:
    """Scores of experts, layer by layer; empty if the profile is missing or of another model.

    Args:
        path: the profile.
        key: model_key() of the model.

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
    if record.get("model") != key or not isinstance(scores, list):
        return []
    if not all(isinstance(score, int | float) and 0 <= score <= 1 for score in scores):
        return []  # a score without end would hold its place for ever
    return [float(score) for score in scores]


def write_profile(path: Path, key: str, scores: list[float]) -> None:
    """Keep the scores for the next run; under its name only when it is whole.

    Raises:
        StorageError: the folder cannot be written.
    """
    record = {
        "zerostall_profile": VERSION,
        "model": key,
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
