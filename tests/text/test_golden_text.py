"""The ids of llama.cpp and the pre-tokens of llama.cpp or the models' own expressions.

The vocabularies are reduced to what the texts reach: tests/golden/make_text.py.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from zerostall.text import Detokenizer, Tokenizer
from zerostall.text.bpe import split_steps
from zerostall.text.pretokenizers import PRETOKENIZERS

GOLDEN = Path(__file__).parents[1] / "golden" / "text"
FILES = {path.name.split(".")[0]: path for path in GOLDEN.glob("*.json.gz")}
VOCABULARIES = sorted(FILES.keys() - {"splits"})
SPLITS = json.loads(gzip.decompress(FILES["splits"].read_bytes()))


@pytest.fixture(scope="module", params=VOCABULARIES)
def golden(request):
    return json.loads(gzip.decompress(FILES[request.param].read_bytes()))


@pytest.fixture(scope="module")
def tokenizer(golden):
    return Tokenizer.from_gguf(golden["metadata"])


def test_all_decoder_vocabularies_of_llama_cpp_are_there():
    assert len(VOCABULARIES) == 17


def test_every_text_becomes_the_ids_that_llama_cpp_gives(golden, tokenizer):
    for text, expected in zip(golden["texts"], golden["expected"], strict=True):
        found = [
            tokenizer.encode(text, add_special=flags[0] == "1", parse_special=flags[1] == "1")
            for flags in golden["flags"]
        ]
        assert [[golden["ids"][id] for id in ids] for ids in found] == expected, text


def test_the_special_ids_are_those_of_llama_cpp(golden, tokenizer):
    ids = golden["ids"]
    assert sorted(ids[id] for id in tokenizer.eog_ids) == golden["eog"]
    special = [ids[tokenizer.bos_id], ids[tokenizer.eos_id], tokenizer.add_bos, False]
    assert special == golden["special"]


def test_decoding_gives_every_text_back(golden, tokenizer):
    for text in golden["texts"]:
        ids = tokenizer.encode(text)
        # U+2581 is how SentencePiece writes a space, so it comes back as one.
        if "▁" not in text:
            assert tokenizer.decode(ids) == text
        incremental = Detokenizer(tokenizer, strip_space=tokenizer.add_space_prefix)
        pieces = [incremental.push(id) for id in ids] + [incremental.finish()]
        assert "".join(pieces) == tokenizer.decode(ids)


@pytest.mark.parametrize("split", SPLITS["splits"], ids=lambda split: split["names"][0])
def test_text_is_cut_into_the_words_the_vocabulary_was_made_of(split):
    for name in split["names"]:
        steps = split_steps(PRETOKENIZERS[name])
        for text, expected in zip(SPLITS["texts"], split["lengths"], strict=True):
            found = [len(piece.encode()) for piece, _ in steps.pre_tokenize_str(text)]
            assert found == expected, (name, text)


def test_every_pre_tokenizer_has_golden_splits():
    assert {name for split in SPLITS["splits"] for name in split["names"]} == set(PRETOKENIZERS)
