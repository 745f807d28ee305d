"""`zerostall synth`: write a model with random weights in the shape of a real one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from zerostall.cli import options
from zerostall.cli.outcome import print_json, reporting
from zerostall.cli.progress import byte_bar


def main(
    shape: Annotated[
        str | None, typer.Argument(help="One of the list that `zerostall synth` prints.")
    ] = None,
    out: Annotated[Path | None, typer.Argument(metavar="OUT.gguf", help="The file.")] = None,
    router_skew: Annotated[
        float,
        typer.Option(help="Zipf exponent of the experts' popularity; 0 chooses them evenly."),
    ] = 0.0,
    layers: Annotated[int | None, typer.Option(help="Write only this many layers.")] = None,
    vocab: Annotated[int | None, typer.Option(help="A smaller vocabulary.")] = None,
    format: Annotated[
        str | None,
        typer.Option(
            help="Formats: Q4_K_M (default), Q2_K, Q3_K_M, Q4_0, Q5_K_M, Q6_K, Q8_0, "
            "F16, BF16, MXFP4."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the routers' weights.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
    json: options.Json = False,
) -> None:
    """Write a model with random weights, to try its speed before downloading it.

    Without arguments lists the shapes. The model has no vocabulary: `zerostall
    bench` and `run --tokens` take it. Needs the disk space of the real one.
    """
    with reporting(json):
        from zerostall.errors import InvalidRequestError
        from zerostall.lab import synth
        from zerostall.lab.report import as_text

        if shape is None:
            table = synth.shape_table()
            if json:
                rows = [dict(zip(table[0], row, strict=True)) for row in table[1:]]
                print_json({"shapes": rows})
            else:
                print(as_text(table))
            return
        if out is None:
            raise InvalidRequestError(f"give the file to write: zerostall synth {shape} OUT.gguf")
        if out.exists() and not force:
            raise InvalidRequestError(f"{out} exists; give another path, or --force")
        chosen = synth.find_shape(shape, layers, vocab)
        with byte_bar(f"writing {out.name}") as progress:
            size = synth.write_model(
                out,
                shape.lower(),
                chosen,
                mixture=format,
                skew=router_skew,
                seed=seed,
                progress=progress,
            )
        runs = synth.runs_today(chosen)
        if json:
            print_json({"path": str(out), "bytes": size, "shape": shape.lower(), "runs": runs})
            return
        print(out)
        if not runs:
            note = f"zerostall does not run the architecture {chosen.architecture} yet"
            print(note, file=sys.stderr)
