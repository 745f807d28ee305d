"""`zerostall run`: complete a prompt or answer a question."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from zerostall.cli import form, options
from zerostall.cli.outcome import INTERRUPTED, print_json, reporting

if TYPE_CHECKING:
    from zerostall.engine.completion import Chunk, StreamTimings, Timings
    from zerostall.llm import LLM
    from zerostall.sampling import SamplingParams

Sampled = "Sampling"


def main(
    prompt: Annotated[
        str | None, typer.Argument(help="The prompt; - or nothing reads standard input.")
    ] = None,
    model: options.Model = "nano",
    max_tokens: Annotated[
        int | None,
        typer.Option(
            "-n",
            "--max-tokens",
            help="Most tokens to generate; by default 128, for chat models no limit.",
        ),
    ] = None,
    raw: Annotated[
        bool, typer.Option("--raw", help="Complete the text as it is, without the chat template.")
    ] = False,
    tokens: Annotated[
        str | None, typer.Option(metavar="1,2,3", help="Token ids instead of a prompt.")
    ] = None,
    system: Annotated[str | None, typer.Option(help="System message for a chat model.")] = None,
    stop: Annotated[
        list[str] | None, typer.Option(help="End before this text; repeat for several.")
    ] = None,
    temp: Annotated[
        float, typer.Option("--temp", help="Temperature; 0 is greedy.", rich_help_panel=Sampled)
    ] = 0.8,
    top_k: Annotated[
        int, typer.Option(help="Keep the k likeliest; 0 is off.", rich_help_panel=Sampled)
    ] = 40,
    top_p: Annotated[
        float, typer.Option(help="Keep this much probability.", rich_help_panel=Sampled)
    ] = 0.95,
    min_p: Annotated[
        float,
        typer.Option(help="Drop below this share of the likeliest.", rich_help_panel=Sampled),
    ] = 0.05,
    repeat_penalty: Annotated[
        float, typer.Option(help="Divide logits of seen tokens; 1 is off.", rich_help_panel=Sampled)
    ] = 1.0,
    seed: Annotated[
        int | None, typer.Option(help="Repeat a random choice.", rich_help_panel=Sampled)
    ] = None,
    ignore_eos: Annotated[
        bool, typer.Option("--ignore-eos", help="Never end early.", rich_help_panel=Sampled)
    ] = False,
    json_schema: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|JSON", help="Write JSON of this schema.", rich_help_panel=Sampled
        ),
    ] = None,
    grammar: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|TEXT",
            help="Write a sentence of this grammar (Lark or GBNF).",
            rich_help_panel=Sampled,
        ),
    ] = None,
    regex: Annotated[
        str | None,
        typer.Option(help="Write what this expression matches.", rich_help_panel=Sampled),
    ] = None,
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
    speculator: options.Speculator = None,
    mirror: options.Mirror = None,
    profile: options.Profile = None,
    trace: options.TraceFile = None,
    experts: options.Experts = None,
    route_margin: options.RouteMargin = 0.0,
    miss_precision: options.MissPrecision = "full",
    check_records: options.CheckRecords = False,
    echo: Annotated[bool, typer.Option("--echo", help="Print the prompt first.")] = False,
    stats: Annotated[bool, typer.Option("--stats", help="Print timings on stderr.")] = False,
    json: options.Json = False,
) -> None:
    """Complete a prompt, or ask a chat model one question.

    A model with a chat template is asked: the prompt becomes the user's
    message. A base model (such as nano), or any model with --raw, just goes
    on writing. One newline at the end of standard input is dropped.
    """
    how = options.Loading.of(locals())
    with reporting(json):
        from zerostall.sampling import SamplingParams

        params = SamplingParams(
            max_tokens=max_tokens,
            temperature=temp,
            top_k=top_k,
            top_p=top_p,
            min_p=min_p,
            repetition_penalty=repeat_penalty,
            seed=seed,
            stop=stop or (),
            ignore_eos=ignore_eos,
            json_schema=None if json_schema is None else form.read_schema(json_schema),
            grammar=None if grammar is None else form.read_grammar(grammar),
            regex=regex,
        )
        ids = None if tokens is None else parse_tokens(tokens, prompt)
        text = "" if ids is not None else read_prompt(prompt)
        with options.open_llm(model, how) as llm:
            chunks = begin(llm, ids, text, raw, system, params)
            if echo and not json:
                sys.stdout.write(text if ids is None else tokens or "")
            finish(llm, chunks, as_json=json, stats=stats)


def begin(
    llm: LLM,
    ids: list[int] | None,
    text: str,
    raw: bool,
    system: str | None,
    params: SamplingParams,
) -> Iterator[Chunk]:
    """Start the generation that the options ask for."""
    if ids is not None:
        return llm.stream(ids, params)
    if raw or llm.tokenizer.chat_template is None:
        return llm.stream(text, params)
    messages = [{"role": "system", "content": system}] if system is not None else []
    return llm.chat_stream([*messages, {"role": "user", "content": text}], params)


def finish(llm: LLM, chunks: Iterator[Chunk], *, as_json: bool, stats: bool) -> None:
    """Print a generation as it comes, or as one object at its end."""
    from zerostall.engine.completion import Completion

    done: list[Chunk] = []
    try:
        for chunk in chunks:
            done.append(chunk)
            if not as_json:
                # A model without a vocabulary has ids to show, no text.
                ids = "" if llm.loaded.tokenizer else " ".join(map(str, chunk.token_ids)) + " "
                sys.stdout.write(chunk.text or ids)
                sys.stdout.flush()
    except KeyboardInterrupt:
        if as_json:
            print_json(
                {
                    "text": "".join(chunk.text for chunk in done),
                    "token_ids": [token for chunk in done for token in chunk.token_ids],
                    "finish_reason": "interrupted",
                }
            )
        else:
            print()
        raise typer.Exit(INTERRUPTED) from None
    completion = Completion.join(done)
    if as_json:
        print_json(completion.to_dict())
    else:
        print()
    if stats:
        typer.echo(describe(completion.timings), err=True)


def describe(timings: Timings) -> str:
    """Timings for people: one line, and two for experts that were streamed."""
    text = (
        f"load {timings.load_ms:.0f} ms | "
        f"prompt {timings.prompt_tokens} tokens, {timings.prompt_ms:.1f} ms, "
        f"{timings.prompt_per_second:.1f} tokens/s | "
        f"predicted {timings.predicted_tokens} tokens, {timings.predicted_ms:.1f} ms, "
        f"{timings.predicted_per_second:.1f} tokens/s"
    )
    streaming = timings.streaming
    return text if streaming is None else f"{text}\n{describe_streaming(timings, streaming)}"


def describe_streaming(timings: Timings, s: StreamTimings) -> str:
    """What streaming experts took, in all and for each token that was computed."""
    from zerostall.engine.budget import show_bytes

    # The first predicted token comes from the prompt's logits.
    tokens = max(1, timings.prompt_tokens + timings.predicted_tokens - 1)
    cached = ""
    if s.prefetched_bytes or s.released_bytes:
        ahead, back = show_bytes(s.prefetched_bytes), show_bytes(s.released_bytes)
        cached = f" | page cache: {ahead} asked for ahead, {back} given back"
    low = f" ({s.low_used} computed with low copies)" if s.low_used else ""
    return (
        f"experts {s.demanded} demanded, {100 * s.hit_rate:.1f}% in memory, "
        f"{s.shadow_hits} read ahead, {s.misses} missed{low} | "
        f"foreseen {100 * s.recall:.1f}%, {s.wasted} of {s.speculated} reads ahead useless | "
        f"read {s.bytes_read / 1e9:.2f} GB at {s.read_bandwidth / 1e9:.2f} GB/s, "
        f"{s.bytes_wasted / 1e9:.2f} GB of it in vain | "
        f"stalled {s.stall_ms:.0f} ms | {s.major_faults} major faults\n"
        f"a token {(s.compute_ms + s.stall_ms) / tokens:.2f} ms "
        f"({s.compute_ms / tokens:.2f} computing, {s.stall_ms / tokens:.2f} stalled), "
        f"{show_bytes(s.bytes_read // tokens)} read | "
        f"{s.resident} experts in {s.slots} slots, {s.evictions} evicted"
        + (f", {show_bytes(s.given)} given back to the system" if s.given else "")
        + cached
    )


def read_prompt(prompt: str | None) -> str:
    """The prompt given, or standard input without its last newline."""
    from zerostall.errors import InvalidRequestError

    if prompt not in (None, "-"):
        return prompt or ""
    if prompt is None and sys.stdin.isatty():
        raise InvalidRequestError(
            "no prompt; give one, pipe one in, or talk to the model with `zerostall chat`"
        )
    try:
        return sys.stdin.buffer.read().decode("utf-8").removesuffix("\n")
    except UnicodeDecodeError as error:
        raise InvalidRequestError(f"standard input is not UTF-8 text: {error}") from error


def parse_tokens(tokens: str, prompt: str | None) -> list[int]:
    """Token ids of `--tokens`."""
    from zerostall.errors import InvalidRequestError

    if prompt is not None:
        raise InvalidRequestError("give a prompt or --tokens, not both")
    try:
        return [int(token) for token in tokens.replace(",", " ").split()]
    except ValueError:
        raise InvalidRequestError(
            f"--tokens is {tokens!r}; give whole numbers with commas, such as 1,2,3"
        ) from None
