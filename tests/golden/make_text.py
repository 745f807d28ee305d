"""Make tests/golden/text: what llama.cpp and transformers say about text.

    LLAMA_CPP=<source> LLAMA_CPP_BIN=<programs> python -m tests.golden.make_text

Needs gguf, regex and transformers. Writes, gzipped:
- <vocabulary>.json.gz: each decoder vocabulary of llama.cpp's models/ (MIT), reduced to the tokens
  and merges that the test texts can reach, so that the ids of those texts stay the same;
- splits.json.gz: the pre-tokens of the texts by pre-tokenizer name. Names in APPROXIMATED are
  split by the `regex` package with the expressions of the models' own tokenizer.json, because
  llama.cpp only approximates these; all others by llama.cpp;
- chats.json: conversations as transformers renders them with templates of our own.
"""

from __future__ import annotations

import gzip
import json
import tempfile
from pathlib import Path
from typing import Any

import gguf
import regex
from transformers.utils.chat_template_utils import render_jinja_template

from tests.golden.chat_cases import CASES
from tests.peers.llama_cpp import ROOT
from tests.peers.text_oracle import FLAGS, Oracle, expressions_by_name
from tests.text.texts import texts
from zerostall.text.named import ALWAYS_SHOWN, END_OF_GENERATION, FILL_IN
from zerostall.text.pieces import byte_text
from zerostall.text.pretokenizers import APPROXIMATED, PRETOKENIZERS

FOLDER = Path(__file__).parent / "text"
NOT_DECODERS = ("bert-bge", "nomic-bert-moe")
# Oniguruma's \b: its words have all numbers.
_WORD = r"[\p{L}\p{M}\p{N}\p{Pc}]"
_BOUNDARY = f"(?:(?<={_WORD})(?!{_WORD})|(?<!{_WORD})(?={_WORD}))"
SEPARATOR = "\n__ggml_vocab_test__\n"


def main() -> None:
    """Write every file."""
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        oracle = Oracle(Path(temporary))
        for path in sorted((ROOT / "models").glob("ggml-vocab-*.gguf")):
            name = path.stem.removeprefix("ggml-vocab-")
            if name not in NOT_DECODERS:
                write(f"{name}.json.gz", vocabulary(oracle, path))
        write("splits.json.gz", splits(oracle))
    write("chats.json", [{**case, "rendered": rendered(case)} for case in CASES])


def write(name: str, value: Any) -> None:
    """Write JSON, compressed if the name says so, the same bytes each time."""
    data = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    if name.endswith(".gz"):
        data = gzip.compress(data, 9, mtime=0)
    else:
        data = json.dumps(value, ensure_ascii=False, indent=1).encode() + b"\n"
    (FOLDER / name).write_bytes(data)
    print(f"{name}: {len(data)} bytes")


def vocabulary(oracle: Oracle, path: Path) -> dict[str, Any]:
    """A reduced vocabulary, its original ids, and the texts with llama.cpp's ids."""
    fields = {
        key: field.contents()
        for key, field in gguf.GGUFReader(path).fields.items()
        if key.startswith(("tokenizer.ggml.", "general.name"))
    }
    inputs = path.with_name(path.name + ".inp")
    cases = texts(150)
    if inputs.exists():
        cases += inputs.read_bytes().decode().split(SEPARATOR)
    answers = oracle.tokenize(path, cases)
    reduced, kept = reduce(fields, cases)
    return {
        "metadata": reduced,
        "ids": kept,
        "flags": FLAGS,
        "texts": cases,
        "expected": answers.ids,
        "eog": answers.eog,
        "special": answers.special,
    }


def reduce(fields: dict[str, Any], cases: list[str]) -> tuple[dict[str, Any], list[int]]:
    """Keep what the texts can reach: tokens that occur in them, bytes, and special ones."""
    tokens: list[str] = fields["tokenizer.ggml.tokens"]
    types: list[int] = fields.get("tokenizer.ggml.token_type") or [1] * len(tokens)
    level = fields["tokenizer.ggml.model"] == "gpt2"
    spelled = [byte_text(case) if level else f"▁{case.replace(' ', '▁')}" for case in cases]
    longest = max(map(len, tokens))
    parts = {
        text[start:end]
        for text in spelled
        for start in range(len(text))
        for end in range(start + 1, min(start + longest, len(text)) + 1)
    }
    named = {
        *END_OF_GENERATION,
        *ALWAYS_SHOWN,
        *(text for names in FILL_IN.values() for text in names),
    }
    referred = {value for key, value in fields.items() if key.endswith("_token_id")}
    everything = "\0".join(cases)
    kept = [
        id
        for id, (token, kind) in enumerate(zip(tokens, types, strict=True))
        if token in parts
        or (token[0] == "▁" and token[1:] in parts)
        or (len(token) == 1 and ord(token) < 0x180)
        or kind == gguf.TokenType.BYTE
        or token in named
        or id in referred
        or (kind != gguf.TokenType.NORMAL and token in everything)
    ]
    place = {id: new for new, id in enumerate(kept)}
    reduced = dict(fields)
    for key in ("tokens", "token_type", "scores"):
        if f"tokenizer.ggml.{key}" in fields:
            values = fields[f"tokenizer.ggml.{key}"]
            reduced[f"tokenizer.ggml.{key}"] = [values[id] for id in kept]
    if fields["tokenizer.ggml.model"] == "gpt2":
        reduced.pop("tokenizer.ggml.scores", None)
    for key, value in fields.items():
        if key.endswith("_token_id"):
            reduced[key] = place[value]
    if "tokenizer.ggml.merges" in fields:
        known = {tokens[id] for id in kept}
        reduced["tokenizer.ggml.merges"] = [
            merge for merge in fields["tokenizer.ggml.merges"] if reachable(merge, known)
        ]
    return reduced, kept


def reachable(merge: str, known: set[str]) -> bool:
    """Whether both halves of a merge and its result are kept."""
    space = merge.index(" ", 1)
    left, right = merge[:space], merge[space + 1 :]
    return left in known and right in known and left + right in known


def splits(oracle: Oracle) -> dict[str, Any]:
    """The lengths in bytes of the pre-tokens of every text, by name; equal ones only once."""
    cases = texts(400)
    peer = expressions_by_name()
    groups: dict[tuple[str, ...], list[str]] = {}
    for name, pre in PRETOKENIZERS.items():
        groups.setdefault(pre.splits, []).append(name)
    found = []
    for expressions, names in groups.items():
        if names[0] in APPROXIMATED:
            lengths = [independent(expressions, text) for text in cases]
        else:
            lengths = oracle.split(peer[names[0]], cases, PRETOKENIZERS[names[0]].escape)
        found.append({"names": names, "lengths": lengths})
    return {"texts": cases, "splits": found}


def independent(expressions: tuple[str, ...], text: str) -> list[int]:
    """Split with the `regex` package, another engine than the one of HF tokenizers."""
    pieces = [text]
    for expression in expressions:
        pattern = regex.compile(expression.replace(r"\b", _BOUNDARY), regex.VERSION1)
        cut = []
        for piece in pieces:
            end = 0
            for match in pattern.finditer(piece):
                cut += [piece[end : match.start()], match[0]]
                end = match.end()
            cut.append(piece[end:])
        pieces = [piece for piece in cut if piece]
    return [len(piece.encode()) for piece in pieces]


def rendered(case: dict[str, Any]) -> str:
    """One conversation by transformers."""
    [text], _ = render_jinja_template(
        [case["messages"]],
        chat_template=case["template"],
        tools=case.get("tools"),
        add_generation_prompt=case.get("add_generation_prompt", True),
        bos_token="<s>",
        eos_token="</s>",
        **case.get("variables", {}),
    )
    return text


if __name__ == "__main__":
    main()
