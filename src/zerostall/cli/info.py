"""`zerostall info`: what a model is, what it costs, what this machine has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from zerostall.cli import options
from zerostall.cli.outcome import print_json, reporting

if TYPE_CHECKING:
    from pathlib import Path

TRIAL = 8  # tokens of the trial run that gives `--tape` its times


def main(
    model: Annotated[
        str | None, typer.Option("-m", "--model", metavar="MODEL", help="As for run.")
    ] = None,
    tape: Annotated[
        bool, typer.Option("--tape", help="Load the model, run it, and print every operator.")
    ] = False,
    hardware: Annotated[
        bool, typer.Option("--hardware", help="Show cores, caches, memory and measured limits.")
    ] = False,
    threads: options.Threads = None,
    ctx: options.Context = None,
    isa: options.Isa = None,
    json: options.Json = False,
) -> None:
    """Describe a model and what it costs, or this machine.

    Loads no weights, except for --tape. --hardware describes the machine and
    measures its limits for about a second; with -m also the model's drive.
    """
    with reporting(json):
        record: dict[str, Any] = {}
        path = None
        if model is not None or tape or not hardware:
            from zerostall import hub

            path = hub.resolve(model or "nano")
        if hardware:
            from zerostall.lab.hardware import describe_hardware

            record["hardware"] = describe_hardware(path, threads)
        if path is not None:
            record["model"] = describe_model(path, ctx)
            if tape:
                record["tape"] = trial_run(str(path), threads, ctx, isa)
        if json:
            print_json(record)
            return
        if hardware:
            print_fields(show_hardware(record["hardware"]))
        if path is not None:
            print_fields(record["model"])
        if tape:
            print()
            print_tape(record["tape"])


def describe_model(path: Path, ctx: int | None) -> dict[str, Any]:
    """What the file says, and the memory it would take."""
    from math import prod

    from zerostall import arch, gguf
    from zerostall.convert import low_format
    from zerostall.engine.budget import DEFAULT_CONTEXT, footprint
    from zerostall.engine.chunk import PLAIN
    from zerostall.engine.cpus import default_threads
    from zerostall.engine.loader import chosen_kv_type, load_tokenizer

    file = gguf.open_model(path)
    tensors = file.tensors()
    formats: dict[str, int] = {}
    for tensor in tensors:
        formats[tensor.type_name] = formats.get(tensor.type_name, 0) + tensor.bytes
    model = arch.load(file, ctx or DEFAULT_CONTEXT)
    context = ctx or min(DEFAULT_CONTEXT, model.context_length)
    need = footprint(file, model.tape, context, PLAIN, chosen_kv_type(file), default_threads())
    tokenizer = load_tokenizer(file)
    return {
        "path": [str(p) for p in file.paths],
        "name": file.get("general.name"),
        "architecture": model.name,
        "license": file.get("general.license"),
        "parameters": sum(prod(tensor.shape) for tensor in tensors),
        "layers": model.layers,
        "width": model.width,
        "experts": file.get(f"{model.name}.expert_count"),
        "experts_used": file.get(f"{model.name}.expert_used_count"),
        "model_context": model.context_length,
        "vocabulary": model.vocab_size,
        "tokenizer": file.get("tokenizer.ggml.pre") or file.get("tokenizer.ggml.model"),
        "chat_template": tokenizer is not None and tokenizer.chat_template is not None,
        "packed": file.container_version > 0,
        "miss_copy": low_format(file),
        "formats": dict(sorted(formats.items(), key=lambda item: -item[1])),
        "context": context,
        "memory": {
            "weights": need.weights,
            "kv_cache": need.kv_per_token * context,
            "scratch": need.scratch,
        },
    }


def show_hardware(hardware: dict[str, Any]) -> dict[str, Any]:
    """The fields of describe_hardware() as texts for people."""
    from zerostall.engine.budget import show_bytes

    caches = [
        f"{c['count']} L{c['level']} of {show_bytes(c['bytes'])} for {c['cpus']} CPUs each"
        for c in hardware["caches"]
    ]
    nodes = [
        f"{n['node']}: CPUs {show_cpus(n['cpus'])}"
        + (f", {show_bytes(n['memory'])}" if n["memory"] else "")
        for n in hardware["numa_nodes"]
    ]
    limits = hardware["limits"]
    shown = hardware | {
        "features": [name for name, present in hardware["features"].items() if present],
        "caches": caches or None,
        "numa_nodes": "; ".join(nodes),
        "cpus": show_cpus(hardware["cpus"]) if hardware["cpus"] else None,
        "pinned": f"{'yes' if hardware['pinned'] else 'no'}: {hardware['pinning']}",
        "pinning": None,
        "limits": [
            f"{limits['read_bandwidth_gb_per_s']:.1f} GB/s read",
            f"{limits['int8_tops']:.2f} TOPS int8 ({limits['unit']})",
            f"{limits['float32_tflops']:.2f} TFLOPS float32",
        ],
    }
    if "drive" in hardware:
        shown["drive"] = show_drive(hardware["drive"])
    return shown


def show_drive(drive: dict[str, Any]) -> list[str]:
    """The fields of a drive as texts for people."""
    node = drive["numa_node"]
    rates = drive.get("gb_per_s_by_depth", {})
    texts = [f"{rate:.2f} GB/s at depth {depth}" for depth, rate in rates.items()]
    texts = texts or [drive.get("not_measured", "not measured: the file is too small")]
    return texts if node is None else [f"NUMA node {node}", *texts]


def show_cpus(cpus: list[int]) -> str:
    """CPUs in their order, neighbours joined: `0-3,8`."""
    runs: list[list[int]] = []
    for cpu in cpus:
        if runs and cpu == runs[-1][-1] + 1:
            runs[-1].append(cpu)
        else:
            runs.append([cpu])
    return ",".join(str(r[0]) if len(r) == 1 else f"{r[0]}-{r[-1]}" for r in runs)


def trial_run(
    model: str, threads: int | None, ctx: int | None, isa: str | None
) -> list[dict[str, Any]]:
    """Load the model, decode a few tokens, and describe its operators with their times."""
    from zerostall.sampling import SamplingParams

    with options.open_llm(model, options.Loading(threads=threads, ctx=ctx, isa=isa)) as llm:
        few = SamplingParams(max_tokens=min(TRIAL, llm.context), temperature=0, ignore_eos=True)
        llm.generate([0], few)
        engine = llm.loaded.scheduler.engine
        operators: list[dict[str, Any]] = engine.describe()
        for operator in operators:
            operator["time_us"] /= engine.steps
        return operators


def print_fields(record: dict[str, Any]) -> None:
    """One line a field, for people."""
    from zerostall.engine.budget import show_bytes

    for name, value in record.items():
        if value is None:
            continue
        if name == "path":
            shown = value[0] + (f" and {len(value) - 1} more" if len(value) > 1 else "")
        elif name in ("formats", "memory"):
            shown = ", ".join(f"{key} {show_bytes(size)}" for key, size in value.items())
        elif name == "available_memory":
            shown = show_bytes(value)
        elif name == "parameters":
            shown = f"{value / 1e9:.2f} billion" if value >= 1e9 else f"{value / 1e6:.1f} million"
        elif isinstance(value, bool):
            shown = "yes" if value else "no"
        else:
            shown = ", ".join(value) if isinstance(value, list) else str(value)
        print(f"{name.replace('_', ' '):<18}{shown}")


def print_tape(operators: list[dict[str, Any]]) -> None:
    """One line an operator: buffers with widths, weights, bytes, microseconds a token."""
    from zerostall.engine.budget import show_bytes

    print("one line an operator; bN:W is buffer N of W floats a token; us a step of one token")
    for number, operator in enumerate(operators):
        flow = " -> ".join(
            " ".join(f"b{b['buffer']}:{b['width']}" for b in operator[side])
            for side in ("inputs", "outputs")
        )
        weights = "  ".join(describe_weight(weight) for weight in operator["weights"])
        size = sum(weight.get("bytes", 0) for weight in operator["weights"])
        print(
            f"{number:>4}  {operator['op']:<12} {operator['time_us']:>9.1f} us "
            f"{show_bytes(size) if size else '':>9}  {flow:<24}  {weights}".rstrip()
        )
    total = sum(operator["time_us"] for operator in operators)
    print(f"      {'total':<12} {total:>9.1f} us")


def describe_weight(weight: dict[str, Any]) -> str:
    """Name, rows, shape and format of a weight."""
    shape = "x".join(map(str, weight.get("shape", [])))
    return f"{weight['name']} [{shape}] {weight.get('format', '')}"
