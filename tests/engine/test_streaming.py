"""How experts are read, as the core is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from zerostall import gguf, hub
from zerostall.engine.streaming import Streaming


@pytest.fixture(scope="module")
def nano():
    return gguf.open_model(hub.resolve("nano"))


def test_the_speed_of_the_drive_is_known_where_it_was_probed(nano, tmp_path: Path) -> None:
    long = tmp_path / "long"
    long.write_bytes(bytes(32 << 20))

    class File:
        paths = (str(long),)

    assert Streaming(io="auto").bytes_per_second(File()) > 0
    assert Streaming(io="pread").bytes_per_second(nano) == 0
