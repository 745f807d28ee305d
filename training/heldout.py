"""Assembles held-out text: ``python -m training.heldout OUT.txt`` writes the fixed excerpt."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from .corpus import HELDOUT, collect

# Whole modules of various kinds, together about 90 KB: containers, text, numbers, protocol code.
EXCERPT = (
    "graphlib.py",
    "textwrap.py",
    "queue.py",
    "shelve.py",
    "colorsys.py",
    "concurrent/futures/thread.py",
    "csv.py",
    "unittest/suite.py",
)
NOTICE = "# Modules of the Python 3.11 standard library. Copyright PSF. Licence: PSF-2.0.\n"


def heldout_text(modules: Sequence[str] = HELDOUT) -> str:
    """Concatenated sources of the named held-out modules.

    Raises ``KeyError`` for a module that models were trained on.
    """
    sources = collect().heldout
    return "".join(sources[name] for name in modules)


def main() -> None:
    """Writes the excerpt, or with ``--all`` every held-out module, to the given file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", type=Path)
    parser.add_argument("--all", action="store_true")
    args = parser.parse_args()
    text = NOTICE + heldout_text(HELDOUT if args.all else EXCERPT)
    args.target.parent.mkdir(parents=True, exist_ok=True)
    args.target.write_text(text, encoding="utf-8")
    print(f"{args.target}: {len(text.encode())} bytes")


if __name__ == "__main__":
    main()
