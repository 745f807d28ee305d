"""The verbs, in the order that --help shows them.

A verb is one line here and one file of its name (with _ for -) beside this one, which defines
`main`, a function with typer annotations, or `app`, a typer.Typer with verbs of its own. A
verb's file imports what is heavy (numpy, the core, the hub) inside functions: --help imports
every file.
"""

VERBS = (
    "run",
    "chat",
    "serve",
    "embed",
    "info",
    "tokenize",
    "pull",
    "ls",
    "convert",
    "synth",
    "train-speculator",
    "trace",
    "eval",
    "bench",
)
