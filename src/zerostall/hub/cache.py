"""Models that are on this machine: built in, or in huggingface_hub's cache."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from zerostall.errors import ModelNotFoundError
from zerostall.hub.faults import AmbiguousModelError
from zerostall.hub.references import DEFAULT_QUANT, Reference, choose, variants

BUILT_IN = {"nano": "nano.gguf", "nano-draft": "nano-draft.gguf"}
DATA = Path(__file__).parents[1] / "data"


@dataclass(frozen=True)
class LocalModel:
    """A model that runs without a download. `name` is what -m takes."""

    name: str
    path: Path
    bytes: int


def local_models() -> list[LocalModel]:
    """Built-in models, then the complete GGUF models in the Hugging Face cache, by name."""
    found = [
        LocalModel(name, DATA / file, (DATA / file).stat().st_size)
        for name, file in BUILT_IN.items()
        if (DATA / file).is_file()
    ]
    return found + sorted(_cache_models(), key=lambda model: model.name)


def _cache_models() -> Iterator[LocalModel]:
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        repos = scan_cache_dir().repos
    except CacheNotFound:
        return
    for repo in repos:
        for revision in repo.revisions:
            if repo.repo_type != "model":
                continue
            folder = revision.snapshot_path
            models = variants(_files(folder))
            tags = [variant.choice for variant in models]
            for variant in models:
                choice = variant.choice if tags.count(variant.choice) == 1 else variant.files[0]
                rev = "main" if "main" in revision.refs else revision.commit_hash
                reference = Reference(repo.repo_id, rev, choice)
                if variant.complete:
                    yield LocalModel(str(reference), folder / variant.files[0], variant.bytes)


def find_cached(reference: Reference) -> Path | None:
    """The reference's first file if the cache has it whole, else None."""
    folder = _snapshot(reference)
    if folder is None:
        return None
    available = variants(_files(folder))
    default = any(v.complete and v.quant == DEFAULT_QUANT for v in available)
    if reference.quant is None and not default and not _offline():
        return None  # the hub may have the default, so what is cached must not decide
    try:
        return folder / choose(reference, available).files[0]
    except AmbiguousModelError:
        raise
    except ModelNotFoundError:
        return None


def _snapshot(reference: Reference) -> Path | None:
    """The folder of a revision in the cache.

    snapshot_download(local_files_only=True) would refuse one that lacks other files of the
    repository; the layout is documented in huggingface_hub's "Understand caching".
    """
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    name = repo_folder_name(repo_id=reference.repo, repo_type="model")
    folder = Path(constants.HF_HUB_CACHE) / name
    ref = folder / "refs" / reference.revision
    commit = ref.read_text().strip() if ref.is_file() else reference.revision
    snapshot = folder / "snapshots" / commit
    return snapshot if snapshot.is_dir() else None


def _files(folder: Path) -> dict[str, int]:
    return {
        path.relative_to(folder).as_posix(): path.stat().st_size
        for path in folder.rglob("*.gguf")
        if path.is_file()
    }


def _offline() -> bool:
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)
