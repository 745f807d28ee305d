"""`zerostall chat`: talk to a model in the terminal."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zerostall.cli import options
from zerostall.cli.outcome import reporting
from zerostall.cli.run import describe

if TYPE_CHECKING:
    from zerostall.engine.session import Session
    from zerostall.llm import LLM
    from zerostall.sampling import SamplingParams

COMMANDS = {
    "/help": "show these commands",
    "/reset": "forget the conversation",
    "/exit": "leave (so does Ctrl-D)",
}


def main(
    model: options.Model = "nano",
    system: Annotated[str | None, typer.Option(help="System message to begin with.")] = None,
    max_tokens: Annotated[
        int | None, typer.Option("-n", "--max-tokens", help="Most tokens an answer may have.")
    ] = None,
    temp: Annotated[float, typer.Option("--temp", help="Temperature; 0 is greedy.")] = 0.8,
    top_k: Annotated[int, typer.Option(help="Keep the k likeliest tokens; 0 is off.")] = 40,
    top_p: Annotated[float, typer.Option(help="Keep this much probability.")] = 0.95,
    min_p: Annotated[float, typer.Option(help="Drop below this share of the likeliest.")] = 0.05,
    seed: Annotated[int | None, typer.Option(help="Repeat a random choice.")] = None,
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
    stats: Annotated[bool, typer.Option("--stats", help="Print timings on stderr.")] = False,
) -> None:
    """Talk to a chat model; each turn computes only what is new.

    Ctrl-C stops an answer, not the conversation. /help lists the commands.
    """
    how = options.Loading.of(locals())
    with reporting():
        from zerostall.sampling import SamplingParams

        params = SamplingParams(
            max_tokens=max_tokens,
            temperature=temp,
            top_k=top_k,
            top_p=top_p,
            min_p=min_p,
            seed=seed,
        )
        with options.open_llm(model, how) as llm:
            if llm.tokenizer.chat_template is None:
                llm.encode_chat([{"role": "user", "content": "hi"}])  # raises, saying what to do
            Conversation(llm, params, system, stats, forgets=ctx_shift).loop()


class Conversation:
    """The messages so far, and the sequence that holds them in the KV cache.

    If it `forgets`, the oldest are left out when they no longer fit.
    """

    def __init__(
        self, llm: LLM, params: SamplingParams, system: str | None, stats: bool, *, forgets: bool
    ) -> None:
        self.llm = llm
        self.params = params
        self.system = system
        self.stats = stats
        self.forgets = forgets
        self.session: Session = llm.open_session()
        self.messages: list[dict[str, Any]] = []
        self.reset()

    def reset(self) -> None:
        """Back to the system message."""
        system = {"role": "system", "content": self.system}
        self.messages = [system] if self.system is not None else []

    def loop(self) -> None:
        """Read and answer until /exit or the end of the input."""
        terminal = sys.stdin.isatty()
        if terminal:
            import readline  # noqa: F401  line editing and recall for input()

            typer.echo(f"{self.llm.path.name}: /help for help, Ctrl-D to leave", err=True)
        while True:
            try:
                line = input("> " if terminal else "")
            except EOFError:
                return
            except KeyboardInterrupt:
                typer.echo("\n(Ctrl-D or /exit to leave)", err=True)
                continue
            command = line.strip()
            if command == "/exit":
                return
            if command == "/reset":
                self.reset()
            elif command in COMMANDS:
                for name, what in COMMANDS.items():
                    typer.echo(f"{name:<8}{what}", err=True)
            elif command.startswith("/") and " " not in command:
                typer.echo(f"no command {command}; /help lists them", err=True)
            elif command:
                self.answer(line)

    def forget(self) -> None:
        """Leave out the older half of the turns until the others fit; the system message stays."""
        first = 0 if self.system is None else 1
        left_out = 0
        while (turns := (len(self.messages) - first) // 2) and not self.fits():
            count = 2 * -(-turns // 2)
            del self.messages[first : first + count]
            left_out += count
        if left_out:
            typer.echo(f"(the oldest {left_out} messages no longer fit)", err=True)

    def fits(self) -> bool:
        """Whether the messages are no longer than the context."""
        from zerostall.errors import ContextLengthError

        try:
            self.llm.encode_chat(self.messages)
        except ContextLengthError:
            return False
        return True

    def answer(self, line: str) -> None:
        """Generate one answer; what an interrupt or error leaves stays consistent."""
        from zerostall.errors import ContextLengthError
        from zerostall.text.harmony import is_harmony, turn

        self.messages.append({"role": "user", "content": line})
        if self.forgets:
            self.forget()
        said = ""
        timings = None
        try:
            for chunk in self.llm.chat_stream(self.messages, self.params, session=self.session):
                sys.stdout.write(chunk.text)
                sys.stdout.flush()
                said += chunk.text
                timings = chunk.timings
        except ContextLengthError as error:
            self.messages.pop()
            typer.echo(f"{error}; or forget the conversation with /reset", err=True)
            return
        except KeyboardInterrupt:
            typer.echo(" (stopped)", err=True, nl=False)
        print(flush=True)
        # A template of Harmony takes no channels in a content.
        answer = turn(said) if is_harmony(said) else {"content": said}
        self.messages.append({"role": "assistant", **answer})
        if self.stats and timings is not None:
            typer.echo(describe(timings), err=True)
