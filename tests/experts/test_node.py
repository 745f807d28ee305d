"""The memory of experts is on the NUMA node of their drive."""

from __future__ import annotations

import pytest

from tests.experts.streamed import Model, logits
from tests.numa import mbind_is_allowed, preferred_bytes

ABSENT = 1000  # a machine that lacks this node leaves the memory where it is


def test_a_node_that_is_not_there_changes_no_bit(either: Model) -> None:
    ids = either.ids(40)
    engine = either.engine(threads=2, bytes=either.least, node=ABSENT)
    assert logits(engine, ids).tobytes() == either.expected(ids).tobytes()
    # Slots, and rows read to be packed into them, are what is to be there.
    assert engine.node_bytes == {ABSENT: either.least}
    assert either.engine(bytes=either.least).node_bytes == {}


@pytest.mark.skipif(not mbind_is_allowed(), reason="the kernel takes no wish for a node here")
def test_slots_and_what_is_read_for_them_are_on_the_drives_node(either: Model) -> None:
    before = preferred_bytes()
    anywhere = either.engine(bytes=either.least)
    assert preferred_bytes() == before
    engine = either.engine(bytes=either.least, node=0)
    there = preferred_bytes() - before
    # But for the parts of pages at the ends of each arena; what a token chose is not there.
    assert engine.node_bytes[0] - (64 << 10) <= there <= engine.node_bytes[0] + (64 << 10)
    del engine
    assert preferred_bytes() == before
    del anywhere
