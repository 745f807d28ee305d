"""What the house tests look at: the files of the source tree, without build products."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = (".ci", "bench", "core", "docs", "src", "tests", "tools", "training")


def files(*suffixes: str, under: tuple[str, ...] = FOLDERS) -> Iterator[Path]:
    """Every file below the given folders whose name ends in one of the suffixes, sorted."""
    for folder in under:
        for path in sorted((ROOT / folder).rglob("*")):
            built = "__pycache__" in path.parts or path.name.startswith("_core.")
            if path.is_file() and path.name.endswith(suffixes or "") and not built:
                yield path


def name(path: Path) -> str:
    """The path as messages show it: relative to the repository."""
    return path.relative_to(ROOT).as_posix()
