"""`zerostall pull`: download a model from the Hugging Face hub."""

from __future__ import annotations

from typing import Annotated

import typer

from zerostall.cli import options
from zerostall.cli.outcome import print_json, reporting


def main(
    reference: Annotated[str, typer.Argument(help="hf:owner/repo[@revision][:quant or file]")],
    json: options.Json = False,
) -> None:
    """Download a model, or bring it up to date, and print its path.

    Without a quant takes Q4_K_M, or the only model there. An interrupted
    download resumes. Obeys HF_HOME, HF_TOKEN, HF_ENDPOINT, HF_HUB_OFFLINE.
    """
    with reporting(json):
        from zerostall import hub

        path = hub.pull(hub.parse(reference))
        if json:
            print_json({"model": reference, "path": str(path)})
        else:
            print(path)
