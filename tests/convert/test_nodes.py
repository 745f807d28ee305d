"""Converted models on machines of several NUMA nodes: panels are copied to the node of their rows.

The choice is that of a recorded machine of two sockets; nodes that the machine of the tests lacks
leave its memory where it is.
"""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.cpu.recorded import machine
from tests.graph.tiny import engine, forward, random_ids
from tests.numa import mbind_is_allowed, preferred_bytes
from zerostall import _core, arch, convert, hub

NANO = hub.resolve("nano")
CONTEXT = 256
IDS = random_ids(50)


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("converted") / "nano.gguf"
    convert.convert(NANO, path)
    return path


@pytest.fixture
def two_sockets(tmp_path: Path) -> dict[str, Any]:
    """The threads of two cores of each socket."""
    placed = machine(tmp_path / "xeon", "xeon_6338_2s", affinity=[0, 1, 32, 33]).place()
    assert placed.nodes == [0, 0, 1, 1]
    return {"threads": placed.threads, "nodes": placed.nodes}


def split(nodes: list[int], experts: bool = True) -> dict[int, int]:
    """Bytes of packed weights for each node, by their shapes."""
    file = _core.GgufFile(NANO)
    tensors = {tensor.name: tensor for tensor in file.tensors()}
    total: Counter[int] = Counter()
    for name, begin, end, count in _core.plan_weights(file, arch.load(file, CONTEXT).tape)[0]:
        tensor = tensors[name]
        if len(tensor.shape) > 2 and not experts:
            continue
        row = tensor.bytes // int(np.prod(tensor.shape[:-1]))
        for node, first, last in _core.split_by_node(-(-(end - begin) // 16), nodes):
            total[node] += count * (last - first) * 16 * row
    return dict(total)


def run(path: Path, **options: Any) -> tuple[_core.Engine, bytes]:
    core = engine(path, arch.load(_core.GgufFile(path), CONTEXT).tape, **options)
    return core, forward(core, IDS).tobytes()


def test_each_node_gets_its_rows_of_every_weight_and_bits_stay(
    converted: Path, two_sockets: dict[str, Any]
) -> None:
    _, expected = run(NANO)
    for path in (NANO, converted):
        core, got = run(path, **two_sockets)
        assert got == expected
        assert forward(core, IDS, 1).tobytes() == expected
        assert core.node_bytes == split(two_sockets["nodes"])


def test_rows_follow_the_threads_where_nodes_have_unequal_cores(
    converted: Path, tmp_path: Path
) -> None:
    placed = machine(tmp_path, "xeon_6338_2s", affinity=[0, 1, 40, 41, 42]).place()
    core, got = run(converted, threads=placed.threads, nodes=placed.nodes)
    assert got == run(NANO)[1]
    assert core.node_bytes == split([1, 1, 1, 0, 0])
    assert core.node_bytes[1] > core.node_bytes[0]


def test_on_one_node_panels_are_used_in_the_file_and_on_two_no_more(
    converted: Path, two_sockets: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "changed.gguf"
    shutil.copy(converted, path)
    mapped, expected = run(path, threads=4, nodes=[1] * 4)
    copied, same = run(path, **two_sockets)
    assert mapped.node_bytes == {} and same == expected
    directory = _core.GgufFile(path)
    with path.open("r+b") as file:
        for index in {weight["stored"] for weight in directory.packed()}:
            tensor = directory.stored_tensors()[index]
            file.seek(tensor.offset)
            file.write(bytes(tensor.bytes))
    assert forward(copied, IDS).tobytes() == expected
    assert forward(mapped, IDS).tobytes() != expected


@pytest.mark.parametrize("nodes", [None, [0, 0, 1, 1]])
def test_a_model_without_experts_ignores_how_they_are_streamed(
    nodes: list[int] | None, tmp_path: Path
) -> None:
    path = hub.resolve("nano-draft")
    convert.convert(path, tmp_path / "converted.gguf")
    for streaming in (None, {"bytes": 1 << 20, "direct": False}):
        options = {"threads": 4, "nodes": nodes, "streaming": streaming}
        assert run(tmp_path / "converted.gguf", **options)[1] == run(path)[1]


def test_what_stays_in_memory_beside_streamed_experts_is_split_too(
    converted: Path, two_sockets: dict[str, Any]
) -> None:
    _, expected = run(NANO)
    file = _core.GgufFile(converted)
    tape = arch.load(file, CONTEXT).tape
    room = _core.plan_memory(file, tape, context=CONTEXT, streaming=True)["experts"]
    for path in (NANO, converted):
        core, got = run(path, **two_sockets, streaming={"bytes": room, "direct": False})
        assert got == expected
        assert core.node_bytes == split(two_sockets["nodes"], experts=False)


@pytest.mark.skipif(not mbind_is_allowed(), reason="the kernel takes no wish for a node here")
@pytest.mark.parametrize("is_converted", [False, True])
def test_the_kernel_is_told_the_node_of_panels(converted: Path, is_converted: bool) -> None:
    path = converted if is_converted else NANO
    before = preferred_bytes()
    core, there = run(path, threads=2, nodes=[0, 1000])  # which is not there
    told = preferred_bytes() - before
    plain, anywhere = run(path, threads=2)
    assert there == anywhere
    # Panels begin and end within pages.
    assert 0.95 < told / core.node_bytes[0] <= 1.01
    assert preferred_bytes() - before == told
    del plain
