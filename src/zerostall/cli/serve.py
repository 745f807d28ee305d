"""`zerostall serve`: OpenAI's API over HTTP."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from zerostall.cli import options
from zerostall.cli.outcome import reporting

Limits = "Limits"


def main(
    model: options.Model = "nano",
    alias: Annotated[
        str | None, typer.Option(metavar="NAME", help="Name of the model in answers.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.")] = 8080,
    api_key: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY",
            envvar="ZEROSTALL_API_KEY",
            help="Ask clients for this key; repeat for several.",
        ),
    ] = None,
    cors: Annotated[
        list[str] | None,
        typer.Option(metavar="ORIGIN", help="Let pages of this origin call; * is every one."),
    ] = None,
    chat_template: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A jinja2 template to use instead of the model's."),
    ] = None,
    pooling: options.Pooling = None,
    parallel: Annotated[
        int, typer.Option(help="Answers that run at once.", rich_help_panel=Limits)
    ] = 8,
    gap_factor: Annotated[
        float,
        typer.Option(
            metavar="F",
            help="How many times as slow new prompts may make streams; inf: any.",
            rich_help_panel=Limits,
        ),
    ] = 2.0,
    queue: Annotated[
        int, typer.Option(help="Requests that may wait; then 429.", rich_help_panel=Limits)
    ] = 64,
    max_body: Annotated[
        int, typer.Option(metavar="BYTES", help="Largest request.", rich_help_panel=Limits)
    ] = 8 * 2**20,
    timeout: Annotated[
        float,
        typer.Option(
            metavar="S", help="Longest time of a request; 0: no limit.", rich_help_panel=Limits
        ),
    ] = 3600.0,
    grace: Annotated[
        float,
        typer.Option(
            metavar="S", help="Time to finish requests when stopped.", rich_help_panel=Limits
        ),
    ] = 30.0,
    threads: options.Threads = None,
    ctx: options.Context = None,
    ctx_shift: options.CtxShift = False,
    keep: options.Keep = 0,
    ram: options.Ram = None,
    kv_tokens: options.KvTokens = None,
    kv_type: options.KvType = "auto",
    isa: options.Isa = None,
    io: options.Io = "auto",
    policy: options.Policy = "lrfu",
    speculate: options.Speculate = True,
    prefault: options.Prefault = True,
    mirror: options.Mirror = None,
    profile: options.Profile = None,
    trace: options.TraceFile = None,
    speculator: options.Speculator = None,
    experts: options.Experts = None,
    route_margin: options.RouteMargin = 0.0,
    miss_precision: options.MissPrecision = "full",
    check_records: options.CheckRecords = False,
) -> None:
    """Serve a model over HTTP, as OpenAI's API has it.

    The address goes to stdout, logs as JSON lines to stderr. Ctrl-C and
    SIGTERM let running requests finish.
    """
    how = options.Loading.of(locals())
    with reporting():
        from zerostall import __version__
        from zerostall.serve.server import serve
        from zerostall.serve.settings import Settings

        settings = Settings(
            host=host,
            port=port,
            parallel=parallel,
            queue=queue,
            api_keys=tuple(api_key or ()),
            cors=tuple(cors or ()),
            chat_template=None if chat_template is None else read_template(chat_template),
            pooling=pooling,
            body_bytes=max_body,
            timeout_s=timeout,
            grace_s=grace,
            version=__version__,
        )
        opening = options.open_llm(model, how)
        name = model.removeprefix("hf:") if model.startswith("hf:") else Path(model).stem
        serve(alias or name, opening, settings, announce)


def announce(address: str) -> None:
    """Tell where the server is."""
    sys.stdout.write(f"zerostall serves at {address} (Ctrl-C stops it)\n")
    sys.stdout.flush()


def read_template(path: Path) -> str:
    """The chat template in a file, compiled once, so that a broken one fails at the start."""
    from zerostall.errors import InvalidRequestError
    from zerostall.text.chat import check_template

    try:
        template = path.read_text(encoding="utf-8")
        check_template(template)
        return template
    except (OSError, UnicodeDecodeError, InvalidRequestError) as error:
        raise InvalidRequestError(f"--chat-template {path}: {error}") from error
