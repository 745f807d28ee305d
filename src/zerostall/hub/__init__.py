"""From what a user names to a file: paths, built-in models, Hugging Face references.

A Hugging Face reference is `hf:owner/repo[@revision][:quant]`, where quant is a tag such as
Q4_K_M or a file name in the repository. Downloads live in huggingface_hub's cache and obey its
environment: HF_HOME, HF_TOKEN, HF_ENDPOINT, HF_HUB_OFFLINE.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from zerostall.errors import ModelNotFoundError
from zerostall.hub.cache import BUILT_IN, DATA, LocalModel, find_cached, local_models
from zerostall.hub.download import pull
from zerostall.hub.faults import AmbiguousModelError, GatedModelError, HubUnreachableError
from zerostall.hub.references import Reference, Variant, choose, parse, variants

__all__ = [
    "AmbiguousModelError",
    "GatedModelError",
    "HubUnreachableError",
    "LocalModel",
    "Reference",
    "Variant",
    "choose",
    "local_models",
    "parse",
    "pull",
    "resolve",
    "variants",
]


def resolve(model: str | os.PathLike[str]) -> Path:
    """The file that a model's name means.

    Args:
        model: a path, "nano", "nano-draft", or `hf:owner/repo[@revision][:quant]`. A reference
            is answered from the cache if it is there, without asking the hub; else downloaded.

    Returns:
        The GGUF file, of a split model the first. A path is returned as it is.

    Raises:
        ModelNotFoundError: nothing there, or one of its kinds: HubUnreachableError,
            GatedModelError, AmbiguousModelError.
        StorageError: the disk is full or refuses.
        InvalidRequestError: malformed reference.
    """
    name = os.fspath(model)
    if name in BUILT_IN:
        return DATA / BUILT_IN[name]
    if not name.startswith("hf:"):
        return _local(name)
    reference = parse(name)
    found = find_cached(reference)
    return found if found is not None else pull(reference)


def _local(name: str) -> Path:
    path = Path(name).expanduser()
    if not path.exists() and not os.path.lexists(path) and re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        raise ModelNotFoundError(
            f"{name}: no such file; for the model of that name on Hugging Face write hf:{name}"
        )
    return path
