"""Tokenizers against llama.cpp, its test vocabularies and its source; templates against
transformers, on every template that llama.cpp ships."""

from __future__ import annotations

import pytest
from transformers.utils.chat_template_utils import render_jinja_template

from tests.peers.llama_cpp import ROOT
from tests.peers.text_oracle import FLAGS, Oracle, expressions_by_name
from tests.text.texts import texts
from zerostall.errors import InvalidRequestError, ModelFormatError
from zerostall.gguf import open_model
from zerostall.text import Tokenizer, chat
from zerostall.text.bpe import split_steps
from zerostall.text.pretokenizers import APPROXIMATED, PRETOKENIZERS

pytestmark = pytest.mark.peers

MODELS = ROOT / "models"
SEPARATOR = "\n__ggml_vocab_test__\n"
# WordPiece, which no decoder uses.
VOCABULARIES = sorted(p for p in MODELS.glob("ggml-vocab-*.gguf") if "bert-bge" not in p.name)
TEMPLATES = sorted((MODELS / "templates").glob("*.jinja"))
# Pre-tokenizers of models that only embed text.
EMBEDDERS = {
    *("f2llmv2", "granite-embed-multi-311m", "granite-embed-multi-97m", "jina-de", "jina-es"),
    *("jina-v1-en", "jina-v2-code", "jina-v2-de", "jina-v2-es", "jina-v5-nano", "modern-bert"),
    *("roberta-bpe", "whitespace"),
}
TEXTS = texts(600, seed=2)

TURNS = [
    {"role": "user", "content": "Hi there"},
    {"role": "assistant", "content": "Hello! How are you?"},
    {"role": "user", "content": 'Fine <b>&</b> "you" é'},
]
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_time",
            "description": "Tell the time in a città",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string", "description": "A city"}},
                "required": ["city"],
            },
            "return": {"type": "string"},
        },
    }
]
CALL = {"name": "get_time", "arguments": {"city": "Bern"}}
TOOL_TURNS = [
    {"role": "system", "content": "Be brief."},
    TURNS[0],
    {
        "role": "assistant",
        "content": "",
        "reasoning_content": "I think",
        "tool_calls": [{"id": "abcdefghi", "type": "function", "function": CALL}],
    },
    {"role": "tool", "name": "get_time", "tool_call_id": "abcdefghi", "content": "12:00"},
    {"role": "assistant", "content": "Noon."},
    TURNS[2],
]
CONVERSATIONS = {
    "plain": {"messages": TURNS},
    "no prompt": {"messages": TURNS, "add_generation_prompt": False},
    "tools": {"messages": TOOL_TURNS, "tools": TOOLS},
}


@pytest.fixture(scope="module")
def oracle(tmp_path_factory):
    return Oracle(tmp_path_factory.mktemp("oracle"))


def load(path):
    return Tokenizer.from_gguf(open_model(path))


@pytest.mark.parametrize(
    "path", [p for p in VOCABULARIES if p.with_name(p.name + ".inp").exists()], ids=lambda p: p.stem
)
def test_the_test_texts_of_llama_cpp_become_the_ids_it_expects(path):
    cases = path.with_name(path.name + ".inp").read_bytes().decode().split(SEPARATOR)
    lines = path.with_name(path.name + ".out").read_text().splitlines()
    tokenizer = load(path)
    # The separator may also stand after the last text.
    assert len(cases) - len(lines) in (0, 1)
    for case, line in zip(cases, lines, strict=False):
        expected = [int(id) for id in line.split()]
        assert tokenizer.encode(case, add_special=False) == expected, case


@pytest.mark.parametrize("path", VOCABULARIES, ids=lambda p: p.stem)
def test_every_text_becomes_the_ids_that_llama_cpp_gives(path, oracle):
    file = open_model(path)
    tokenizer = Tokenizer.from_gguf(file)
    # Of the approximated ones only the DeepSeek ones have a vocabulary there, which differ here.
    approximated = file.get("tokenizer.ggml.pre") in APPROXIMATED
    cases = [text for text in TEXTS if not (approximated and "\u3000" in text)]
    answers = oracle.tokenize(path, cases)
    for text, expected in zip(cases, answers.ids, strict=True):
        found = [
            tokenizer.encode(text, add_special=flags[0] == "1", parse_special=flags[1] == "1")
            for flags in FLAGS
        ]
        assert found == expected, text
    assert sorted(tokenizer.eog_ids) == answers.eog
    special = [tokenizer.bos_id, tokenizer.eos_id, tokenizer.add_bos]
    assert special == answers.special[:3]


def test_every_pre_tokenizer_of_llama_cpp_is_here_but_those_of_embedders():
    assert set(expressions_by_name()) - EMBEDDERS == set(PRETOKENIZERS)


@pytest.mark.parametrize("name", sorted(set(PRETOKENIZERS) - APPROXIMATED))
def test_text_is_cut_as_llama_cpp_cuts_it(name, oracle):
    pre = PRETOKENIZERS[name]
    steps = split_steps(pre)
    answers = oracle.split(expressions_by_name()[name], TEXTS, pre.escape)
    for text, expected in zip(TEXTS, answers, strict=True):
        pieces = [piece for piece, _ in steps.pre_tokenize_str(text)]
        assert [len(piece.encode()) for piece in pieces] == expected, (text, pieces)


def ours(template, case):
    try:
        return chat.render(template, case["messages"], bos="<s>", eos="</s>", **options(case))
    except (InvalidRequestError, ModelFormatError) as error:
        return error


def theirs(template, case):
    arguments = {"add_generation_prompt": True, "bos_token": "<s>", "eos_token": "</s>"}
    arguments |= options(case)
    try:
        [text], _ = render_jinja_template([case["messages"]], chat_template=template, **arguments)
        return text
    except Exception as error:  # noqa: BLE001  whatever a template raises
        return error


def options(case):
    return {key: value for key, value in case.items() if key != "messages"}


@pytest.mark.parametrize("conversation", CONVERSATIONS)
@pytest.mark.parametrize("path", TEMPLATES, ids=lambda p: p.stem)
def test_a_template_renders_as_in_transformers_or_fails_with_its_message(path, conversation):
    template = path.read_text(encoding="utf-8")
    case = CONVERSATIONS[conversation]
    expected, found = theirs(template, case), ours(template, case)
    if isinstance(expected, Exception):
        assert isinstance(found, Exception)
        assert str(expected) in str(found)
    else:
        assert found == expected


def test_the_templates_that_fail_on_a_plain_conversation_are_those_that_need_tools():
    failing = {
        path.stem
        for path in TEMPLATES
        if isinstance(ours(path.read_text(encoding="utf-8"), CONVERSATIONS["plain"]), Exception)
    }
    assert len(TEMPLATES) >= 70
    assert failing == {
        "CohereForAI-c4ai-command-r-plus-tool_use",
        "NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use",
        "NousResearch-Hermes-3-Llama-3.1-8B-tool_use",
        "fireworks-ai-llama-3-firefunction-v2",
    }
