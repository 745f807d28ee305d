"""Files to read from."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.io.reading import MIB


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two files whose sizes are no multiples of a block, on a file system with O_DIRECT."""
    folder = tmp_path_factory.mktemp("io")
    paths = [folder / "first.bin", folder / "second.bin"]
    chance = random.Random(7)
    paths[0].write_bytes(chance.randbytes(4 * MIB + 1234))
    paths[1].write_bytes(chance.randbytes(MIB + 4095))
    return paths
