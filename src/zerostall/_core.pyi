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
    def packed(self) -> bool:
        """
        Whether a converted file holds it packed only; `offset` is where its panels begin.
        """

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
        """
        All tensors, shard by shard, in the files' order; of a converted file those of the
        original.
        """

    @property
    def container_version(self) -> int:
        """Version of the layout of a converted file; 0 for any other."""

    def stored_tensors(self) -> list[TensorInfo]:
        """The tensors that lie in a converted file; empty for any other."""

    def packed(self) -> list[dict[str, Any]]:
        """
        What a converted file holds packed: source (a tensor), rows (begin, end), experts,
        stored (an index into stored_tensors), offset (in that tensor, or in each record) and
        format.
        """

    def low_packed(self) -> list[dict[str, Any]]:
        """
        The low copies of experts in a converted file, as packed() says it; empty without any.
        """

    def metadata_bytes(self, key: str) -> bytes:
        """A value as the file encodes it, its type first. Raises KeyError."""

    def tensor_bytes(self, name: str) -> numpy.typing.NDArray[numpy.uint8]:
        """
        The tensor's stored bytes as a read-only uint8 array over the mapped file. Raises
        KeyError.
        """

def format_names() -> list[str]:
    """The weight formats, as GGUF spells them."""

def format_traits(format: str) -> dict[str, Any]:
    """
    The sizes of a weight format: gguf_id, block_values, block_bytes, and activations, how activations are prepared for it (F32, Q8_32 or Q8_K).
    """

def decode(format: str, data: Annotated[NDArray[numpy.uint8], dict(shape=(None,), order='C', device='cpu', writable=False)], values: int) -> Annotated[NDArray[numpy.float32], dict(shape=(None,))]:
    """
    Decodes `values` weights from their bytes to float32.

    Raises InvalidRequestError for an unknown format or a size that does not fit.
    """

def encodable_formats() -> list[str]:
    """The formats that encode() writes."""

def encode(format: str, values: Annotated[NDArray[numpy.float32], dict(shape=(None,), order='C', device='cpu', writable=False)]) -> Annotated[NDArray[numpy.uint8], dict(shape=(None,))]:
    """
    Quantises finite float32 values [n] to the nearest that the format can say: its bytes.

    Raises InvalidRequestError for a format that is only read, a size that does not fit or a
    value that is not finite.
    """

def pack(format: str, data: Annotated[NDArray[numpy.uint8], dict(shape=(None,), order='C', device='cpu', writable=False)], rows: int, columns: int) -> Annotated[NDArray[numpy.uint8], dict(shape=(None,))]:
    """
    Packs a row-major matrix into panels of 16 rows, the last one filled with zero rows.

    Raises InvalidRequestError for an unknown format or a size that does not fit.
    """

def isas() -> list[str]:
    """The instruction sets that this CPU and this build have."""

def isa_models() -> list[str]:
    """
    Models, in other instructions, of units that a CPU may lack: for tests, never chosen.
    """

def selected_isa() -> str:
    """
    The instruction set that runs: the best one, or the one that ZEROSTALL_ISA names.

    Raises InvalidRequestError when that is unknown or the CPU lacks it.
    """

def quantize(kind: str, x: numpy.typing.NDArray[numpy.float32], isa: str) -> tuple[numpy.typing.NDArray[Any], ...]:
    """
    Quantises activations to int8, kind Q8_K (blocks of 256) or Q8_32 (of 32).

    Returns the values, the scale of each block, the sums of each 16 and of each 32 values (of each 16 only for Q8_K, else zeros).
    """

def matmul(format: str, packed: Annotated[NDArray[numpy.uint8], dict(shape=(None,), order='C', device='cpu', writable=False)], rows: int, columns: int, x: Annotated[NDArray[numpy.float32], dict(shape=(None, None), order='C', device='cpu', writable=False)], isa: str, bias: Annotated[NDArray[numpy.float32], dict(shape=(None,), order='C', device='cpu', writable=False)] | None = None, row_index: Annotated[NDArray[numpy.int32], dict(shape=(None,), order='C', device='cpu', writable=False)] | None = None) -> Annotated[NDArray[numpy.float32], dict(shape=(None, None))]:
    """
    x W^T + bias as float32 [tokens, rows], for x float32 [tokens, columns] and a weight W that pack() made. row_index chooses rows of x.
    """

def rms_norm(isa: str, x: Annotated[NDArray[numpy.float32], dict(shape=(None,), order='C', device='cpu', writable=False)], weight: Annotated[NDArray[numpy.float32], dict(shape=(None,), order='C', device='cpu', writable=False)] | None, eps: float) -> Annotated[NDArray[numpy.float32], dict(shape=(None,))]:
    """x / sqrt(mean(x^2) + eps) * weight."""

def layer_norm(isa: str, x: Annotated[NDArray[numpy.float32], dict(shape=(None,), order='C', device='cpu', writable=False)], weight: Annotated[NDArray[numpy.float32], dict(shape=(None,), order='C', device='cpu', writable=False)] | None, bias: Annotated[NDArray[numpy.float32], dict(shape=(None,), order='C', device='cpu', writable=False)] | None, eps: float) -> Annotated[NDArray[numpy.float32], dict(shape=(None,))]:
    """(x - mean(x)) / sqrt(var(x) + eps) * weight + bias."""

def add(isa: str, a: Annotated[NDArray[numpy.float32], dict(shape=(None,), order='C', device='cpu', writable=False)], b: Annotated[NDArray[numpy.float32], dict(shape=(None,), order='C', device='cpu', writable=False)], scale: float) -> Annotated[NDArray[numpy.float32], dict(shape=(None,))]:
    """a + scale * b."""

def activate(isa: str, kind: str, gate: Annotated[NDArray[numpy.float32], dict(shape=(None,), order='C', device='cpu', writable=False)], up: Annotated[NDArray[numpy.float32], dict(shape=(None,), order='C', device='cpu', writable=False)] | None = None) -> Annotated[NDArray[numpy.float32], dict(shape=(None,))]:
    """act(gate) * up, with kind silu, gelu or gelu_tanh."""

def sigmoid(isa: str, x: Annotated[NDArray[numpy.float32], dict(shape=(None,), order='C', device='cpu', writable=False)]) -> Annotated[NDArray[numpy.float32], dict(shape=(None,))]:
    """1 / (1 + exp(-x))."""

def scale(isa: str, x: Annotated[NDArray[numpy.float32], dict(shape=(None,), order='C', device='cpu', writable=False)], factor: float) -> Annotated[NDArray[numpy.float32], dict(shape=(None,))]:
    """x * factor."""

def axpy(isa: str, x: Annotated[NDArray[numpy.float32], dict(shape=(None,), order='C', device='cpu', writable=False)], factor: float, y: Annotated[NDArray[numpy.float32], dict(shape=(None,), order='C', device='cpu', writable=False)]) -> Annotated[NDArray[numpy.float32], dict(shape=(None,))]:
    """x * factor + y with one rounding."""

def exp_sum(isa: str, x: numpy.typing.NDArray[numpy.float32]) -> tuple[numpy.typing.NDArray[numpy.float32], float]:
    """exp(x - max(x)) and its sum."""

def softcap(isa: str, x: Annotated[NDArray[numpy.float32], dict(shape=(None,), order='C', device='cpu', writable=False)], cap: float) -> Annotated[NDArray[numpy.float32], dict(shape=(None,))]:
    """cap * tanh(x / cap)."""

def rope(isa: str, mode: str, x: Annotated[NDArray[numpy.float32], dict(shape=(None,), order='C', device='cpu', writable=False)], table: Annotated[NDArray[numpy.float32], dict(shape=(None,), order='C', device='cpu', writable=False)]) -> Annotated[NDArray[numpy.float32], dict(shape=(None,))]:
    """
    Rotates the first len(table) values of one head by (cos, sin) pairs; mode neox or normal.
    """

def plan_memory(file: GgufFile, tape: object, threads: int = 1, context: int = 4096, max_batch: int = 512, kv_tokens: int = 0, kv_type: str = 'f16', streaming: bool = False, low_copies: bool = False) -> dict[str, int]:
    """
    What Engine.memory() would say, without loading: bytes of weights, buffers, scratch and
    kv_cache; if streaming, the weights without experts, what all experts would take and
    least_experts, the smallest room for them that works; if low_copies, with what those
    need. Raises what Engine raises.
    """

def plan_weights(file: GgufFile, tape: object) -> tuple[list[tuple[str, int, int, int]], set[str]]:
    """
    What a tape uses of a file: the matrices that are packed, as (tensor, first row, end of
    rows, experts) in the tape's order, and the tensors used as they are. Raises what Engine
    raises.
    """

class Engine:
    """
    A loaded model: packed weights, KV cache and threads. Steps from several Python threads take turns.
    """

    def __init__(self, file: GgufFile, tape: object, threads: int = 1, context: int = 4096, max_batch: int = 512, kv_tokens: int = 0, kv_type: str = 'f16', isa: str | None = None, progress: Callable[[int, int], object] | None = None, cpus: Sequence[int] | None = None, nodes: Sequence[int] | None = None, uneven: bool = False, streaming: dict[str, Any] | None = None, prefix_cache: bool = True, check_records: bool = False) -> None:
        """
        Compile a zerostall.tape.Tape over a model file and pack its weights.

        context: positions of one sequence. max_batch: tokens of one step. kv_tokens:
        positions of all sequences together (0: context). progress(done, total) is called
        in bytes while packing. cpus: the CPU that each thread stays on (the first is the
        caller's, during a step only); None: threads may move. nodes: the NUMA node of each,
        to which its share of every weight is bound; None: memory is the same to all. uneven:
        some cores are slower, so threads take work as they finish. streaming: experts are
        read as they are needed (engine/streaming.py lists the keys). prefix_cache: sequences
        share full pages of tokens they have in common. check_records: compare the checksum
        of each record of a converted file. Raises ModelFormatError, UnsupportedModelError,
        OutOfBudgetError or InvalidRequestError.
        """

    def settle(self, seconds: float = 3600.0) -> bool:
        """
        Arrange the memory of weights, which steps otherwise do little by little after a load,
        and of streamed experts, for about so long. Returns whether it is done; measure speed
        after that.
        """

    def stream_stats(self) -> dict[str, int]:
        """
        Counters of streamed experts since the load (core/experts/options.h); empty if none are.
        """

    def adapt_memory(self) -> None:
        """
        Look at how much memory the system leaves, and give slots of experts back if that is
        too little, or take them again. Steps do so ten times a second, an idle engine once.
        """

    def take_warnings(self) -> list[str]:
        """
        What the user should know of reading experts, such as a mirror that failed, once.
        """

    @property
    def stream_reader(self) -> dict[str, Any]:
        """
        How streamed experts are read: name, direct, and why (not as asked for, or ""); empty
        if none are.
        """

    @property
    def expert_layers(self) -> list[tuple[int, int, int]]:
        """
        Of each layer whose experts are streamed: experts, how many a token uses, bytes of one.
        """

    def expert_scores(self) -> list[float]:
        """
        How much each streamed expert has been wanted, 0 (never) to 1, layer by layer: the
        `profile` of a later load.
        """

    def expert_habits(self) -> list[int]:
        """
        What the first layers chose for each token lately: the `habits` of a later load.
        """

    def take_trace(self) -> list[tuple[int, int, list[int], list[int], str]]:
        """
        Demands since the last call, if streaming was told to trace: (step, layer, experts,
        tokens routed to each, a letter for each: h hit, s shadow, m miss).
        """

    def take_states(self) -> list[dict[str, NDArray[numpy.float32]]]:
        """
        What guesses were made of since the last call, if streaming was told to record_states:
        engine/streaming.py says what.
        """

    def describe(self) -> list[dict[str, Any]]:
        """
        The operators in order: buffers, weights, scratch bytes and microseconds so far.
        """

    def memory(self) -> dict[str, int]:
        """Bytes of weights, buffers, scratch and the reserved KV cache."""

    @property
    def node_bytes(self) -> dict[int, int]:
        """
        Bytes of weights, slots of experts among them, whose memory was asked of each NUMA node;
        empty where it does not matter.
        """

    @property
    def steps(self) -> int:
        """Steps run so far."""

    @property
    def vocab_size(self) -> int:
        """Width of a row of logits."""

    @property
    def width(self) -> int:
        """Width of a hidden state."""

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
    def cpus(self) -> list[int]:
        """The CPU that each thread stays on; empty if threads may move."""

    @property
    def isa(self) -> str:
        """The instruction set in use."""

    def step(self, tokens: Annotated[NDArray[numpy.int32], dict(shape=(None,), order='C', device='cpu', writable=False)], sequences: Annotated[NDArray[numpy.int32], dict(shape=(None,), order='C', device='cpu', writable=False)], rows: Annotated[NDArray[numpy.int32], dict(shape=(None,), order='C', device='cpu', writable=False)]) -> Annotated[NDArray[numpy.float32], dict(shape=(None, None))]:
        """
        Run a batch: tokens[i] (int32 [T]) continues sequences[i]; the tokens of a sequence are
        neighbours. Returns float32 [len(rows), vocab]: the logits after the batch rows asked
        for. After an error or a signal every sequence is as before. Raises
        InvalidRequestError, ContextLengthError, OutOfBudgetError, CancelledError (of
        interrupt()) or KeyboardInterrupt (of a signal, on the main thread).
        """

    def step_hidden(self, tokens: NDArray[numpy.int32], sequences: NDArray[numpy.int32], rows: NDArray[numpy.int32], hidden: NDArray[numpy.int32]) -> tuple[NDArray[numpy.float32], NDArray[numpy.float32]]:
        """
        Like step(), and also float32 [len(hidden), width]: the states of these batch rows
        after the output norm, of which the head makes logits. Any number of rows may be
        asked for; without rows of logits the head is not run.
        """

    def interrupt(self) -> None:
        """
        Let the step under way in another thread end soon, with CancelledError; if there is
        none, the next one may.
        """

    def open_sequence(self) -> int:
        """Start an empty sequence; returns its number."""

    def close_sequence(self, sequence: int) -> None:
        """
        Free a sequence. Its full pages stay cached, for prompts that begin alike, until their
        memory is wanted.
        """

    def fork_sequence(self, sequence: int) -> int:
        """
        A new sequence with the same tokens; returns its number. They share pages until one of
        them writes to the last, which is then copied.
        """

    def adopt_prefix(self, sequence: int, tokens: Annotated[NDArray[numpy.int32], dict(shape=(None,), order='C', device='cpu', writable=False)]) -> int:
        """
        Give an empty sequence the longest run of full pages, of open sequences or closed ones,
        that begins `tokens` (int32 [T]) and leaves at least one of them to compute. Returns
        the positions it then holds, a multiple of 64. Raises InvalidRequestError if it is not
        empty.
        """

    def length(self, sequence: int) -> int:
        """Tokens a sequence holds."""

    def truncate(self, sequence: int, length: int) -> None:
        """Forget all but the first `length` tokens of a sequence."""

    @property
    def free_tokens(self) -> int:
        """
        Positions that can still be given out: 64 for each page that no sequence holds. A
        sequence that shares its last page, or went back into a full one, may take a page more
        than its tokens need when it goes on.
        """

    def sequence_pages(self, sequence: int) -> list[int]:
        """
        Numbers of the pages that hold a sequence, 64 positions each, in order.
        """

    def sequence_tokens(self, sequence: int) -> list[int]:
        """Tokens that a sequence holds, in order."""

    def cache_stats(self) -> dict[str, int]:
        """
        Pages: pages, held (by sequences), cached (by none, kept for a prefix) and free. Since
        the load: lookups of adopt_prefix, lookup_tokens that could have been found, hits and
        hit_tokens; pages registered (became full), merged (of these, given back because one
        with the same tokens was there), copied (to be written) and evicted.
        """

    def check_integrity(self) -> None:
        """
        Compare pages, their users, tokens and hashes with one another. Raises InternalError
        if they do not agree.
        """

    def save_state(self, sequence: int, path: str | os.PathLike[str]) -> None:
        """
        Write a sequence's tokens, keys and values to a file, which appears under its name
        when it is whole. Steps wait meanwhile. Raises StorageError or InvalidRequestError.
        """

    def load_state(self, path: str | os.PathLike[str]) -> int:
        """
        A new sequence with what save_state() wrote; returns its number. Raises, with nothing
        changed, StateFileError (cut, damaged, of another version, model or kv_type),
        ContextLengthError, OutOfBudgetError or StorageError.
        """

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

def compiler() -> str:
    """The compiler that built this module, with its version."""

def read_bandwidth(threads: int, bytes: int = 536870912, seconds: float = 0.5) -> float:
    """
    Bytes a second that the threads together read from memory: the best pass over a buffer
    of `bytes`, which should be several times the last-level cache.

    Raises OutOfBudgetError when the buffer does not fit.
    """

def compute_units() -> list[str]:
    """
    The arithmetic units whose peaks compute_peak() measures here, slowest first.
    """

def compute_peak(unit: str, type: str, threads: int, seconds: float = 0.25) -> float:
    """
    Operations a second (a multiply-add is two) of a unit on registers alone, type int8 or
    float32: what no kernel can exceed.

    Raises InvalidRequestError for a unit that is unknown or missing.
    """

def drive_bandwidth(path: str, depth: int = 8, request_bytes: int = 1048576, seconds: float = 0.5, kind: str = 'pread', memory_bytes: int = 0, first: int = 0) -> float:
    """
    Bytes a second read from a file past the page cache, `depth` requests at once, by kind
    uring or pread. They go to `memory_bytes`, touched before, one place after the other; by
    default to as little as holds them, which the processor's cache may hold as well. From
    another `first` on, other places of the file are read.

    Raises StorageError when the file cannot be read so, OutOfBudgetError when the memory is
    not there.
    """

def time_matmul(format: str, rows: int, columns: int, tokens: int, isa: str, threads: int, seconds: float = 0.25) -> list[float]:
    """
    Seconds of each of several products with a random weight [rows, columns], run as the
    engine runs them: at least one, and as many as fit into `seconds`.
    """

class CpuCore:
    """A physical core, as far as this process may use it."""

    @property
    def cpus(self) -> list[int]:
        """Its hardware threads that may be used."""

    @property
    def kind(self) -> str:
        """performance or efficiency."""

    @property
    def package(self) -> int:
        """The socket it is in."""

    @property
    def node(self) -> int:
        """Its NUMA node."""

    @property
    def last_cache(self) -> int:
        """
        The lowest CPU that shares its last-level cache: equal for cores that share it.
        """

class CpuCache:
    """A data cache, or one for data and instructions."""

    @property
    def level(self) -> int:
        """1, 2, 3 or 4."""

    @property
    def bytes(self) -> int:
        """Its size; 0 if not known."""

    @property
    def cpus(self) -> list[int]:
        """The CPUs that share it and may be used."""

class NumaNode:
    """A NUMA node with CPUs that may be used."""

    @property
    def id(self) -> int:
        """Its number."""

    @property
    def cpus(self) -> list[int]:
        """Its CPUs that may be used."""

    @property
    def memory_bytes(self) -> int:
        """Its memory; 0 if not known."""

class Placement:
    """How many threads compute, and where."""

    @property
    def threads(self) -> int:
        """Threads, the caller included."""

    @property
    def cpus(self) -> list[int]:
        """Thread i's CPU, one a core; empty with more threads than cores."""

    @property
    def nodes(self) -> list[int]:
        """The NUMA node of each of these CPUs."""

    @property
    def uneven(self) -> bool:
        """Whether performance and efficiency cores are among them."""

    @property
    def pinned(self) -> bool:
        """Whether each thread stays on its CPU."""

    @property
    def reason(self) -> str:
        """Why it does or does not."""

class Topology:
    """The cores, caches and memory nodes of a machine."""

    @property
    def described(self) -> bool:
        """
        False if the system does not describe its cores: every CPU counts as one.
        """

    @property
    def source(self) -> str:
        """Where this comes from."""

    @property
    def cpus(self) -> list[int]:
        """CPUs online, in the affinity mask and in the cpuset."""

    @property
    def cores(self) -> list[CpuCore]:
        """Physical cores by lowest CPU."""

    @property
    def caches(self) -> list[CpuCache]:
        """Data caches by level, then lowest CPU."""

    @property
    def nodes(self) -> list[NumaNode]:
        """NUMA nodes; at least one."""

    @property
    def packages(self) -> int:
        """Sockets."""

    @property
    def quota(self) -> float | None:
        """CPUs' worth of time that control groups allow."""

    def place(self, threads: int | None = None, efficiency: bool = False, pin: bool | None = None) -> Placement:
        """
        How many threads compute, and where.

        threads: None for one a performance core within the quota, and if `efficiency` one
        an efficiency core too. pin: None pins where that helps: when the threads take every
        core and the quota lets them. Raises InvalidRequestError if pin is True and cannot be
        done.
        """

def read_topology(root: str | None = None, affinity: Sequence[int] | None = None, hybrid_leaf: Mapping[int, int] | None = None) -> Topology:
    """
    This machine as the calling thread may use it.

    root: a folder with a copy of another machine's sys and proc; then affinity (CPUs of
    the mask) and hybrid_leaf (EAX of CPUID leaf 0x1A by CPU) complete it.
    """

def split_by_node(count: int, nodes: Sequence[int]) -> list[tuple[int, int, int]]:
    """
    Which of `count` items the threads of each NUMA node share, as (node, begin, end).

    nodes: that of each thread; those of one node follow each other.
    """

def drive_node(path: str, root: str = '/') -> int | None:
    """
    The NUMA node that the drive of a file hangs on; None if unknown or not local.
    """

def memory_room(root: str = '/') -> int | None:
    """
    Bytes this process can still take: free memory, within its control groups' limits, page
    cache that can be dropped counted as free. None where the system does not say.
    """

def cgroup_folders(controller: str, root: str = '/') -> list[str]:
    """
    Folders of this process's control groups that hold a controller, innermost first.
    """

def cpu_features() -> dict[str, bool]:
    """What processor and operating system offer to kernels."""

class ReadQueue:
    """
    Reads pieces of files, several at once, as the engine does.

    `mirrors` lists copies of all paths, which must agree in the first `heads` bytes of each
    and in samples of the rest. `throttle` makes reads as slow as a drive of a given
    latency_us and bytes_per_second, `faults` makes them fail; both are for tests. Raises
    StorageError, InvalidRequestError.
    """

    def __init__(self, paths: Sequence[str | os.PathLike[str]], *, kind: str = 'auto', depth: int = 16, request_bytes: int = 1048576, direct: bool = True, cpus: Sequence[int] = [], call_bytes: int = 1073741824, mirrors: Sequence[Sequence[str | os.PathLike[str]]] = [], speculative_depth: int = 0, throttle: dict[str, Any] | None = None, faults: dict[str, Any] | None = None, heads: Sequence[int] = []) -> None: ...

    def read(self, tag: int, file: int, offset: int, bytes: int, speculative: bool = False) -> None:
        """
        Starts reading; collect() gives the bytes. `offset` is a multiple of 4096. Speculation
        waits until the drive has time. Raises InvalidRequestError.
        """

    def poll(self) -> None:
        """
        Starts what waits as far as the drive has time, without taking what is finished.
        """

    def limit_speculation(self, bytes: int) -> None:
        """From now on speculation waits while so many bytes are under way."""

    def cancel(self, tag: int) -> bool:
        """
        Drops what has not begun of a speculative read. True if that is all of it, which then is not collected.
        """

    def promote(self, tag: int) -> bool:
        """
        Makes a speculative read that waits one that is demanded; False if there is none.
        """

    def defer(self, tag: int, later: bool = True) -> int:
        """
        Goes on with a speculative read only while nothing else is under way, or with `later` False
        as with any other again. Returns the bytes not read yet; 0 if none of this tag waits.
        """

    def collect(self, timeout_ms: float = 0.0) -> list[tuple[int, bytes | None, str | None]]:
        """
        Finished reads: tag, and bytes or what went wrong. Waits for one if there is none and
        some are under way.
        """

    @property
    def name(self) -> str:
        """The back end: uring, pread or mmap."""

    @property
    def direct(self) -> bool:
        """Whether all files are read past the page cache."""

    @property
    def why(self) -> str:
        """Why the back end is not the one asked for, or empty."""

    @property
    def in_flight(self) -> int:
        """Records neither collected nor cancelled."""

    @property
    def speculation_waiting(self) -> int:
        """Speculative records that wait for the drive to have time."""

    @property
    def counters(self) -> dict[str, int]:
        """
        What was read, tried again, failed and cancelled; bytes in the page cache.
        """

    @property
    def bytes_by_copy(self) -> list[int]:
        """Bytes read from the files themselves and from each mirror."""

    @property
    def now_us(self) -> float:
        """The time by the clock of the reader, which a throttle may simulate."""

    def take_warnings(self) -> list[str]:
        """What the user should know, once; empty if nothing new."""

def probe_drive(path: str | os.PathLike[str], seconds: float = 0.5) -> dict[str, Any]:
    """
    Reads from a file to find what suits its drive: kind (uring or pread), depth,
    request_bytes, direct, bytes_per_second (0: the file is too short to measure); also
    the trials, and in why the reason if io_uring may not be used. Raises StorageError.
    """

def file_system_type(path: str | os.PathLike[str]) -> int:
    """
    The kind of file system that holds a file, as a number; 0 if not known.
    """

def uring_error() -> int:
    """Whether io_uring may be used: 0, or the errno of the refusal."""
