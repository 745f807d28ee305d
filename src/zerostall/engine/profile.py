"""Which experts a model wanted, remembered from one run to the next."""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np

from zerostall.errors import StorageError

VERSION = 1


@dataclass(frozen=True)
class Profile:
    """What is remembered.

    Attributes:
        scores: how much each expert was wanted, 0 (never) to 1, layer by layer.
        habits: what the first layers chose for each token, as `Engine.expert_habits()` gives it.
    """

    scores: list[float] = field(default_factory=list)
    habits: list[int] = field(default_factory=list)


def read_profile(path: Path, key: str) -> Profile:
    """What was written of a model; nothing if the profile is missing or of another model.

    Args:
        path: the profile.
        key: model_key() of the model.

    Raises:
        StorageError: the file is there and cannot be read.
    """
    try:
        record = json.loads(path.read_text())
    except FileNotFoundError:
        return Profile()
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError):
        return Profile()  # cut short or not ours; it is written anew on close
    if not isinstance(record, dict) or record.get("zerostall_profile") != VERSION:
        return Profile()
    scores = record.get("scores")
    if record.get("model") != key or not isinstance(scores, list):
        return Profile()
    if not all(isinstance(score, int | float) and 0 <= score <= 1 for score in scores):
        return Profile()  # a score without end would hold its place for ever
    return Profile([float(score) for score in scores], _unpack(record.get("habits", "")))


def _pack(numbers: list[int]) -> str:
    """Little-endian 32-bit integers in Base64."""
    return base64.b64encode(np.asarray(numbers, "<i4").tobytes()).decode()


def _unpack(packed: Any) -> list[int]:
    """What _pack() was given; nothing if it is no such text. The core checks the numbers."""
    try:
        return [int(number) for number in np.frombuffer(base64.b64decode(packed), "<i4")]
    except (TypeError, ValueError, binascii.Error):
        return []


def check_writable(path: Path) -> None:
    """Find out now, not after days, whether write_profile() can.

    Raises:
        StorageError: the folder is not there, or cannot be written.
    """
    with _partial(path) as stream:
        os.unlink(stream.name)


def write_profile(path: Path, key: str, profile: Profile) -> None:
    """Keep it for the next run; under its name only when it is whole.

    Raises:
        StorageError: the folder cannot be written.
    """
    record = {
        "zerostall_profile": VERSION,
        "model": key,
        "scores": [round(score, 4) for score in profile.scores],
        "habits": _pack(profile.habits),
    }
    with _partial(path) as stream:
        json.dump(record, stream)
        stream.flush()
        os.fsync(stream.fileno())
        os.replace(stream.name, path)


@contextlib.contextmanager
def _partial(path: Path) -> Iterator[IO[str]]:
    """A new file beside `path`, of a name that nobody else has; gone after an error.

    For its owner alone: a profile tells which tokens were used.
    """
    try:
        with tempfile.NamedTemporaryFile(
            "w",
            encoding="utf-8",
            dir=path.parent,
            prefix=f".{path.name}.",
            suffix=".partial",
            delete=False,
        ) as stream:
            try:
                yield stream
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(stream.name)
                raise
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {error.strerror}") from error
