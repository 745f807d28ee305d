"""The stub of the core in the sources says what the built core has."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.house.tree import ROOT

STUB = ROOT / "src/zerostall/_core.pyi"


def python(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """What ``python -m`` says in the root of the sources."""
    environment = {**os.environ, "MYPYPATH": str(ROOT / "src")}
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_stub_is_what_the_generator_makes_of_the_core(tmp_path: Path) -> None:
    made = tmp_path / "_core.pyi"
    done = python("nanobind.stubgen", "-q", "-m", "zerostall._core", "-o", made)
    assert done.returncode == 0, done.stderr
    assert made.read_text("utf-8") == STUB.read_text("utf-8"), "stale stub: run `make stubs`"


def test_names_and_signatures_of_the_stub_are_those_of_the_core() -> None:
    allowed = Path(__file__).with_name("stubtest_allowed.txt")
    done = python("mypy.stubtest", "--allowlist", allowed, "zerostall._core")
    assert done.returncode == 0, done.stdout + done.stderr
