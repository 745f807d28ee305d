"""The command line as a typer application, made from the registry."""

from __future__ import annotations

import importlib
from typing import Annotated

import typer

from zerostall.cli.outcome import EXIT_CODES
from zerostall.cli.registry import VERBS

HELP = """Run GGUF language models on the CPU you have.

zerostall run "def fibonacci(n):"          complete with the built-in model
zerostall run -m model.gguf "Who was Ada?" ask a model of your own
zerostall chat -m hf:Qwen/Qwen3-4B-GGUF    talk to one from Hugging Face
"""


def build() -> typer.Typer:
    """The application with every registered verb."""
    app = typer.Typer(
        name="zerostall",
        help=HELP,
        epilog=EXIT_CODES,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(options)
    for verb in VERBS:
        module = importlib.import_module(f"zerostall.cli.{verb.replace('-', '_')}")
        if hasattr(module, "app"):
            app.add_typer(module.app, name=verb)
        else:
            app.command(verb, epilog=EXIT_CODES, no_args_is_help=False)(module.main)
    return app


def options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=lambda on: _version(on))
    ] = False,
) -> None:
    """Options of the command itself."""


def _version(on: bool) -> None:
    if on:
        from zerostall import __version__

        typer.echo(f"zerostall {__version__}")
        raise typer.Exit
