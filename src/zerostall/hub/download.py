"""Downloads from the Hugging Face hub that go on where they stopped."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from zerostall.errors import StorageError
from zerostall.hub.faults import typed_errors
from zerostall.hub.references import Reference, choose, variants

PART = ".zerostall-part"
LARGEST = 50 * 10**9  # bytes; huggingface_hub fetches larger files by another protocol only


def pull(reference: Reference) -> Path:
    """Bring a model into the cache, asking the hub for its newest version; resumes.

    Returns the first file. Errors as for resolve().
    """
    from huggingface_hub import HfApi, snapshot_download

    with typed_errors(reference), _bars_for_people():
        info = HfApi().model_info(reference.repo, revision=reference.revision, files_metadata=True)
        sizes = {file.rfilename: file.size or 0 for file in info.siblings or []}
        variant = choose(reference, variants(sizes))
        for file in variant.files:
            fetch(reference, file)
        folder = snapshot_download(
            reference.repo,
            revision=reference.revision,
            allow_patterns=[glob.escape(file) for file in variant.files],
        )
    return Path(folder) / variant.files[0]


def fetch(reference: Reference, file: str) -> None:
    """Store a file's content in the cache, continuing a download that was cut off.

    huggingface_hub 2 begins anew after an interruption (its issue 4228): too dear for files of
    many gigabytes. So the content comes here first, in a file beside its place in the cache;
    snapshot_download() then finds it there.

    Raises:
        StorageError: what was put together from parts is not what the hub has.
    """
    from huggingface_hub import constants, get_hf_file_metadata, get_token, hf_hub_url
    from huggingface_hub.file_download import http_get, repo_folder_name
    from huggingface_hub.utils import (  # type: ignore[attr-defined]
        WeakFileLock,
        build_hf_headers,
    )

    url = hf_hub_url(reference.repo, file, revision=reference.revision)
    remote = get_hf_file_metadata(url, token=get_token())
    if remote.etag is None or remote.size is None or remote.size > LARGEST:
        return  # snapshot_download() knows other ways
    folder = repo_folder_name(repo_id=reference.repo, repo_type="model")
    blob = Path(constants.HF_HUB_CACHE) / folder / "blobs" / remote.etag
    part = blob.with_name(blob.name + PART)
    blob.parent.mkdir(parents=True, exist_ok=True)
    with WeakFileLock(blob.with_name(part.name + ".lock")):
        if blob.exists():
            return
        with part.open("ab") as stream:
            done = stream.tell()
            headers = build_hf_headers() if _same_host(remote.location, url) else {}
            http_get(
                remote.location,
                stream,
                resume_size=done,
                headers=headers,
                expected_size=remote.size,
                displayed_filename=file,
            )
        if done and not _is_intact(part, remote.etag):
            part.unlink()
            raise StorageError(f"{reference}: {file} came damaged; run the command again")
        part.replace(blob)


def _same_host(a: str, b: str) -> bool:
    """Whether two URLs go to one host; the token is for the hub, not for its file servers."""
    return urlsplit(a).netloc == urlsplit(b).netloc


def _is_intact(path: Path, etag: str) -> bool:
    """Whether the content matches its etag, where that is a SHA-256 (large files)."""
    if len(etag) != 64:
        return True
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest() == etag


@contextlib.contextmanager
def _bars_for_people() -> Iterator[None]:
    """No progress bars where standard error is no terminal."""
    from huggingface_hub.utils import (  # type: ignore[attr-defined]
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    if sys.stderr.isatty() or are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()
