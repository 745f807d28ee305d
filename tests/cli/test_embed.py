"""zerostall embed: a JSON object a line."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.cli.shell import run

TEXTS = ["import os", "def f(x):\n    return x"]


def lines(done) -> list[dict]:
    assert (done.returncode, done.stderr) == (0, "")
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_every_text_is_a_line_with_its_vector(llm):
    found = lines(run("embed", *TEXTS, "-t", "1"))
    assert [line["index"] for line in found] == [0, 1]
    assert [line["tokens"] for line in found] == [len(llm.encode_prompt(text)) for text in TEXTS]
    assert np.array_equal([line["embedding"] for line in found], llm.embed(TEXTS))


@pytest.mark.parametrize("args", [(), ("-",)])
def test_texts_may_come_from_stdin_one_a_line(llm, args):
    args = ("embed", *args, "-t", "1", "--pooling", "mean", "--no-normalize")
    found = lines(run(*args, stdin="import os\nimport re\n"))
    expected = llm.embed(["import os", "import re"], pooling="mean", normalize=False)
    assert np.array_equal([line["embedding"] for line in found], expected)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("x", "--pooling", "max"), "pooling is 'max'"),
        (("x", ""), "text 1: the prompt is empty"),
        (("-",), "no text; give at least one"),
    ],
)
def test_what_is_wrong_is_exit_code_2_with_a_message(args, message):
    done = run("embed", *args, "-t", "1")
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
