"""The rules of the house that no linter knows (CONTRIBUTING.md lists them)."""

from __future__ import annotations

import ast
import re

from tests.house.layers import included, system_included
from tests.house.tree import ROOT, files, name

CODE = (".py", ".cpp", ".h", ".inc")
CPP = (".cpp", ".h", ".inc")
MAX_LINES = 400
# Spelled apart, so that this file passes its own test.
UNFINISHED = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X|HA" + r"CK)\b")
VAGUE = {"utils", "util", "helpers", "helper", "common", "misc"}
# What may change the order or the rounding of float operations (docs/adr/0001).
UNSAFE_MATH = re.compile(
    r"-f(fast-math|associative-math|unsafe-math-optimizations|fp-contract=(fast|on))|-Ofast"
    r"|#pragma (GCC optimize|STDC FP_CONTRACT ON)"
)
# What they declare is seldom inlined, so each object would hold a weak copy, and the copy that
# the linker keeps for all may be the one for AVX-512 (docs/adr/0003). test_objects.py looks at
# the objects; this names the cause.
OUT_OF_LINE = {"functional", "iostream", "map", "memory", "optional", "span", "sstream"}
OUT_OF_LINE |= {"string", "unordered_map", "variant", "vector"}


def text(path):
    return path.read_text(encoding="utf-8")


def test_files_are_at_most_400_lines_and_listed_exceptions_only_shrink():
    lines = text(ROOT / "tests/house/long_files.txt").splitlines()
    allowed = dict(line.split() for line in lines if not line.startswith("#"))
    counts = {name(path): len(text(path).splitlines()) for path in files(*CODE)}
    grown = {n: c for n, c in counts.items() if c > int(allowed.get(n, MAX_LINES))}
    assert grown == {}
    done = [n for n in allowed if counts.get(n, 0) <= MAX_LINES]
    assert done == [], "short again or gone: take the line out of long_files.txt"


def test_no_file_or_folder_has_a_name_that_says_nothing():
    assert [
        name(path) for path in files() if VAGUE & {part.split(".")[0] for part in path.parts}
    ] == []


def test_nothing_is_marked_unfinished():
    looked_at = [*files(*CODE, ".md", ".toml"), ROOT / "Makefile", ROOT / "CMakeLists.txt"]
    assert [name(path) for path in looked_at if UNFINISHED.search(text(path))] == []


def test_every_cpp_file_starts_with_a_comment_that_says_what_it_is():
    assert [name(path) for path in files(*CPP) if not text(path).startswith("// ")] == []


def test_every_header_is_included_once_by_pragma():
    headers = [path for path in files(".h") if "\n#pragma once\n" not in text(path)]
    assert [name(path) for path in headers] == []


def test_only_the_bindings_see_python():
    seen = [
        name(path)
        for path in files(*CPP)
        if path.relative_to(ROOT).parts[:2] != ("core", "bind")
        for header in system_included(path)
        if header == "Python.h" or header.startswith("nanobind/")
    ]
    assert seen == []


def test_nothing_lets_the_compiler_reorder_float_arithmetic():
    built = [*files(*CPP), ROOT / "Makefile", ROOT / "CMakeLists.txt", ROOT / "pyproject.toml"]
    assert [name(path) for path in built if UNSAFE_MATH.search(text(path))] == []


def test_instruction_set_files_include_no_header_of_containers():
    core = ROOT / "core"
    cmake = text(ROOT / "CMakeLists.txt")
    pending = [core / "kernels" / f"{isa}.cpp" for isa in re.findall(r"zs_isa\((\w+) -m", cmake)]
    assert pending
    seen, faults = set(pending), []
    while pending:
        path = pending.pop()
        faults += [f"{name(path)}: <{h}>" for h in system_included(path) if h in OUT_OF_LINE]
        found = {core / header for header in included(path)} - seen
        seen |= found
        pending += found
    assert faults == []


def test_everything_public_in_the_stub_of_the_core_says_what_it_does():
    silent = []
    for node in ast.walk(ast.parse(text(ROOT / "src/zerostall/_core.pyi"))):
        documented = isinstance(node, (ast.ClassDef, ast.FunctionDef)) and node.name[0] != "_"
        if documented and ast.get_docstring(node) is None:
            silent.append(f"{node.lineno}: {node.name}")
    assert silent == []
