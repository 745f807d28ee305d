"""`zerostall train-speculator`: guess the experts of a model better, for `--speculator`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zerostall.cli import options
from zerostall.cli.outcome import print_json, reporting

if TYPE_CHECKING:
    from zerostall.lab.speculator import Quality, Training


def main(
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="SPECULATOR.gguf", help="The file to write.")
    ],
    model: options.Model = "nano",
    text: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="Text like what the model will meet; repeat for several. By default sources of "
            "the Python standard library.",
        ),
    ] = None,
    tokens: Annotated[int, typer.Option(min=1, help="Of the texts to run.")] = 16384,
    rank: Annotated[int, typer.Option(min=1, help="Of the corrections; more is slower.")] = 32,
    threads: options.Threads = None,
    ram: options.Ram = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
    json: options.Json = False,
) -> None:
    """Train what guesses the next layer's experts, so that reads ahead are right more often.

    Runs a text, fits a small correction to each guess, and reports on the last
    fifth of the tokens, which it was not fitted to, what share of the experts
    they used was named. A guess that gains nothing stays as it was. Results of
    the model do not change with a speculator.
    """
    with reporting(json):
        from zerostall.errors import InvalidRequestError
        from zerostall.lab.eval import read_text
        from zerostall.lab.speculator import train, write_speculator
        from zerostall.lab.states import STATE_BYTES, TEXTS, WINDOW, standard_library

        if out.exists() and not force:
            raise InvalidRequestError(f"{out} exists; give another path, or --force")
        texts = [read_text(file) for file in text] if text else standard_library(TEXTS)
        how = options.Loading(threads=threads, ctx=WINDOW, ram=ram, record_states=STATE_BYTES)
        with (
            options.open_llm(model, how) as llm,
            options.bar("training") as show,
        ):
            training = train(
                llm,
                texts,
                tokens,
                rank,
                lambda done, total: None if show is None else show(done / total),
            )
            write_speculator(out, llm.file, training.guesses)
        if json:
            print_json({"path": str(out), "bytes": out.stat().st_size, **training.to_dict()})
        else:
            print(report(training), f"\n{out}", sep="\n")


def report(training: Training) -> str:
    """What was found, for people."""
    from zerostall.lab.report import as_text

    def cells(quality: Quality) -> list[str]:
        recalls = [f"{100 * recall:.1f}%" for recall in (quality.untrained, quality.trained)]
        return [str(quality.layer), "late" if quality.late else "early", *recalls]

    table = [["layer", "guess", "untrained", "trained"], *map(cells, training.qualities)]
    return (
        f"experts named beforehand, of those that {training.held_out} held-out tokens used "
        f"({training.fitted} fitted):\n\n{as_text(table)}"
    )
