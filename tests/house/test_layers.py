"""Each layer includes or imports only itself and the layers before it."""

from __future__ import annotations

from tests.house.layers import PACKAGE, imported, included, layer_of, modules, order
from tests.house.tree import ROOT, files, name


def test_the_listed_core_layers_are_the_folders_of_core():
    assert sorted(order("core")) == sorted(
        path.name for path in (ROOT / "core").iterdir() if any(path.rglob("*.*"))
    )


def test_the_listed_python_layers_are_the_modules_of_the_package():
    assert sorted(order("python")) == sorted(modules())


def test_core_includes_only_earlier_layers():
    rank = {layer: index for index, layer in enumerate(order("core"))}
    faults = []
    for path in files(".h", ".cpp", ".inc", under=("core",)):
        own = path.relative_to(ROOT / "core").parts[0]
        for include in included(path):
            layer = include.split("/")[0]
            if not (ROOT / "core" / include).is_file():
                faults.append(f"{name(path)}: {include} is not a path below core/")
            elif rank[layer] > rank[own]:
                faults.append(f"{name(path)}: {own} comes before {layer} ({include})")
    assert faults == []


def test_python_imports_only_earlier_layers():
    rank = {layer: index for index, layer in enumerate(order("python"))}
    rank["zerostall"] = rank["cli"]  # the public names: for those who use the package
    faults = []
    for path in files(".py", under=("src",)):
        own = layer_of(path)
        if path.parent == PACKAGE and own in ("__init__", "__main__"):
            continue
        for line, layer in imported(path):
            if rank[layer] > rank[own]:
                faults.append(f"{name(path)}:{line}: {own} comes before {layer}")
    assert faults == []
