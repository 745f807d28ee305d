"""llama.cpp's tokenizer as a peer: ids, splits, and what its source says about them."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.peers.llama_cpp import ROOT, build_program

_CASE = re.compile(r"\s*(?:case LLAMA_VOCAB_PRE_TYPE_(\w+)|(default)):")
_LITERAL = re.compile(r'\s*("(?:[^"\\]|\\.)*"),')
# Where llama.cpp adds BOS and EOS or reads control tokens: add_special, parse_special.
FLAGS = ("00", "01", "11")


@dataclass
class Answers:
    """Ids of each text under each of FLAGS, the end-of-generation ids, and BOS, EOS, add, add."""

    ids: list[list[list[int]]]
    eog: list[int]
    special: list[int]


class Oracle:
    """Runs text_oracle.cpp, built against LLAMA_CPP_BIN; building takes a few seconds."""

    def __init__(self, folder: Path) -> None:
        self._program = build_program("text_oracle", folder)

    def tokenize(self, vocabulary: Path, texts: Sequence[str]) -> Answers:
        """Tokenize texts with a vocabulary, under each of FLAGS."""
        records = [(flags, text) for text in texts for flags in FLAGS]
        *answers, eog, special = self._ask(["ids", str(vocabulary)], records)
        step = len(FLAGS)
        ids = [answers[start : start + step] for start in range(0, len(answers), step)]
        return Answers(ids, eog, special)

    def split(self, expressions: Sequence[str], texts: Sequence[str], raw: bool) -> list[list[int]]:
        """Return the lengths in bytes of the pre-tokens of each text; empty ones left out."""
        answers = self._ask(["split", str(int(raw)), *expressions], [("00", t) for t in texts])
        return [[length for length in lengths if length] for lengths in answers]

    def _ask(self, arguments: list[str], records: Iterable[tuple[str, str]]) -> list[list[int]]:
        questions = b"".join(
            b"%s %d\n%s" % (flags.encode(), len(text.encode()), text.encode())
            for flags, text in records
        )
        done = subprocess.run(
            [self._program, *arguments], input=questions, capture_output=True, check=True
        )
        return [[int(value) for value in line.split()] for line in done.stdout.splitlines()]


def expressions_by_name() -> dict[str, list[str]]:
    """Read from llama.cpp's source which expressions each pre-tokenizer name stands for."""
    source = (ROOT / "src" / "llama-vocab.cpp").read_text(encoding="utf-8")
    start = source.index("if (tokenizer_pre.empty())")
    names = source[start : source.index("unknown pre-tokenizer type", start)]
    types: dict[str, str] = {}
    waiting: list[str] = []
    for name, kind in re.findall(
        r'tokenizer_pre == "([^"]+)"|pre_type = LLAMA_VOCAB_PRE_TYPE_(\w+)', names
    ):
        if name:
            waiting.append(name)
        else:
            types |= dict.fromkeys(waiting, kind)
            waiting = []
    expressions = _expressions_by_type(source)
    return {name: expressions[kind] for name, kind in types.items()}


def _expressions_by_type(source: str) -> dict[str, list[str]]:
    start = source.index("switch (vocab.get_pre_type())")
    found: dict[str, list[str]] = {}
    labels: list[str] = []
    for line in source[start : source.index("bool byte_encode", start)].splitlines():
        if case := _CASE.match(line):
            labels.append(case[1] or "DEFAULT")
        elif literal := _LITERAL.match(line):
            for label in labels:
                found.setdefault(label, []).append(ast.literal_eval(literal[1]))
        elif "break;" in line:
            labels = []
    return found
