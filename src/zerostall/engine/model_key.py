"""Which model a file holds: a number for it, found in milliseconds."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import xxhash

from zerostall.errors import StorageError

if TYPE_CHECKING:
    from zerostall._core import GgufFile, TensorInfo

SAMPLES = 64  # pieces of the weights; cold ones from an NVMe drive take some 0.1 ms each
SAMPLE_BYTES = 4096
_MOST_HEAD = 64 << 20  # of a file without tensors


def model_key(file: GgufFile) -> str:
    """Of a model's metadata, tensor directory, sizes and samples of its weights.

    The first megabytes alone would not do: with a large vocabulary they are the tokenizer, which
    all models made from one have in common. Samples come from tensors spread evenly over the
    directory, not over the bytes, most of which are experts', which some training leaves alone.

    Raises:
        StorageError: a file of the model is gone, or cannot be read.
    """
    tensors = file.stored_tensors() if file.container_version else file.tensors()
    samples = [_sample(tensors, number) for number in range(SAMPLES)] if tensors else []
    digest = xxhash.xxh3_64()
    for shard, path in enumerate(file.paths):
        begins = [tensor.offset for tensor in tensors if tensor.shard == shard]
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                digest.update(f"{os.fstat(descriptor).st_size} ".encode())
                digest.update(os.pread(descriptor, min(begins, default=_MOST_HEAD), 0))
                for where, at, size in samples:
                    if where == shard:
                        digest.update(os.pread(descriptor, size, at))
            finally:
                os.close(descriptor)
        except OSError as error:
            raise StorageError(
                f"{path}: cannot be read, to tell which model it is: {error.strerror}; "
                "put the file back where it was"
            ) from error
    return digest.hexdigest()


def _sample(tensors: list[TensorInfo], number: int) -> tuple[int, int, int]:
    """The shard, position and size of a piece."""
    # What does not divide says where in the tensor, so that few tensors have pieces all over.
    index, rest = divmod(number * len(tensors), SAMPLES)
    tensor = tensors[index]
    size = min(SAMPLE_BYTES, tensor.bytes)
    return tensor.shard, tensor.offset + (tensor.bytes - size) * rest // SAMPLES, size
