"""`hf:owner/repo[@revision][:quant]`, and which of a repository's files it means."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from zerostall.errors import InvalidRequestError, ModelNotFoundError
from zerostall.hub.faults import AmbiguousModelError

DEFAULT_QUANT = "Q4_K_M"

_REFERENCE = re.compile(
    r"hf:(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[^:\s]+))?(?::(?P<quant>\S+))?"
)
_SHARD = re.compile(r"(?P<stem>.+?)(?:-(?P<part>\d{5})-of-(?P<parts>\d{5}))?\.gguf", re.I)
_QUANT = re.compile(
    r"(?:^|[-._/])(?P<tag>(?:UD-)?(?:I?Q\d\w*|TQ\d_\d|MXFP4\w*|BF16|F16|F32|FP16|FP32))$", re.I
)


@dataclass(frozen=True)
class Reference:
    """A parsed `hf:` reference."""

    repo: str
    revision: str
    quant: str | None

    def __str__(self) -> str:
        revision = "" if self.revision == "main" else f"@{self.revision}"
        return f"hf:{self.repo}{revision}" + (f":{self.quant}" if self.quant else "")


@dataclass(frozen=True)
class Variant:
    """One model of a repository: a GGUF file, or the files of a split one in order."""

    quant: str  # the tag in the file's name, upper case; "" when it has none
    files: tuple[str, ...]
    bytes: int
    complete: bool  # all shards are there

    @property
    def choice(self) -> str:
        """What to write after the colon to get this one."""
        return self.quant or self.files[0]


def parse(text: str) -> Reference:
    """Read `hf:owner/repo[@revision][:quant]`."""
    match = _REFERENCE.fullmatch(text)
    if match is None:
        raise InvalidRequestError(f"{text!r} is no reference; write hf:owner/repo[:quant]")
    return Reference(match["repo"], match["revision"] or "main", match["quant"])


def variants(sizes: dict[str, int]) -> list[Variant]:
    """The models among a repository's files (name -> bytes), by name."""
    groups: dict[tuple[str, int], dict[int, str]] = {}
    for name in sizes:
        match = _SHARD.fullmatch(name)
        # A projector turns pictures into embeddings; alone it is no language model.
        if match is None or PurePosixPath(name).name.lower().startswith(("mmproj", "imatrix")):
            continue
        key = match["stem"], int(match["parts"] or 1)
        groups.setdefault(key, {})[int(match["part"] or 1)] = name
    found = []
    for (stem, parts), shards in sorted(groups.items()):
        tag = _QUANT.search(stem)
        files = tuple(shards[part] for part in sorted(shards))
        found.append(
            Variant(
                tag["tag"].upper() if tag else "",
                files,
                sum(sizes[file] for file in files),
                sorted(shards) == list(range(1, parts + 1)),
            )
        )
    return found


def choose(reference: Reference, available: list[Variant]) -> Variant:
    """The variant that a reference means: by tag or file; else Q4_K_M; else the only one."""
    available = [variant for variant in available if variant.complete]
    if not available:
        raise ModelNotFoundError(
            f"{reference}: the repository has no GGUF model; look for one whose name ends in -GGUF"
        )
    choices = ", ".join(variant.choice for variant in available)
    wanted = reference.quant
    if wanted is None:
        matches = [v for v in available if v.quant == DEFAULT_QUANT] or available
    else:
        matches = [v for v in available if wanted in v.files or wanted.upper() == v.quant]
    if len(matches) == 1:
        return matches[0]
    if not matches:
        raise ModelNotFoundError(f"{reference}: no such model there; there are: {choices}")
    if len({v.choice for v in matches}) < len(matches):  # same tag twice: only names differ
        choices = ", ".join(variant.files[0] for variant in matches)
    raise AmbiguousModelError(
        f"{reference} could be several models; add one of these after a colon: {choices}"
    )
