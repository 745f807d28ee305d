"""The C++ core of zerostall."""

from collections.abc import Callable, Mapping, Sequence
import os
from typing import Annotated, Any

import numpy
import numpy.typing
from numpy.typing import NDArray


class TensorInfo:
    """A tensor of a GGUF file, without its data."""

    @property
    def name(self) -> str:
        """Name in the file, such as 'blk.0.attn_q.weight'."""

    @property
    def type_name(self) -> str:
        """Name of the ggml type, such as 'Q4_K'."""

    @property
    def type_id(self) -> int:
        """Id of the ggml type, such as 12."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Slowest dimension first, as in numpy."""

    @property
    def bytes(self) -> int:
        """Size of the data."""

    @property
    def shard(self) -> int:
        """Index into GgufFile.paths."""

    @property
    def offset(self) -> int:
        """Position of the data in its shard, in bytes."""

    def __repr__(self) -> str: ...

class GgufFile:
    """
    A GGUF model, mapped into memory: metadata and tensor directory.

    Given the first file of a split model, opens the others too. Raises
    ModelFormatError, UnsupportedModelError, InvalidRequestError (not the first
    file of a split model) or StorageError.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None: ...

    @property
    def paths(self) -> list[str]:
        """The model's files, in order."""

    @property
    def version(self) -> int:
        """Version of the GGUF format: 2 or 3."""

    def metadata_keys(self) -> list[str]:
        """Keys in the file's order."""

    def get(self, key: str, default: Any = None) -> Any:
        """
        The value of a key: int, float, bool or str; for an array of numbers a 1-D numpy
        array of the stored type, for strings or nested arrays a list. Raises
        ModelFormatError if a string is not UTF-8.
        """

    def __contains__(self, arg: str, /) -> bool: ...

    def tensors(self) -> list[TensorInfo]:
        """All tensors, shard by shard, in the files' order."""

    def tensor_bytes(self, name: str) -> numpy.typing.NDArray[numpy.uint8]:
        """
        The tensor's stored bytes as a read-only uint8 array over the mapped file. Raises
        KeyError.
        """

def format_names() -> list[str]:
    """The weight formats that have kernels, as GGUF spells them."""

def format_sizes(name: str) -> tuple[int, int, int]:
    """GGUF type id, values per block and bytes per block of a format."""

def decode(format: str, data: Annotated[NDArray[numpy.uint8], dict(shape=(None,), order='C', device='cpu', writable=False)], values: int) -> Annotated[NDArray[numpy.float32], dict(shape=(None,))]:
    """
    Decode a row of blocks (uint8) to float32 [values], as the gguf package does.
    """

def pack(format: str, data: Annotated[NDArray[numpy.uint8], dict(shape=(None,), order='C', device='cpu', writable=False)], rows: int, columns: int) -> Annotated[NDArray[numpy.uint8], dict(shape=(None,))]:
    """
    Pack a row-major matrix (uint8) into panels of 16 rows; the result has the bytes of
    ceil(rows / 16) * 16 rows.
    """

def isas() -> list[str]:
    """
    The instruction sets that this build has kernels for and this CPU runs, weakest first.
    """

def selected_isa() -> str:
    """
    The instruction set that engines use: ZEROSTALL_ISA, or the best there is.
    """

def matmul(format: str, packed: Annotated[NDArray[numpy.uint8], dict(shape=(None,), order='C', device='cpu', writable=False)], rows: int, columns: int, x: Annotated[NDArray[numpy.float32], dict(shape=(None, None), order='C', device='cpu', writable=False)], isa: str, bias: Annotated[NDArray[numpy.float32], dict(shape=(None,), order='C', device='cpu', writable=False)] | None = None, row_index: Annotated[NDArray[numpy.int32], dict(shape=(None,), order='C', device='cpu', writable=False)] | None = None) -> NDArray[numpy.float32]:
    """
    x (float32 [tokens, columns]) times packed weights: float32 [tokens, rows]. Activations
    are quantised as the format asks; row_index (int32) picks rows of x.
    """

def quantize(kind: str, x: numpy.typing.NDArray[numpy.float32], isa: str) -> tuple[numpy.typing.NDArray[Any], ...]:
    """
    Quantise a row as activations, kind q8_k or q8_32: (values, scales, sums16, sums32).
    """

def row_operation(name: str, x: Annotated[NDArray[numpy.float32], dict(shape=(None,), order='C', device='cpu', writable=False)], isa: str, weight: Annotated[NDArray[numpy.float32], dict(shape=(None,), order='C', device='cpu', writable=False)] | None = None, bias: Annotated[NDArray[numpy.float32], dict(shape=(None,), order='C', device='cpu', writable=False)] | None = None, parameter: float = 0.0) -> NDArray[numpy.float32]:
    """
    A row kernel by name: rms_norm, layer_norm, silu, gelu, gelu_tanh (weight: what the
    activation multiplies), sigmoid, scale, softcap, exp_sum (the sum comes last), add, axpy.
    """

def plan_memory(file: GgufFile, tape: object, threads: int = 1, context: int = 4096, max_batch: int = 512, kv_tokens: int = 0, kv_type: str = 'f16') -> dict[str, int]:
    """
    What Engine.memory() would say, without loading: bytes of weights, buffers, scratch and
    kv_cache. Raises what Engine raises.
    """

class Engine:
    """
    A loaded model: packed weights, KV cache and threads. Steps from several Python threads take turns.
    """

    def __init__(self, file: GgufFile, tape: object, threads: int = 1, context: int = 4096, max_batch: int = 512, kv_tokens: int = 0, kv_type: str = 'f16', isa: str | None = None, progress: Callable[[int, int], object] | None = None) -> None:
        """
        Compile a zerostall.tape.Tape over a model file and pack its weights.

        context: positions of one sequence. max_batch: tokens of one step. kv_tokens:
        positions of all sequences together (0: context). progress(done, total) is called
        in bytes while packing. Raises ModelFormatError, UnsupportedModelError,
        OutOfBudgetError or InvalidRequestError.
        """

    def open_sequence(self) -> int:
        """Start an empty sequence; returns its number."""

    def close_sequence(self, sequence: int) -> None:
        """Free a sequence and its cache pages."""

    def length(self, sequence: int) -> int:
        """Tokens a sequence holds."""

    def truncate(self, sequence: int, length: int) -> None:
        """Forget all but the first `length` tokens of a sequence."""

    def step(self, tokens: Annotated[NDArray[numpy.int32], dict(shape=(None,), order='C', device='cpu', writable=False)], sequences: Annotated[NDArray[numpy.int32], dict(shape=(None,), order='C', device='cpu', writable=False)], rows: Annotated[NDArray[numpy.int32], dict(shape=(None,), order='C', device='cpu', writable=False)]) -> Annotated[NDArray[numpy.float32], dict(shape=(None, None))]:
        """
        Run a batch: tokens[i] (int32 [T]) continues sequences[i]; the tokens of a sequence are
        neighbours. Returns float32 [len(rows), vocab]: the logits after the batch rows asked
        for. After an error or a signal every sequence is as before. Raises
        InvalidRequestError, ContextLengthError, OutOfBudgetError or KeyboardInterrupt.
        """

    def describe(self) -> list[dict[str, Any]]:
        """
        The operators in order: buffers, weights, scratch bytes and microseconds so far.
        """

    def memory(self) -> dict[str, int]:
        """Bytes of weights, buffers, scratch and the reserved KV cache."""

    @property
    def steps(self) -> int:
        """Steps run so far."""

    @property
    def vocab_size(self) -> int:
        """Width of a row of logits."""

    @property
    def max_batch(self) -> int:
        """The most tokens of one step."""

    @property
    def max_logits(self) -> int:
        """The most rows of logits of one step."""

    @property
    def context(self) -> int:
        """The most positions of one sequence."""

    @property
    def threads(self) -> int:
        """Threads that compute, the caller included."""

    @property
    def isa(self) -> str:
        """The instruction set in use."""

class Sampler:
    """
    Chooses tokens from logits: bias, penalties, top-k, typical, top-p, min-p, temperature,
    in this order; every filter is off by default. Temperature 0 takes the most likely token
    after bias and penalties, the lowest id on a tie. One seed gives the same tokens on every
    machine. Not to be used from two threads at once.
    """

    def __init__(self, vocab: int, *, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0, min_p: float = 0.0, typical_p: float = 1.0, repetition_penalty: float = 1.0, presence_penalty: float = 0.0, frequency_penalty: float = 0.0, penalty_last_n: int = 64, logit_bias: Mapping[int, float] = {}, seed: int = 0) -> None:
        """Raises InvalidRequestError for a value out of its range."""

    def accept(self, token: int) -> None:
        """
        Adds a token, of the prompt or generated, to the history of the penalties.
        """

    def sample(self, logits: Annotated[NDArray[numpy.float32], dict(shape=(None,), order='C', device='cpu', writable=False)]) -> int:
        """
        A token id for float32 logits [vocab]; -inf forbids a token. Does not call accept.
        Raises ModelFormatError for NaN or +inf, InvalidRequestError for a wrong length or
        when no token is left.
        """

    def reset(self) -> None:
        """Back to the seed and an empty history."""

    def logprobs(self, logits: Annotated[NDArray[numpy.float32], dict(shape=(None,), order='C', device='cpu', writable=False)], top_n: int, tokens: Sequence[int] = []) -> list[tuple[int, float]]:
        """
        (token, natural log-probability) of the top_n most likely tokens, then of each of
        `tokens`, in the model's own distribution: temperature 1, without bias, penalties
        or filters. Raises as sample does.
        """
