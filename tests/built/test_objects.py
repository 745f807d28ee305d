"""The linker cannot mix what must stay apart: instruction sets, and this core and other modules."""

from __future__ import annotations

import subprocess

import pytest

from tests.house.tree import ROOT
from zerostall import _core

OBJECTS = sorted((ROOT / "build").glob("*/CMakeFiles/zs_a*.dir/core/kernels/*.o"))


@pytest.mark.parametrize("path", OBJECTS, ids=lambda path: path.name)
def test_an_instruction_set_exports_its_table_and_nothing_else(path):
    # nm -P: name, type, ...; small letters are local to the object, except for the weak (v, w)
    # and unique (u) symbols that the linker merges over all objects.
    symbols = subprocess.run(
        ["nm", "-P", "--defined-only", path], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    fields = [line.split() for line in symbols]
    shared = [symbol for symbol, kind, *_ in fields if kind.isupper() or kind in "vwu"]
    assert len(shared) == 1, shared
    assert "table" in shared[0]


def test_the_core_shows_its_init_function_and_nothing_else():
    # With more of it to be seen, a C++ library linked into it mixed with that of numpy: numbers
    # were read wrongly, and on one machine reading them crashed.
    symbols = subprocess.run(
        ["nm", "-D", "-P", "--defined-only", _core.__file__],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\n")
    assert [line.split()[0] for line in symbols if line] == ["PyInit__core"]
