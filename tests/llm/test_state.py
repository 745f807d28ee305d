"""What the cache remembers: prefixes of other calls, and sessions in files."""

from __future__ import annotations

import pytest

from zerostall import LLM, InvalidRequestError, SamplingParams, StateFileError

GREEDY = SamplingParams(temperature=0, max_tokens=12)
TEXT = "import os\n\n\ndef walk(top):\n    for name in os.listdir(top):\n        yield name\n" * 4


def last(llm, prompt, **how):
    return list(llm.stream(prompt, GREEDY, **how))[-1]


def test_a_second_call_takes_the_prefix_from_the_cache(llm):
    ids = llm.tokenize("# cached\n" + TEXT)
    first = llm.generate(ids, GREEDY)
    again = llm.generate(ids, GREEDY)
    other = llm.generate([*ids[:-1], ids[0]], GREEDY)
    assert first.token_ids == again.token_ids
    rest = len(ids) - (len(ids) - 1) // 64 * 64
    assert again.timings.prompt_tokens == other.timings.prompt_tokens == rest
    assert llm.loaded.scheduler.engine.check_integrity() is None


def test_a_saved_session_goes_on_where_it_was(llm, tmp_path):
    path = tmp_path / "session"
    ids = llm.tokenize("# saved\n" + TEXT)
    with llm.open_session() as session:
        with pytest.raises(InvalidRequestError, match="nothing to save"):
            llm.save_state(session, path)
        expected = [*llm.stream(ids, GREEDY, session=session)]
        llm.save_state(session, path)
        held = session.tokens
    with llm.load_state(path) as session:
        assert session.tokens == held
        assert last(llm, ids, session=session).timings.prompt_tokens == 1
        again = [*llm.stream(ids, GREEDY, session=session)]
    assert [c.token_ids for c in again] == [c.token_ids for c in expected]


def test_another_models_state_is_refused(llm, tmp_path):
    path = tmp_path / "session"
    with LLM("nano-draft") as other, other.open_session() as session:
        list(other.stream([1, 2, 3], GREEDY, session=session))
        other.save_state(session, path)
    with pytest.raises(StateFileError):
        llm.load_state(path)
    assert llm.generate("x", GREEDY).token_ids
