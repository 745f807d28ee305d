"""`zerostall tokenize`: how a model cuts a text into tokens."""

from __future__ import annotations

from typing import Annotated

import typer

from zerostall.cli import options
from zerostall.cli.outcome import print_json, reporting
from zerostall.cli.run import parse_tokens, read_prompt


def main(
    text: Annotated[
        str | None, typer.Argument(help="The text; - or nothing reads standard input.")
    ] = None,
    model: options.Model = "nano",
    ids: Annotated[bool, typer.Option("--ids", help="Print only the ids, on one line.")] = False,
    decode: Annotated[
        str | None, typer.Option(metavar="1,2,3", help="Print the text of token ids instead.")
    ] = None,
    special: Annotated[
        bool, typer.Option(help="Add the beginning-of-text token if the model wants one.")
    ] = True,
    parse_special: Annotated[
        bool, typer.Option("--parse-special", help="Read special tokens written in the text.")
    ] = False,
    json: options.Json = False,
) -> None:
    """Show a text's tokens, one a line: id and text. Loads no weights."""
    with reporting(json):
        from zerostall import gguf, hub
        from zerostall.engine.loader import load_tokenizer
        from zerostall.errors import InvalidRequestError

        tokenizer = load_tokenizer(gguf.open_model(hub.resolve(model)))
        if tokenizer is None:
            raise InvalidRequestError(f"{model} has no vocabulary; choose another model")
        if decode is not None:
            tokens = parse_tokens(decode, text)
            for token in tokens:
                if not 0 <= token < tokenizer.vocab_size:
                    raise InvalidRequestError(
                        f"token {token} is not in the vocabulary: ids go from 0 to "
                        f"{tokenizer.vocab_size - 1}"
                    )
            content = tokenizer.decode(tokens, skip_special=False)
        else:
            content = read_prompt(text)
            tokens = tokenizer.encode(content, add_special=special, parse_special=parse_special)
        if json:
            pieces = [tokenizer.decode([token], skip_special=False) for token in tokens]
            print_json({"text": content, "token_ids": tokens, "pieces": pieces})
        elif decode is not None:
            print(content)
        elif ids:
            print(",".join(map(str, tokens)))
        else:
            for token in tokens:
                print(f"{token:>7}  {tokenizer.decode([token], skip_special=False)!r}")
