"""`zerostall embed`: texts as vectors."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from zerostall.cli import options
from zerostall.cli.outcome import reporting
from zerostall.cli.run import read_prompt


def main(
    texts: Annotated[
        list[str] | None,
        typer.Argument(help="The texts; - or nothing reads one a line from standard input."),
    ] = None,
    model: options.Model = "nano",
    pooling: options.Pooling = None,
    normalize: Annotated[
        bool, typer.Option(help="Scale vectors to length 1; with --no-normalize do not.")
    ] = True,
    threads: options.Threads = None,
    ctx: options.Context = None,
    ram: options.Ram = None,
    kv_type: options.KvType = "auto",
    isa: options.Isa = None,
) -> None:
    """Print the embedding of each text, one JSON object a line.

    An object has index, tokens (how many the text has) and embedding. Errors
    go to stderr.
    """
    how = options.Loading.of(locals())
    with reporting():
        from zerostall.errors import InvalidRequestError

        given = texts or []
        if given in ([], ["-"]):
            given = read_prompt("-").splitlines()
        if not given:
            raise InvalidRequestError("no text; give at least one")
        with options.open_llm(model, how) as llm:
            prompts = llm.encode_texts(given)
            vectors = llm.embedder(pooling, normalize=normalize).run(prompts)
            for index, (tokens, vector) in enumerate(zip(prompts, vectors, strict=True)):
                record = {"index": index, "tokens": len(tokens), "embedding": vector.tolist()}
                sys.stdout.write(json.dumps(record) + "\n")
                sys.stdout.flush()
