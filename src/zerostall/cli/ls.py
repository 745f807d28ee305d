"""`zerostall ls`: the models that run without a download."""

from __future__ import annotations

from zerostall.cli import options
from zerostall.cli.outcome import print_json, reporting


def main(json: options.Json = False) -> None:
    """List the built-in models and those in the Hugging Face cache."""
    with reporting(json):
        from zerostall import hub
        from zerostall.engine.budget import show_bytes

        models = hub.local_models()
        if json:
            rows = [{"name": m.name, "path": str(m.path), "bytes": m.bytes} for m in models]
            print_json({"models": rows})
            return
        width = max((len(model.name) for model in models), default=0)
        for model in models:
            print(f"{model.name:<{width}}  {show_bytes(model.bytes):>10}  {model.path}")
