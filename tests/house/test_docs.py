"""What the documents point at exists."""

from __future__ import annotations

import re

from tests.house.tree import ROOT, files, name

LINK = re.compile(r"\[[^\]]*\]\((?!https?:|mailto:)([^)\s#]*)(?:#([^)\s]+))?\)")


def documents():
    return [*ROOT.glob("*.md"), *files(".md")]


def anchors(path):
    """The fragments GitHub makes of a document's headings."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_relative_links_resolve():
    broken = []
    for document in documents():
        for target, anchor in LINK.findall(document.read_text(encoding="utf-8")):
            path = document.parent / target if target else document
            if not path.exists() or (anchor and anchor not in anchors(path)):
                broken.append(f"{name(document)}: {target}#{anchor}")
    assert broken == []


def test_every_make_target_that_is_spoken_of_exists():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    named = {
        target
        for document in documents()
        for target in re.findall(r"`make ([a-z-]+)", document.read_text(encoding="utf-8"))
    }
    assert named - targets == set()


def test_the_map_names_every_folder_and_only_paths_that_exist():
    structure = (ROOT / "docs" / "structure.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `([^`]+)` \|", structure, re.MULTILINE)
    assert [path for path in listed if not (ROOT / path).exists()] == []
    mapped = {"core", "src/zerostall"}
    folders = {name(path.parent) for path in files(".py", ".cpp", ".md") if len(path.parts) > 1}
    top = {folder.split("/")[0] for folder in folders} - {"core", "src"}
    below = {f for f in folders if f.rsplit("/", 1)[0] in mapped}
    assert sorted((top | below) - {path.rstrip("/") for path in listed}) == []


def test_the_ten_lines_of_the_map_are_the_file_they_name():
    structure = (ROOT / "docs" / "structure.md").read_text(encoding="utf-8")
    path, code = re.search(
        r"all of `([^`]+)`:\n\n```python\n(.*?)```", structure, re.DOTALL
    ).groups()
    assert code == (ROOT / path).read_text(encoding="utf-8")


def test_the_readme_names_every_architecture_and_every_weight_format():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"[\w-]+", readme))
    architectures = {path.stem for path in (ROOT / "src/zerostall/arch").glob("[a-z]*.py")}
    listed = (ROOT / "core/quant/formats.inc").read_text(encoding="utf-8")
    formats = set(re.findall(r'^ZS_FORMAT\(\w+, "(\w+)"', listed, re.MULTILINE))
    assert sorted((architectures | formats) - named) == []
