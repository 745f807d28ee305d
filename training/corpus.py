"""Collects the Python standard library's sources into train, test-suite and held-out sets.

The text is that of the running interpreter's standard library (PSF-2.0 licence).
``library`` holds the modules, ``tests`` the regression tests that ship with them,
``heldout`` the modules named in ``HELDOUT``, which no model and no tokenizer sees.
"""

from __future__ import annotations

import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

HELDOUT = (
    "bisect.py",
    "calendar.py",
    "cmd.py",
    "colorsys.py",
    "concurrent/futures/thread.py",
    "csv.py",
    "email/charset.py",
    "filecmp.py",
    "fractions.py",
    "graphlib.py",
    "html/parser.py",
    "http/cookies.py",
    "json/decoder.py",
    "logging/handlers.py",
    "queue.py",
    "sched.py",
    "shelve.py",
    "textwrap.py",
    "tomllib/_parser.py",
    "unittest/suite.py",
    "wsgiref/handlers.py",
    "xml/sax/saxutils.py",
)

# Generated tables rather than code: they teach a model of this size nothing.
TABLES = ("pydoc_data/topics.py", "stringprep.py")
TABLE_PREFIXES = (
    "encodings/cp",
    "encodings/iso",
    "encodings/mac_",
    "encodings/koi",
    "_sysconfigdata",
)
TEST_FOLDERS = {"test", "tests", "idle_test"}
MAX_NON_ASCII = 0.02


@dataclass
class Corpus:
    """Documents by set, each in the order of its path."""

    library: list[str] = field(default_factory=list)
    tests: list[str] = field(default_factory=list)
    heldout: dict[str, str] = field(default_factory=dict)


def standard_library() -> Path:
    """Folder of the running interpreter's pure-Python standard library."""
    return Path(sysconfig.get_paths()["stdlib"])


def read_source(path: Path) -> str | None:
    """Text of a source file, or None where it is not clean UTF-8 Python text."""
    try:
        text = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError:
        return None
    text = text.replace("\r\n", "\n")
    non_ascii = sum(ord(char) > 127 for char in text)
    if len(text) < 64 or "\0" in text or non_ascii > MAX_NON_ASCII * len(text):
        return None
    return text


def sources(root: Path) -> Iterator[tuple[str, str]]:
    """Pairs of relative path and text of every eligible ``.py`` file, sorted by path."""
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root).as_posix()
        if name.startswith("site-packages/") or name in TABLES or name.startswith(TABLE_PREFIXES):
            continue
        text = read_source(path)
        if text is not None:
            yield name, text


def tests_of_heldout() -> set[str]:
    """Stems of the regression tests of held-out modules; they quote them, so they are left out."""
    return {f"test_{Path(name).stem.lstrip('_')}" for name in HELDOUT}


def collect(root: Path | None = None) -> Corpus:
    """Splits the standard library at ``root`` (default: the running interpreter's) into sets.

    Raises ``FileNotFoundError`` where a held-out module is missing: the split would differ.
    """
    root = root or standard_library()
    corpus = Corpus()
    skipped = tests_of_heldout()
    for name, text in sources(root):
        if name in HELDOUT:
            corpus.heldout[name] = text
        elif TEST_FOLDERS.isdisjoint(name.split("/")[:-1]):
            corpus.library.append(text)
        elif Path(name).stem not in skipped:
            corpus.tests.append(text)
    missing = set(HELDOUT) - corpus.heldout.keys()
    if missing:
        raise FileNotFoundError(f"held-out modules not in {root}: {sorted(missing)}")
    return corpus
