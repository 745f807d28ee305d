"""zerostall chat: turns, commands, limits, Ctrl-C."""

from __future__ import annotations

import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest

from tests.children import child
from tests.cli.shell import PAUSING, run
from tests.tasks import HANG_S
from zerostall import SamplingParams
from zerostall.cli.chat import Conversation

OPTIONS = ("--temp", "0", "-n", "8", "-t", "1")


def answer(llm, prompt):
    return llm.generate(prompt, SamplingParams(temperature=0, max_tokens=8)).text


def test_each_turn_is_answered_with_the_turns_before_it(llm, chat_model):
    first = answer(llm, "# user: import os\n# assistant:")
    second = answer(
        llm, f"# user: import os\n# assistant: {first}\n# user: import sys\n# assistant:"
    )
    done = run("chat", "-m", chat_model, *OPTIONS, stdin="import os\n\nimport sys\n")
    assert (done.returncode, done.stdout) == (0, f"{first}\n{second}\n")


def test_reset_forgets_and_exit_leaves(llm, chat_model):
    said = answer(llm, "# system: S\n# user: import os\n# assistant:")
    done = run(
        "chat",
        *("-m", chat_model, "--system", "S"),
        *OPTIONS,
        stdin="import os\n/reset\nimport os\n/exit\nimport sys\n",
    )
    assert done.stdout == f"{said}\n{said}\n"


def test_commands_are_explained_on_stderr(chat_model):
    done = run("chat", "-m", chat_model, *OPTIONS, stdin="/help\n/unknown\n")
    assert done.stdout == ""
    assert "/reset" in done.stderr
    assert "no command /unknown" in done.stderr


def test_a_turn_that_does_not_fit_is_taken_back(llm, chat_model):
    said = answer(llm, "# user: import os\n# assistant:")
    done = run("chat", "-m", chat_model, *OPTIONS, stdin="x " * 3000 + "\nimport os\n")
    assert done.stdout == f"{said}\n"
    assert "/reset" in done.stderr


def test_with_ctx_shift_the_oldest_turns_give_way(llm, chat_model):
    lines = [f"def f(x, y):  # number {i} " + "of the functions " * 8 for i in range(2)]
    said = [answer(llm, f"# user: {line}\n# assistant:") for line in lines]
    size = len(llm.tokenize(f"# user: {lines[0]}\n# assistant:"))
    args = ("-c", str(size + 12), "--ctx-shift", "--keep", "4")
    done = run("chat", "-m", chat_model, *OPTIONS, *args, stdin="\n".join(lines))
    assert done.stdout == f"{said[0]}\n{said[1]}\n"
    assert "the oldest 2 messages no longer fit" in done.stderr


def test_ctrl_c_stops_the_answer_and_not_the_conversation(llm, chat_model):
    endless = ("--temp", "0", "-t", "1")
    with child(
        [sys.executable, "-c", PAUSING, "chat", "-m", chat_model, *endless],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"import os\n")
        process.stdin.flush()
        process.stdout.read(1)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(b"/help\n", timeout=HANG_S)
    assert process.returncode == 0
    assert b"(stopped)" in errors
    assert b"/exit" in errors


def test_a_base_model_says_what_to_use_instead():
    done = run("chat", *OPTIONS)
    assert done.returncode == 2
    assert "zerostall run" in done.stderr


class Speaking:
    """A model that says one text."""

    def __init__(self, text):
        self.text = text

    def open_session(self):
        return None

    def chat_stream(self, messages, params, session):
        yield SimpleNamespace(text=self.text, timings=None)


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("Hi", {"content": "Hi"}),
        ("<think>hm</think>Hi", {"content": "<think>hm</think>Hi"}),
        (
            "<|channel|>analysis<|message|>hm<|end|><|start|>assistant"
            "<|channel|>final<|message|>Hi",
            {"content": "Hi", "thinking": "hm"},
        ),
    ],
)
def test_a_template_gets_an_answer_back_without_its_channels(said, kept, capsys):
    conversation = Conversation(Speaking(said), None, None, stats=False, forgets=False)
    conversation.answer("hello")
    assert conversation.messages[1] == {"role": "assistant", **kept}
    assert capsys.readouterr().out == said + "\n"
