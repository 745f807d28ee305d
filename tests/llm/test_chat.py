"""chat(): the template, the beginning-of-text token, and the reuse of a session."""

from __future__ import annotations

import pytest

from tests.llm.models import nano, with_template
from zerostall import LLM, ContextLengthError, InvalidRequestError, SamplingParams

HELLO = [{"role": "user", "content": "import sys"}]
GREEDY = SamplingParams(temperature=0, max_tokens=16)


@pytest.fixture(scope="module")
def chatty(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "nano-chat.gguf"
    path.write_bytes(with_template(nano()))
    with LLM(path, threads=1) as llm:
        yield llm


def test_a_conversation_is_completed_in_the_models_format(llm, chatty):
    prompt = "# user: import sys\n# assistant:"
    assert chatty.encode_chat(HELLO) == llm.tokenize(prompt)
    assert chatty.chat(HELLO, GREEDY).token_ids == llm.generate(prompt, GREEDY).token_ids


def test_tools_are_shown_in_the_template_that_the_model_has_for_them(llm, chatty, monkeypatch):
    template = "{{ tools[0].name }}: {{ messages[0].content }}"
    monkeypatch.setitem(chatty.tokenizer.chat_templates, "tool_use", template)
    assert chatty.encode_chat(HELLO, tools=[{"name": "now"}]) == llm.tokenize("now: import sys")
    assert chatty.encode_chat(HELLO) == llm.tokenize("# user: import sys\n# assistant:")


def test_an_answer_has_no_limit_but_the_context(chatty):
    answer = chatty.chat(HELLO, SamplingParams(temperature=0, ignore_eos=True))
    assert answer.usage.total_tokens == chatty.context + 1


def test_the_next_turn_in_a_session_computes_only_what_is_new(chatty):
    with chatty.open_session() as session:
        first = list(chatty.chat_stream(HELLO, GREEDY, session=session))
        said = "".join(chunk.text for chunk in first)
        turns = [*HELLO, {"role": "assistant", "content": said}, {"role": "user", "content": "x"}]
        second = list(chatty.chat_stream(turns, GREEDY, session=session))
    alone = chatty.chat(turns, GREEDY)
    assert [t for chunk in second for t in chunk.token_ids] == alone.token_ids
    assert second[-1].timings.prompt_tokens < alone.timings.prompt_tokens
    assert second[-1].usage.prompt_tokens == alone.usage.prompt_tokens


def test_a_base_model_says_that_it_has_no_template(llm):
    with pytest.raises(InvalidRequestError, match="base model"):
        llm.chat(HELLO)


def test_an_empty_conversation_is_refused(chatty):
    with pytest.raises(InvalidRequestError, match="messages is empty"):
        chatty.chat([])


def test_a_conversation_longer_than_the_context_is_refused(chatty):
    with pytest.raises(ContextLengthError):
        chatty.chat([{"role": "user", "content": "import sys\n" * 2000}])


def test_switches_reach_the_template_and_cannot_replace_the_conversation(chatty, monkeypatch):
    template = "{% if enable_thinking %}think: {% endif %}{{ messages[0].content }}"
    monkeypatch.setitem(chatty.tokenizer.chat_templates, "default", template)
    assert chatty.render_chat(HELLO, variables={"enable_thinking": True}) == "think: import sys"
    assert chatty.render_chat(HELLO, variables={"enable_thinking": False}) == "import sys"
    with pytest.raises(InvalidRequestError, match="variables has 'messages'"):
        chatty.chat(HELLO, variables={"messages": []})
