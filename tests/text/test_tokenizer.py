"""Special tokens, BOS and EOS, decoding: what the tokenizer adds around its model."""

from __future__ import annotations

import logging

import pytest

from tests.text import metadata
from tests.text.metadata import CONTROL, USER
from zerostall.errors import InvalidRequestError
from zerostall.text import Tokenizer


def bpe(**changes):
    return Tokenizer.from_gguf(metadata.bpe(**changes))


def spm(**changes):
    return Tokenizer.from_gguf(metadata.spm(**changes))


def names(tokenizer, ids):
    return [tokenizer.token(id) for id in ids]


def test_merges_make_words():
    tokenizer = bpe()
    ids = tokenizer.encode("hello world")
    assert names(tokenizer, ids) == ["<|bos|>", "hello", "Ġworld"]


def test_bos_is_added_only_with_add_special():
    assert names(bpe(), bpe().encode("hello", add_special=False)) == ["hello"]


def test_the_file_overrules_the_default_of_its_family():
    assert names(bpe(), bpe(add_bos_token=False).encode("hello")) == ["hello"]
    tokenizer = bpe(add_bos_token=True, add_eos_token=True, pre="gpt-2")
    assert names(tokenizer, tokenizer.encode("hello")) == ["<|bos|>", "hello", "<|im_end|>"]


def test_gpt2_adds_nothing_by_default():
    assert names(bpe(), bpe(pre="gpt-2").encode("hello")) == ["hello"]


def test_an_empty_text_is_only_what_is_added():
    assert names(bpe(), bpe().encode("")) == ["<|bos|>"]
    assert spm().encode("", add_special=False) == []


def test_control_tokens_in_text_count_only_with_parse_special():
    tokenizer = bpe()
    text = "<|im_start|>hello<|im_end|>"
    plain = tokenizer.encode(text, add_special=False)
    assert not {tokenizer.id_of("<|im_start|>"), tokenizer.id_of("<|im_end|>")} & set(plain)
    assert tokenizer.decode(plain) == text
    parsed = tokenizer.encode(text, add_special=False, parse_special=True)
    assert names(tokenizer, parsed) == ["<|im_start|>", "hello", "<|im_end|>"]


def test_user_defined_tokens_always_count():
    tokenizer = bpe()
    ids = tokenizer.encode("hello<|mark|>hello", add_special=False)
    assert names(tokenizer, ids) == ["hello", "<|mark|>", "hello"]
    assert tokenizer.decode(ids) == "hello<|mark|>hello"


def test_decoding_hides_control_tokens_unless_asked():
    tokenizer = bpe()
    ids = tokenizer.encode("<|im_start|>hello", parse_special=True)
    assert tokenizer.decode(ids) == "hello"
    assert tokenizer.decode(ids, skip_special=False) == "<|bos|><|im_start|>hello"


def test_bytes_that_are_no_utf8_decode_to_replacement_characters():
    tokenizer = bpe()
    ids = tokenizer.encode("é", add_special=False)
    assert len(ids) == 2
    assert tokenizer.decode(ids[:1]) == "\ufffd"
    assert tokenizer.decode(ids) == "é"


def test_sentencepiece_puts_a_space_in_front_and_takes_it_away():
    tokenizer = spm()
    ids = tokenizer.encode("hello w")
    assert names(tokenizer, ids) == ["<s>", "▁hello", "▁w"]
    assert tokenizer.decode(ids) == "hello w"
    assert tokenizer.decode(ids, skip_special=False) == "<s>hello w"
    assert tokenizer.decode(tokenizer.encode("  hello")) == "  hello"


def test_sentencepiece_puts_a_space_after_each_special_token():
    tokenizer = spm()
    ids = tokenizer.encode("[INST]hello</s>hello", add_special=False, parse_special=True)
    assert names(tokenizer, ids) == ["[INST]", "▁hello", "</s>", "▁hello"]


def test_no_space_is_put_in_front_when_the_file_says_so():
    tokenizer = spm(add_space_prefix=False)
    assert names(tokenizer, tokenizer.encode("hello")) == ["<s>", "hello"]
    assert tokenizer.decode(tokenizer.encode(" hello")) == " hello"


def test_characters_without_a_token_become_bytes():
    tokenizer = spm()
    ids = tokenizer.encode("é", add_special=False)
    assert names(tokenizer, ids) == ["▁", "<0xC3>", "<0xA9>"]
    assert tokenizer.decode(ids) == "é"


def test_phi_3_special_tokens_swallow_the_whitespace_after_them():
    fields = metadata.spm() | {"general.name": "Phi-3 mini"}
    tokenizer = Tokenizer.from_gguf(fields)
    ids = tokenizer.encode("[INST] \n hello", add_special=False, parse_special=True)
    assert names(tokenizer, ids) == ["[INST]", "▁hello"]
    ids = tokenizer.encode("<s> hello", add_special=False, parse_special=True)
    assert names(tokenizer, ids) == ["<s>", "▁", "▁hello"]


def test_known_names_end_a_generation():
    tokenizer = bpe(eos_token_id=None)
    assert tokenizer.eog_ids == {tokenizer.id_of("<|im_end|>")}
    assert spm().eog_ids == {2}


def test_a_token_named_like_a_marker_is_control_whatever_its_type():
    fields = metadata.bpe()
    types = fields["tokenizer.ggml.token_type"]
    types[fields["tokenizer.ggml.tokens"].index("<|im_end|>")] = USER
    tokenizer = Tokenizer.from_gguf(fields)
    end = tokenizer.id_of("<|im_end|>")
    assert end not in tokenizer.encode("<|im_end|>")
    assert tokenizer.decode([end]) == ""


def renamed(*texts):
    """The vocabulary with its special tokens called otherwise."""
    fields = metadata.bpe(bos_token_id=None, eos_token_id=None, pre="gpt-2")
    tokens = fields["tokenizer.ggml.tokens"]
    tokens[-len(texts) :] = texts
    fields["tokenizer.ggml.token_type"][-len(texts) :] = [CONTROL] * len(texts)
    return Tokenizer.from_gguf(fields)


def test_end_closes_only_a_channel_where_return_closes_the_turn():
    tokenizer = renamed("<|end|>", "<|return|>", "<|call|>")
    assert names(tokenizer, sorted(tokenizer.eog_ids)) == ["<|return|>", "<|call|>"]
    assert tokenizer.decode([tokenizer.id_of("<|end|>")]) == "<|end|>"
    assert names(tokenizer, renamed("<|end|>", "x1", "x2").eog_ids) == ["<|end|>"]


def test_the_strike_tag_of_gemma_4_does_not_end_a_generation():
    tokenizer = renamed("</s>", "<|tool_response>", "<eos>")
    assert names(tokenizer, sorted(tokenizer.eog_ids)) == ["<|tool_response>", "<eos>"]


def test_channel_markers_are_shown():
    tokenizer = renamed("<|channel|>", "<|message|>")
    assert tokenizer.decode(tokenizer.encode("<|channel|>a")) == "<|channel|>a"


def test_fill_in_markers_are_control_tokens_and_the_padding_ends():
    tokenizer = renamed("<|fim_prefix|>", "<|fim_pad|>", "<|repo_name|>", "<|file_sep|>")
    expected = ["<|fim_pad|>", "<|repo_name|>", "<|file_sep|>"]
    assert names(tokenizer, sorted(tokenizer.eog_ids)) == expected


def test_a_file_without_ids_gets_the_defaults_of_its_model():
    tokenizer = spm(bos_token_id=None, eos_token_id=None, unknown_token_id=None)
    assert (tokenizer.bos_id, tokenizer.eos_id, tokenizer.eos_token) == (1, 2, "</s>")
    tokenizer = bpe(bos_token_id=None, eos_token_id=None)
    assert (tokenizer.bos_id, tokenizer.eos_id, tokenizer.bos_token) == (None, None, "")
    assert names(tokenizer, tokenizer.encode("hello")) == ["hello"]


def test_a_missing_pre_tokenizer_is_said_once_and_replaced_by_the_default(caplog):
    with caplog.at_level(logging.WARNING):
        tokenizer = bpe(pre=None)
        tokenizer.encode("hello")
    assert [record.message for record in caplog.records] == [
        "the file names no pre-tokenizer (tokenizer.ggml.pre): using 'default'"
    ]


def test_empty_tokens_get_a_name():
    fields = metadata.bpe()
    fields["tokenizer.ggml.tokens"][200] = ""
    assert Tokenizer.from_gguf(fields).token(200) == "[EMPTY_200]"


def test_ids_outside_the_vocabulary_are_refused():
    tokenizer = bpe()
    for id in (-1, tokenizer.vocab_size):
        with pytest.raises(InvalidRequestError, match=f"token id {id} does not exist"):
            tokenizer.decode([id])


def test_a_lone_surrogate_is_refused():
    with pytest.raises(InvalidRequestError, match="lone surrogate at 1"):
        bpe().encode("a\ud800")


def test_templates_are_read_by_name():
    fields = metadata.bpe() | {
        "tokenizer.chat_template": "plain",
        "tokenizer.chat_templates": ["tool_use", "rag"],
        "tokenizer.chat_template.tool_use": "tools",
    }
    tokenizer = Tokenizer.from_gguf(fields)
    assert tokenizer.chat_templates == {"default": "plain", "tool_use": "tools"}
    assert tokenizer.chat_template == "plain"


def test_a_template_for_tools_is_used_when_tools_are_given_and_only_then():
    fields = metadata.bpe() | {
        "tokenizer.chat_template": "plain",
        "tokenizer.chat_templates": ["tool_use"],
        "tokenizer.chat_template.tool_use": "tools",
    }
    tokenizer = Tokenizer.from_gguf(fields)
    given = [tokenizer.template_for(tools) for tools in (None, [], [{"type": "function"}])]
    assert given == ["plain", "tools", "tools"]
    assert bpe().template_for([{}]) == bpe().chat_template
    assert spm().template_for([{}]) is None


def test_chatml_is_the_template_where_its_markers_exist_and_there_is_none_elsewhere():
    assert "<|im_start|>" in bpe().chat_template
    assert spm().chat_template is None
