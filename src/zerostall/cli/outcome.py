"""How a verb ends: exit codes, and errors for people or for programs."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from typing import Any, NoReturn

import typer

from zerostall.errors import InvalidRequestError, ZerostallError

ERROR = 1
USAGE = 2
INTERRUPTED = 130  # as a shell reports death by SIGINT
PIPE_CLOSED = 141  # as a shell reports death by SIGPIPE

EXIT_CODES = (
    "Exit codes: 0 done, 1 error (model, memory, storage, network), 2 wrong usage or request, "
    "130 interrupted, 141 output closed. Text goes to stdout, everything else to stderr."
)


@contextlib.contextmanager
def reporting(as_json: bool = False) -> Iterator[None]:
    """Turn errors of zerostall, Ctrl-C and a closed pipe into a message and an exit code.

    With `as_json` an error is printed to stdout as {"error": {"type", "message"}}.
    """
    try:
        yield
        sys.stdout.flush()
    except ZerostallError as error:
        if as_json:
            print_json({"error": {"type": type(error).__name__, "message": str(error)}})
        else:
            typer.echo(f"zerostall: {error}", err=True)
        raise typer.Exit(USAGE if isinstance(error, InvalidRequestError) else ERROR) from None
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    except BrokenPipeError:
        _pipe_closed()


def print_json(record: dict[str, Any]) -> None:
    """One object on stdout, text as it is rather than escaped."""
    print(json.dumps(record, ensure_ascii=False), flush=True)


def _pipe_closed() -> NoReturn:
    # The interpreter flushes stdout once more at exit; give it something that accepts that.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    raise typer.Exit(PIPE_CLOSED)
