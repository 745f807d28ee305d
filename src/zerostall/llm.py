"""The public Python API: load a model, complete, stream, chat, tokenize, score."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from zerostall import hub
from zerostall.engine.batching import GAP_FACTOR
from zerostall.engine.completion import Chunk, Completion
from zerostall.engine.context_shift import ContextShift
from zerostall.engine.embedding import Embedder, Prompt, Texts, encoded, pooling_of
from zerostall.engine.generation import (
    Request,
    Watcher,
    check_ids,
    checked_prompt,
    generate,
    prepare,
)
from zerostall.engine.loader import Options, load
from zerostall.engine.open_model import OpenModel
from zerostall.engine.session import Session
from zerostall.engine.streaming import Streaming
from zerostall.engine.task import Logits, Rows
from zerostall.errors import InvalidRequestError
from zerostall.sampling import SamplingParams

if TYPE_CHECKING:
    from zerostall.text.chat import Ending
    from zerostall.text.grammar import Grammars

COMPLETION_TOKENS = 128  # max_tokens of generate() and stream() when not given
UNLIMITED = 2**31 - 1  # of chat(): until the model ends, or the context if it may not shift

Message = Mapping[str, Any]


class LLM(OpenModel):
    """A loaded language model.

    Safe to use from several threads: calls share the engine's steps, and none changes a bit of
    another's result. Ctrl-C (KeyboardInterrupt) stops a call within a step and leaves the object
    usable. Use it as a context manager, or close() it, to free the memory.

    Args:
        model: a GGUF file (of a split model the first file), "hf:owner/repo[:quant]" for one
            on the Hugging Face hub, or the built-in "nano" or "nano-draft".
        threads: threads of a forward pass; None: one per physical core this process may use,
            efficiency cores left out.
        ctx: longest sequence in tokens, prompt and answer; None: 4096, less if the model was
            made for less or memory is short.
        ram: memory budget of the process in bytes or as "6.5G"; None: what the machine has
            available. Of a mixture of experts that does not fit, the experts are streamed.
        kv_tokens: tokens of all sequences that the KV cache holds, at least ctx; None: 8 times ctx,
            where experts are streamed up to twice, as memory allows.
        kv_type: precision of the KV cache, "f16", "f32" or "int8" (half of f16, with a scale
            for each token and head); "auto" is int8, but f16 for a model whose keys have a bias.
        isa: instruction set to use ("scalar", "avx2", "avx_vnni", "avx512", "amx"); None: the
            best there is, or the environment's ZEROSTALL_ISA. All give the same bits, but for
            "bf16_dot", which computes BF16 weights faster with other roundings.
        max_batch: most tokens computed in one step; None: 512, or up to 4096 where experts are
            streamed and there is memory for it. Never changes the result.
        pin: whether each thread stays on one core, the caller's during a step only; None: if
            the threads take every core, unless the environment's ZEROSTALL_PIN is 0 (never)
            or 1 (always).
        streaming: how experts are read where the model does not fit into memory; None:
            Streaming().
        experts: how many experts each token uses, fewer than the model says: faster, and lossy.
        context_shift: an answer that has filled the context goes on without the older half of
            what is behind the first `keep` tokens, so that it ends at max_tokens only. A prompt
            must fit all the same.
        keep: tokens of a prompt that stay then, beside the one that begins every text; -1: all.
        gap_factor: while answers are streamed, how many times as long a step may take for the
            prompts that come in beside them, at least 1: more makes prompts faster and the
            streamed tokens slower. float("inf"): prompts come first, at full speed.
        progress: called while loading with the fraction done, 0 to 1.

    Raises:
        ModelNotFoundError: the reference names no readable model.
        ModelFormatError: the file is corrupt.
        UnsupportedModelError: its architecture, formats or tokenizer are not supported.
        OutOfBudgetError: it does not fit; the message names the smallest budget that works.
        InvalidRequestError: an argument is out of range.
    """

    def __init__(
        self,
        model: str | os.PathLike[str],
        *,
        threads: int | None = None,
        ctx: int | None = None,
        ram: int | float | str | None = None,
        kv_tokens: int | None = None,
        kv_type: str = "auto",
        isa: str | None = None,
        max_batch: int | None = None,
        pin: bool | None = None,
        streaming: Streaming | None = None,
        experts: int | None = None,
        context_shift: bool = False,
        keep: int = 0,
        gap_factor: float = GAP_FACTOR,
        progress: Callable[[float], None] | None = None,
    ) -> None:
        reading = streaming or Streaming()
        options = Options(
            *(threads, ctx, ram, kv_type, isa, max_batch, pin, reading, experts),
            *(gap_factor, context_shift, keep, kv_tokens),
        )
        super().__init__(load(hub.resolve(model), options, progress))

    def __enter__(self) -> LLM:
        return self

    def generate(self, prompt: Prompt, params: SamplingParams | None = None) -> Completion:
        """Complete a prompt.

        Args:
            prompt: text (special tokens written in it count as such, and the model's
                beginning-of-text token is put in front if it wants one), or token ids, which
                are taken as they are.
            params: how to choose tokens and when to stop; None: SamplingParams().

        Raises:
            ContextLengthError: the prompt is longer than the context.
            InvalidRequestError: the prompt is empty or has ids outside the vocabulary.
            ClosedError: the LLM was closed.
        """
        return Completion.join(list(self.stream(prompt, params)))

    def stream(
        self,
        prompt: Prompt,
        params: SamplingParams | None = None,
        *,
        session: Session | None = None,
        priority: int = 0,
        progress: Watcher | None = None,
    ) -> Iterator[Chunk]:
        """Complete a prompt token by token; arguments and errors as for generate().

        Closing the iterator, or dropping it, stops the generation and frees its memory. The
        engine is at most 16 tokens ahead of whoever takes them. With a `session` (from
        open_session()) a prompt that begins like its last one computes only the rest, and another
        thread can cancel() it, also while the prompt is computed. Of calls at the same time those
        with a lower `priority` go first. `progress` is called with a PromptProgress as pieces of
        the prompt are computed, in the thread that iterates.
        """
        request = self._request(self.encode_prompt(prompt), params, COMPLETION_TOKENS, priority)
        return self._run(request, session, progress)

    def chat(
        self,
        messages: Sequence[Message],
        params: SamplingParams | None = None,
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        variables: Mapping[str, Any] | None = None,
    ) -> Completion:
        """Answer a conversation in the model's own chat format.

        Args:
            messages: dicts with "role" and "content", as the model's template expects them.
            params: as for generate(), but max_tokens=None lets the model end its answer.
            tools: JSON schemas of functions, for templates that know tools; a model that has a
                template of its own for them is asked in that.
            variables: switches of the model's template, such as {"enable_thinking": False}.

        Raises:
            InvalidRequestError: the model has no chat template, or its template refuses.
            ContextLengthError, ClosedError: as for generate().
        """
        return Completion.join(
            list(self.chat_stream(messages, params, tools=tools, variables=variables))
        )

    def chat_stream(
        self,
        messages: Sequence[Message],
        params: SamplingParams | None = None,
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        variables: Mapping[str, Any] | None = None,
        session: Session | None = None,
        priority: int = 0,
        progress: Watcher | None = None,
    ) -> Iterator[Chunk]:
        """Answer a conversation token by token; arguments as for chat() and stream().

        Pass the same `session` (from open_session()) for every turn of a conversation and only
        what is new gets computed.
        """
        prompt = self.encode_chat(messages, tools, variables)
        return self._run(self._request(prompt, params, UNLIMITED, priority), session, progress)

    def tokenize(
        self, text: str, add_special: bool = True, parse_special: bool = False
    ) -> list[int]:
        """Token ids of a text.

        Args:
            text: any text.
            add_special: put the model's beginning-of-text token in front if it wants one.
            parse_special: read special tokens written in the text as such.
        """
        return self.tokenizer.encode(text, add_special=add_special, parse_special=parse_special)

    def detokenize(self, ids: Sequence[int], skip_special: bool = True) -> str:
        """The text of token ids; without special tokens unless skip_special is False."""
        check_ids(ids, self.vocab_size)
        return self.tokenizer.decode(list(ids), skip_special=skip_special)

    def logits(self, ids: Sequence[int]) -> Logits:
        """The model's raw predictions after each token of a sequence.

        Args:
            ids: token ids, 1 to ctx of them, taken as they are.

        Returns:
            float32 [len(ids), vocab_size]; row i predicts token i + 1.
        """
        return np.concatenate(list(self.logit_blocks(ids)))

    def logit_blocks(self, ids: Sequence[int], start: int = 0) -> Iterator[Logits]:
        """The rows of logits(ids) from `start` on, in blocks, so that few are held at once."""
        ids = self._checked(ids)
        with self.open_session() as session:
            yield from session.score(ids, start)

    def hidden_states(self, ids: Sequence[int]) -> Rows:
        """What the model's head makes logits of: the state after the output norm of each token.

        Args:
            ids: token ids, 1 to ctx of them, taken as they are.

        Returns:
            float32 [len(ids), width].
        """
        ids = self._checked(ids)
        with self.open_session() as session:
            return np.concatenate(list(session.states(ids)))

    def embed(
        self,
        texts: Texts,
        *,
        pooling: str | None = None,
        normalize: bool = True,
        priority: int = 0,
    ) -> Rows:
        """Embeddings of texts: their hidden states, pooled into one vector each.

        Args:
            texts: one text or several, each a string (read as generate() reads a prompt) or
                token ids. Several share the engine's steps.
            pooling: "mean" of all tokens, "last" or "cls" (the first); None: what the model's
                file says, else "last".
            normalize: give vectors of length 1.
            priority: of calls at the same time those with a lower one go first.

        Returns:
            float32 [number of texts, width].

        Raises:
            ContextLengthError: a text is longer than the context.
            InvalidRequestError: a text is empty or has ids outside the vocabulary; there is no
                such pooling, or the model is one that ranks.
            ClosedError: the LLM was closed.
        """
        prompts = self.encode_texts(texts)
        vectors = self.embedder(pooling, normalize=normalize, priority=priority).run(prompts)
        return np.array(list(vectors), np.float32).reshape(len(prompts), self.architecture.width)

    def embedder(
        self, pooling: str | None = None, *, normalize: bool = True, priority: int = 0
    ) -> Embedder:
        """What embed() runs, for callers that take vectors as they come, or cancel()."""
        loaded = self.loaded
        pooling = pooling_of(loaded.file, pooling)
        return Embedder(loaded.scheduler, pooling, normalize=normalize, priority=priority)

    def encode_texts(self, texts: Texts) -> list[list[int]]:
        """The token ids of each text that embed() computes; errors as there."""
        return encoded(texts, self.encode_prompt)

    def open_session(self) -> Session:
        """A sequence of its own, to be reused by the turns of one conversation."""
        return Session(self.loaded.scheduler)

    def save_state(self, session: Session, path: str | os.PathLike[str]) -> None:
        """Write the tokens, keys and values that a session holds to a file, for load_state().

        The file appears when it is whole. Calls under way wait meanwhile.

        Raises:
            InvalidRequestError: the session holds nothing.
            StorageError: the file cannot be written.
        """
        self.loaded.scheduler.save(session.place, Path(path))

    def load_state(self, path: str | os.PathLike[str]) -> Session:
        """A session with what save_state() wrote: a prompt that begins so computes only the rest.

        Raises:
            StateFileError: the file is cut, damaged, of another version, model or kv_type.
            ContextLengthError, OutOfBudgetError: it does not fit.
            StorageError: it cannot be read.
        """
        scheduler = self.loaded.scheduler
        return Session(scheduler, scheduler.restore(Path(path)))

    def encode_prompt(self, prompt: Prompt) -> list[int]:
        """The token ids that generate() computes for a prompt; errors as there."""
        if isinstance(prompt, str):
            if not prompt:
                raise InvalidRequestError("the prompt is empty; give at least one character")
            prompt = self.tokenizer.encode(prompt, add_special=True, parse_special=True)
        return self._checked(prompt)

    def encode_chat(
        self,
        messages: Sequence[Message],
        tools: Sequence[Mapping[str, Any]] | None = None,
        variables: Mapping[str, Any] | None = None,
        ending: Ending = "answer",
    ) -> list[int]:
        """The token ids that chat() computes for a conversation; as for render_chat()."""
        text = self.render_chat(messages, tools, variables, ending)
        ids = self.tokenizer.encode(text, add_special=False, parse_special=True)
        # As llama.cpp: exactly one beginning-of-text token, whether or not the template has it.
        bos = self.bos_id
        if bos is not None and ids[:1] != [bos]:
            ids = [bos, *ids]
        return self._checked(ids)

    def render_chat(
        self,
        messages: Sequence[Message],
        tools: Sequence[Mapping[str, Any]] | None = None,
        variables: Mapping[str, Any] | None = None,
        ending: Ending = "answer",
    ) -> str:
        """The text that the model's template makes of a conversation; errors as for chat().

        `ending` "continue" lets the model go on with the last message, "none" opens no turn.
        """
        from zerostall.text import chat

        name = self.loaded.path.name
        return chat.prompt(self.tokenizer, name, messages, tools, variables, ending)

    def _request(
        self,
        prompt: list[int],
        params: SamplingParams | None,
        default_tokens: int,
        priority: int,
    ) -> Request:
        params = params if params is not None else SamplingParams()
        if params.stop and self.loaded.tokenizer is None:
            self.tokenizer  # noqa: B018  raises: stop strings need a vocabulary
        constraint = self._grammars.constraint(params) if params.constrained else None
        return prepare(
            *(prompt, params, default_tokens, self.context, self.vocab_size),
            priority=priority,
            constraint=constraint,
            shift=self._shift(prompt),
        )

    def _shift(self, prompt: list[int]) -> ContextShift | None:
        keep, tokenizer = self.loaded.keep, self.loaded.tokenizer
        if keep is None:
            return None
        bos = None if tokenizer is None else self.bos_id
        return ContextShift.of(keep, self.context, prompt, bos)

    @cached_property
    def _grammars(self) -> Grammars:
        from zerostall.text.grammar import Grammars

        return Grammars(self.tokenizer)

    def _run(
        self, request: Request, session: Session | None, progress: Watcher | None
    ) -> Iterator[Chunk]:
        loaded = self.loaded
        used = Session(loaded.scheduler) if session is None else nullcontext(session)
        with used as session:
            yield from generate(session, request, loaded.tokenizer, loaded.load_ms, progress)

    def _checked(self, ids: Sequence[int]) -> list[int]:
        longest = self.architecture.context_length
        return checked_prompt(ids, self.vocab_size, self.context, longest)
