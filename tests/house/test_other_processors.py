"""What knows x86 also compiles without it, as for any other processor."""

from __future__ import annotations

import os
import shlex
import subprocess

import pytest

from tests.house.tree import ROOT, files, name

KNOW_X86 = [p for p in files(".cpp", under=("core",)) if "ZS_X86" in p.read_text("utf-8")]


@pytest.mark.parametrize("path", KNOW_X86, ids=name)
def test_a_file_that_knows_x86_compiles_without_it(path):
    compiler = shlex.split(os.environ.get("CXX", "c++"))
    flags = ["-std=c++20", "-fsyntax-only", "-Icore", "-Wall", "-Wextra", "-Wno-unused-parameter"]
    done = subprocess.run(
        [*compiler, *flags, "-UZS_X86", "-Werror", path], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
