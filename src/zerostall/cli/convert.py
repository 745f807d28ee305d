"""`zerostall convert`: store a model packed, so that loading it only reads."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from zerostall.cli import options
from zerostall.cli.outcome import print_json, reporting
from zerostall.cli.progress import byte_bar


def main(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="As -m of run; with --verify alone, the converted file."
        ),
    ],
    out: Annotated[Path | None, typer.Argument(metavar="OUT.gguf", help="The file.")] = None,
    verify: Annotated[
        bool,
        typer.Option("--verify", help="Check the file: an existing one, or the one just written."),
    ] = False,
    miss_copy: Annotated[
        str | None,
        typer.Option(
            "--miss-copy",
            metavar="FORMAT",
            help="A second record of each expert, in Q2_K, Q3_K, Q4_0 or Q8_0, for "
            "--miss-precision low.",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
    json: options.Json = False,
) -> None:
    """Convert a model to the layout that the kernels read.

    The file loads without packing, runs with the same bits, and is about as
    large. A conversion that was interrupted goes on where it was.
    --verify compares checksums and every byte with a fresh conversion; without
    OUT.gguf it checks the checksums of a converted file. --miss-copy makes the
    file larger and changes nothing unless --miss-precision low is given.
    """
    with reporting(json):
        from zerostall import convert, gguf, hub
        from zerostall.errors import InvalidRequestError

        source = hub.resolve(model)
        target = out if out is not None else source
        written = None
        if out is None and not verify:
            raise InvalidRequestError(f"give the file to write: zerostall convert {model} OUT.gguf")
        if out is not None and (force or not out.exists()):
            with byte_bar(f"converting to {out.name}") as progress:
                written = convert.convert(source, out, progress, miss_copy)
        elif out is not None and not verify:
            raise InvalidRequestError(f"{out} exists; give another path, --force, or --verify")
        if written is None and miss_copy is not None:
            found = convert.low_format(gguf.open_model(target))
            if found != miss_copy:
                raise InvalidRequestError(
                    f"{target} has {found or 'no'} miss copies, not {miss_copy}; "
                    "convert the model again with --force"
                )
        if verify:
            with byte_bar(f"verifying {target.name}") as progress:
                convert.verify(target, source if out is not None else None, progress)
        if json:
            size = target.stat().st_size
            print_json(
                {"path": str(target), "bytes": size, "written": bool(written), "verified": verify}
            )
        else:
            print(target)
