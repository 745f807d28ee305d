"""A conversation whose last message is the assistant's goes on with it."""

from __future__ import annotations

import pytest

from tests.serve.scripted import ScriptedLLM, talk
from zerostall import InvalidRequestError, SamplingParams
from zerostall.serve.faults import ApiError
from zerostall.serve.messages import ending

BEGUN = [{"role": "user", "content": "import sys"}, {"role": "assistant", "content": "import os "}]
SHOWN = "# user: import sys\n# assistant: import os "
FIELDS = {"max_tokens": 8, "temperature": 0}


@pytest.fixture(scope="module")
def expected(llm):
    return llm.generate(llm.tokenize(SHOWN, parse_special=True), SamplingParams(**FIELDS)).text


def test_a_chat_gives_what_follows_the_text_that_was_begun(client, expected):
    answer = client.chat.completions.create(model="", messages=BEGUN, **FIELDS)
    assert answer.choices[0].message.content == expected
    answer = client.chat.completions.create(
        model="",
        messages=BEGUN,
        **FIELDS,
        extra_body={"continue_final_message": True, "add_generation_prompt": False},
    )
    assert answer.choices[0].message.content == expected


def test_so_does_anthropics_api(server, expected):
    with server.anthropic() as claude:
        greedy = {"temperature": 0}
        answer = claude.messages.create(model="", messages=BEGUN, max_tokens=8, extra_body=greedy)
        assert answer.content[0].text == expected


def test_fields_say_how_the_prompt_ends(server):
    def prompt(**fields):
        return server.post("/apply-template", {"messages": BEGUN} | fields).json()["prompt"]

    assert prompt() == SHOWN
    assert prompt(continue_final_message=True) == SHOWN
    assert prompt(continue_final_message=False) == f"{SHOWN}\n# assistant:"
    assert prompt(add_generation_prompt=True) == f"{SHOWN}\n# assistant:"
    assert prompt(add_generation_prompt=False) == f"{SHOWN}\n"


CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}


@pytest.mark.parametrize(
    ("last", "fields", "ends"),
    [
        ({"role": "user", "content": "x"}, (None, None), "answer"),
        ({"role": "user", "content": "x"}, (False, None), "none"),
        ({"role": "assistant", "content": "x"}, (None, None), "continue"),
        ({"role": "assistant", "content": " "}, (None, None), "answer"),
        ({"role": "assistant", "content": "x", "tool_calls": [CALL]}, (None, None), "answer"),
        ({"role": "assistant", "content": [{"text": "x"}]}, (False, True), "continue"),
    ],
)
def test_only_a_text_of_the_assistants_goes_on(last, fields, ends):
    assert ending([last], *fields) == ends


@pytest.mark.parametrize(
    ("last", "fields"),
    [({"role": "user", "content": "x"}, (None, True)), (BEGUN[1], (True, True))],
)
def test_what_cannot_go_on_is_a_400_that_names_the_field(last, fields):
    with pytest.raises(ApiError, match="^continue_final_message: ") as caught:
        ending([last], *fields)
    assert (caught.value.status, caught.value.param) == (400, "continue_final_message")


@pytest.mark.parametrize(
    ("path", "body"),
    [("/v1/messages", {"messages": BEGUN, "max_tokens": 2}), ("/v1/responses", {"input": "x"})],
)
def test_other_routes_do_not_know_the_fields(server, path, body):
    for name in ("continue_final_message", "add_generation_prompt"):
        answer = server.post(path, body | {name: True})
        assert (answer.status_code, name in answer.json()["error"]["message"]) == (400, True)


def test_a_call_without_its_result_cannot_go_on(server):
    use = {"type": "tool_use", "id": "t1", "name": "add", "input": {}}
    turns = [BEGUN[0], {"role": "assistant", "content": [use]}]
    answer = server.post("/v1/messages", {"messages": turns, "max_tokens": 2})
    assert answer.status_code == 400
    assert "the last is the assistant's" in answer.json()["error"]["message"]


def test_reasoning_that_was_begun_goes_on():
    async def ask(client):
        turns = [BEGUN[0], {"role": "assistant", "content": "<think>I am"}]
        return await client.post("/v1/chat/completions", json={"messages": turns})

    llm = ScriptedLLM(" sure</think>", "Yes")
    message = talk(llm, ask).json()["choices"][0]["message"]
    assert llm.ending == "continue"
    assert message == {"role": "assistant", "content": "Yes", "reasoning_content": "sure"}


TRIMMING = "{% for m in messages %}<{{ m.role }}>{{ m.content | trim }}</s>{% endfor %}"


def test_a_template_that_trims_or_hides_the_text(llm, monkeypatch):
    templates = llm.tokenizer.chat_templates
    monkeypatch.setitem(templates, "default", TRIMMING)
    assert llm.render_chat(BEGUN, ending="continue") == "<user>import sys</s><assistant>import os"
    marker = [BEGUN[0], {"role": "assistant", "content": "</s>"}]
    assert llm.render_chat(marker, ending="continue").endswith("<assistant></s>")
    monkeypatch.setitem(templates, "default", "{{ messages[0].content }}")
    with pytest.raises(InvalidRequestError, match="does not show the last message"):
        llm.render_chat(BEGUN, ending="continue")
    with pytest.raises(InvalidRequestError, match="has no text"):
        llm.render_chat([{"role": "assistant", "content": None}], ending="continue")
