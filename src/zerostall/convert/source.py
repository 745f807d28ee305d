"""Reading the model that is converted: by position, so that what fails is an error with a place."""

from __future__ import annotations

import errno
import os
from types import TracebackType

import numpy as np
import numpy.typing as npt

from zerostall._core import GgufFile, TensorInfo
from zerostall.errors import StorageError

Bytes = npt.NDArray[np.uint8]


class Source:
    """The tensors of a model's files, open; a context manager.

    Not through the mapping: to touch what a failing drive does not give, or what was cut off since
    the file was opened, would end the process. May be used from several threads.

    Args:
        file: the model.
        tensors: what can be read; those of `file.tensors()` or `file.stored_tensors()`.

    Raises:
        StorageError: a file cannot be opened.
    """

    def __init__(self, file: GgufFile, tensors: list[TensorInfo]) -> None:
        self._paths = file.paths
        self._tensors = {tensor.name: tensor for tensor in tensors}
        self._files: list[int] = []
        for path in self._paths:
            try:
                self._files.append(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
            except OSError as error:
                self.close()
                raise StorageError(f"{path}: cannot be read: {error.strerror}") from error

    def __enter__(self) -> Source:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the files; safe to call twice."""
        while self._files:
            os.close(self._files.pop())

    def read(self, name: str, begin: int, count: int) -> Bytes:
        """So many bytes of a tensor, from its byte `begin` on.

        Raises:
            StorageError: the drive fails, or the file is shorter than it was.
        """
        tensor = self._tensors[name]
        assert begin + count <= tensor.bytes, name
        return self.read_file(tensor.shard, tensor.offset + begin, count)

    def read_file(self, shard: int, begin: int, count: int) -> Bytes:
        """So many bytes of a file of the model; errors as of read()."""
        data = np.empty(count, np.uint8)
        done = 0
        while done < count:
            at = begin + done
            try:
                got = os.preadv(self._files[shard], [data[done:].data], at)
                if got == 0:
                    raise OSError(errno.EIO, "the file ends early")
            except OSError as error:
                raise StorageError(
                    f"{self._paths[shard]}: reading at byte {at} failed: {error.strerror}; "
                    "check the file and its drive"
                ) from error
            done += got
        return data
