"""The layers that docs/structure.md lists, and what the sources include and import."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.house.tree import ROOT

PACKAGE = ROOT / "src" / "zerostall"


def order(side: str) -> list[str]:
    """The layers of ``core`` or ``python`` in the order of docs/structure.md, lowest first."""
    text = (ROOT / "docs" / "structure.md").read_text(encoding="utf-8")
    block = re.search(r"^```layers\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert block, "docs/structure.md has no ```layers block"
    lines = dict(line.split(":", 1) for line in block[1].splitlines())
    return [layer.strip() for layer in lines[side].split("<")]


def included(path: Path) -> list[str]:
    """The quoted includes of one C++ file."""
    return re.findall(
        r'^\s*#\s*include\s+"([^"]+)"', path.read_text(encoding="utf-8"), re.MULTILINE
    )


def system_included(path: Path) -> list[str]:
    """The angled includes of one C++ file."""
    return re.findall(
        r"^\s*#\s*include\s+<([^>]+)>", path.read_text(encoding="utf-8"), re.MULTILINE
    )


def layer_of(path: Path) -> str:
    """The layer a file of the Python package belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """Line and layer of each import of this package in one Python file.

    A name taken from ``zerostall`` itself that is no module counts as the layer ``zerostall``.
    """
    package = ["zerostall", *path.relative_to(PACKAGE).parent.parts]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            targets = [alias.name.split(".") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            base = base + (node.module.split(".") if node.module else [])
            targets = [[*base, alias.name] for alias in node.names]
        else:
            continue
        for target in targets:
            if target[0] == "zerostall":
                layer = target[1] if len(target) > 1 else "zerostall"
                yield node.lineno, layer if layer in modules() else "zerostall"


def modules() -> set[str]:
    """The layers that exist in the Python package."""
    found = {path.stem for path in PACKAGE.glob("*.py")} | {"_core"}
    found |= {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    return found - {"__init__", "__main__"}
