"""SentencePiece's merging, against its definition."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from tests.text import metadata
from zerostall.text import Tokenizer

SCORES = st.sampled_from([-1.0, -2.0, -3.0])
VOCABULARIES = st.dictionaries(st.text("ab▁", min_size=1, max_size=5), SCORES, max_size=25)


def by_definition(scores, text):
    """Merge the neighbours whose result scores best, the leftmost of equal ones, until none."""
    symbols = list(text)
    while True:
        pairs = [
            (-scores[left + right], place)
            for place, (left, right) in enumerate(itertools.pairwise(symbols))
            if left + right in scores
        ]
        if not pairs:
            return symbols
        _, place = min(pairs)
        symbols[place : place + 2] = [symbols[place] + symbols[place + 1]]


@given(VOCABULARIES, st.text("ab ", max_size=24))
def test_merging_follows_the_definition_for_any_vocabulary(scores, text):
    scores = dict.fromkeys("ab▁", -9.0) | scores
    fields = metadata.spm()
    base = 260
    for key in ("tokens", "scores", "token_type"):
        del fields[f"tokenizer.ggml.{key}"][base:]
    fields["tokenizer.ggml.tokens"] += list(scores)
    fields["tokenizer.ggml.scores"] += list(scores.values())
    fields["tokenizer.ggml.token_type"] += [metadata.NORMAL] * len(scores)
    tokenizer = Tokenizer.from_gguf(fields)
    found = [tokenizer.token(id) for id in tokenizer.encode(text, add_special=False)]
    expected = by_definition(scores, f" {text}".replace(" ", "▁")) if text else []
    assert found == expected


def test_control_tokens_cannot_be_merged_into_being():
    fields = metadata.spm()
    fields["tokenizer.ggml.tokens"] += ["<", "s>"]
    fields["tokenizer.ggml.scores"] += [-1.0, -1.0]
    fields["tokenizer.ggml.token_type"] += [metadata.NORMAL] * 2
    tokenizer = Tokenizer.from_gguf(fields)
    assert 1 not in tokenizer.encode("<s>", add_special=False)


def test_without_bytes_an_unknown_character_is_the_unknown_token():
    fields = metadata.spm()
    for key in ("tokens", "scores", "token_type"):
        del fields[f"tokenizer.ggml.{key}"][4:260]
    tokenizer = Tokenizer.from_gguf(fields)
    assert [tokenizer.token(id) for id in tokenizer.encode("é", add_special=False)] == [
        "▁",
        "<unk>",
    ]


def test_a_long_text_without_spaces_takes_time_in_proportion():
    tokenizer = Tokenizer.from_gguf(metadata.spm())
    ids = tokenizer.encode("hello" * 20_000, add_special=False)
    assert [tokenizer.token(id) for id in ids[:3]] == ["▁hello", "hello", "hello"]
    assert len(ids) == 20_000
