"""With --check-records a damaged record is found, whether experts are streamed or all in memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.experts.streamed import Model
from tests.experts.test_damage import records, write
from zerostall import LLM, SamplingParams
from zerostall.engine.streaming import Streaming
from zerostall.errors import ModelFormatError

GREEDY = SamplingParams(temperature=0, max_tokens=8, ignore_eos=True)
CHECKED = Streaming(check_records=True)


@pytest.fixture
def damaged(converted: Model, tmp_path: Path) -> Path:
    """A converted model in which one bit of one record is another."""
    path = tmp_path / "damaged.gguf"
    path.write_bytes(converted.path.read_bytes())
    start = records(Model(path), 3)[5]
    write(path, start + 64 + 999, bytes([path.read_bytes()[start + 64 + 999] ^ 1]))
    return path


@pytest.mark.parametrize("threads", [1, 2])
def test_a_damaged_record_is_found_at_load_where_all_is_in_memory(damaged, threads) -> None:
    with pytest.raises(ModelFormatError) as caught:
        LLM(damaged, threads=threads, ctx=256, streaming=CHECKED)
    message = str(caught.value)
    assert message.startswith(f"{damaged}: tensor 'blk.3.ffn_experts")
    assert "record 5, checksum of the payload" in message
    assert "the file is damaged: convert the model again" in message


def test_nothing_is_compared_unless_it_is_asked_for(damaged) -> None:
    with LLM(damaged, threads=1, ctx=256) as llm:
        assert len(llm.generate("def f(x):", GREEDY).token_ids) == 8


def test_a_whole_file_passes(converted: Model) -> None:
    with LLM(converted.path, threads=2, ctx=256, streaming=CHECKED) as llm:
        assert llm.loaded.scheduler.stream_stats() == {}
        assert len(llm.generate("def f(x):", GREEDY).token_ids) == 8
