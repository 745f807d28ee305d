"""How experts are read, as the core is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from zerostall import gguf, hub
from zerostall.engine.streaming import RING_DEPTH, Streaming


@pytest.fixture(scope="module")
def nano():
    return gguf.open_model(hub.resolve("nano"))


@pytest.mark.parametrize("io", ["auto", "uring"])
def test_the_ring_is_deeper_than_what_was_probed_unless_a_depth_is_asked_for(nano, io: str) -> None:
    options = Streaming(io=io).to_core(1 << 24, nano)
    assert options["ring_depth"] == RING_DEPTH >= options.get("depth", 16)
    asked = Streaming(io=io, depth=3).to_core(1 << 24, nano)
    assert asked["depth"] == 3
    assert "ring_depth" not in asked


def test_the_speed_of_the_drive_is_known_where_it_was_probed(nano, tmp_path: Path) -> None:
    long = tmp_path / "long"
    long.write_bytes(bytes(32 << 20))

    class File:
        paths = (str(long),)

    assert Streaming(io="auto").bytes_per_second(File()) > 0
    assert Streaming(io="pread").bytes_per_second(nano) == 0
