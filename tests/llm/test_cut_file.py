"""A plain GGUF that is cut short while it runs is an error, not the end of the process."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.llm.models import nano
from tests.tasks import HANG_S

CHILD = """
import os, sys
from pathlib import Path
from zerostall import LLM, SamplingParams, StorageError
from zerostall.engine.streaming import Streaming
path = Path(sys.argv[1])
whole = path.read_bytes()
options = {"ram": int(sys.argv[2]), "streaming": Streaming(io="pread")} if len(sys.argv) > 2 else {}
greedy = SamplingParams(temperature=0, max_tokens=8, ignore_eos=True)
with LLM(path, threads=2, ctx=256, **options) as llm:
    before = llm.generate("def f(x):", greedy).token_ids
    os.truncate(path, 4096)
    for prompt in ("def f(x):", "import os, sys\\n" * 12):
        try:
            llm.generate(prompt, greedy)
        except StorageError as error:
            print(error)
    with path.open("r+b") as file:
        file.write(whole)
    print(llm.generate("def f(x):", greedy).token_ids == before)
"""


@pytest.mark.parametrize("ram", [(), ("17000000",)], ids=["in memory", "streamed"])
def test_a_file_cut_short_is_an_error_and_what_is_restored_runs_again(tmp_path, ram):
    path = tmp_path / "cut.gguf"
    path.write_bytes(nano())
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(path), *ram],
        capture_output=True,
        text=True,
        check=False,
        timeout=HANG_S,
    )
    assert (done.returncode, done.stderr) == (0, "")
    *errors, again = done.stdout.splitlines()
    for error in errors:
        assert error.startswith(f"{path}: reading tensor 'token_embd.weight' failed, at byte ")
        assert error.endswith("it was cut short: fetch or convert it again")
    assert (len(errors), again) == (2, "True")
