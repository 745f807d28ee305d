"""The built-in quantised model against llama.cpp: greedy text and perplexity.

Greedy text is compared with F32 caches: with F16 ones llama.cpp also rounds queries and
attention weights to half precision. What remains comes from activations that round to another
int8 because float32 sums were added in another order.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.arch.running import step
from tests.peers import llama_cpp
from zerostall import LLM, _core, arch
from zerostall.lab.eval import perplexity, read_text
from zerostall.text import Tokenizer

pytestmark = pytest.mark.peers
TESTS = Path(__file__).parent.parent
NANO = TESTS.parent / "src" / "zerostall" / "data" / "nano.gguf"
HELDOUT = TESTS / "data" / "nano_heldout.txt"
TIE = 1e-3  # two logits this close may come out in either order
EXACT, NOISE = 1e-3, 0.3  # differences of logits before roundings part, and usual ones after
STEPS = 64
PROMPTS = [
    "def main():\n",
    "import os\nimport sys\n\n\ndef ",
    "class Stack:\n    def __init__(self):\n        self.items = []\n\n    def push(self",
    "for i in range(10):\n    ",
    'if __name__ == "__main__":\n',
    "    try:\n        return self._cache[key]\n    except KeyError:\n",
    "from collections import ",
    "def test_empty(self):\n        self.assertEqual(",
    "    with open(path, 'rb') as f:\n        ",
    "# Return the number of bytes written.\n",
]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return llama_cpp.build_program("llama_logits", tmp_path_factory.mktemp("llama_cpp"))


@pytest.fixture(scope="module")
def nano() -> _core.GgufFile:
    return _core.GgufFile(str(NANO))


@pytest.mark.parametrize("prompt", PROMPTS)
def test_greedy_text_equals_llama_cpp_s_up_to_a_tie(
    prompt: str, nano: _core.GgufFile, program: Path, report: list[str]
) -> None:
    """Our logits after each token of llama.cpp's continuation, beside its own.

    Both engines round activations to int8 alike, so they agree to float rounding until one value
    lies so near the middle of two integers that they round it apart. From there on every later
    rounding differs too (through the cache in all tokens that follow) and the logits differ by
    the noise of int8, about 0.1, and more where a router's choice falls otherwise. A greedy choice
    may fall otherwise then, too.
    """
    ids = Tokenizer.from_gguf(nano).encode(prompt)
    theirs = llama_cpp.logits(program, NANO, ids, 512, "f32", STEPS - 1)
    first = len(ids) - 1  # the row that chooses the first token of the continuation
    chosen = [int(row.argmax()) for row in theirs[first:]]
    engine = _core.Engine(nano, arch.load(nano, 512).tape, context=512, max_batch=64, kv_type="f32")
    sequence = engine.open_sequence()
    fed = [ids, *([token] for token in chosen[:-1])]
    ours = np.concatenate([step(engine, sequence, np.array(part, np.int32)) for part in fed])
    apart = np.abs(ours - theirs).max(axis=1)
    same = int(np.argmax(apart > EXACT)) if (apart > EXACT).any() else len(apart)
    equal = sum(int(row.argmax()) == token for row, token in zip(ours[first:], chosen, strict=True))
    report.append(
        f"{prompt!r}: {equal} of {STEPS} tokens equal llama.cpp's; logits differ by "
        f"{apart[:same].max():.0e} over {same} tokens, {apart.max():.1e} over {len(apart)}"
    )
    assert same >= 1
    assert np.median(apart) <= NOISE
    for a, b in zip(ours[first:same], theirs[first:same], strict=True):
        second, best = np.sort(b)[-2:]
        assert int(a.argmax()) == int(b.argmax()) or best - second <= TIE
    assert equal >= STEPS - 2


def test_perplexity_is_within_three_thousandths_of_llama_perplexity(report: list[str]) -> None:
    command = [
        llama_cpp.BIN / "llama-perplexity",
        "-m",
        NANO,
        "-f",
        HELDOUT,
        "-c",
        "512",
        "-t",
        "1",  # on a busy machine its threads wait for one another much longer than they compute
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    # The last of the running values; the final line is sometimes lost at its exit.
    expected = float(re.findall(r"\[\d+\]([0-9.]+)", done.stdout)[-1])
    with LLM(NANO, ctx=512) as llm:
        got = perplexity(llm, read_text(HELDOUT), ctx=512).perplexity
    report.append(f"perplexity: zerostall {got:.4f}, llama.cpp {expected:.4f}")
    assert got == pytest.approx(expected, rel=0.003)
