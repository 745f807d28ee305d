// Engine: load a tape over a model file, tell what it is and takes.
#include <nanobind/nanobind.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <chrono>

#include "base/error.h"
#include "bind/bind.h"
#include "bind/engine.h"
#include "bind/streaming.h"
#include "bind/tape_spec.h"
#include "gguf/types.h"
#include "kernels/select.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace zs::bind {
namespace {

constexpr double kLongest = 3600;  // seconds

using graph::Engine;

kernels::KvType kv_type(const std::string& name) {
  if (name == "f16") return kernels::KvType::F16;
  if (name == "f32") return kernels::KvType::F32;
  if (name == "int8") return kernels::KvType::Int8;
  throw Error(ErrorKind::InvalidRequest, "kv_type is '" + name + "', expected f16, f32 or int8");
}

graph::EngineOptions engine_options(int threads, size_t context, size_t max_batch, size_t kv_tokens,
                                    const std::string& kv) {
  graph::EngineOptions options;
  options.threads = threads;
  options.context = context;
  options.max_batch = max_batch;
  options.kv_tokens = kv_tokens;
  options.kv_type = kv_type(kv);
  return options;
}

void make_engine(BoundEngine* self, std::shared_ptr<gguf::File> file, nb::object tape, int threads,
                 size_t context, size_t max_batch, size_t kv_tokens, const std::string& kv,
                 std::optional<std::string> isa, std::optional<nb::callable> progress,
                 std::optional<std::vector<int>> cpus, std::optional<std::vector<int>> nodes,
                 bool uneven, std::optional<nb::dict> streaming, bool prefix_cache,
                 bool check_records) {
  graph::TapeSpec spec = tape_spec(std::move(tape));
  graph::EngineOptions options = engine_options(threads, context, max_batch, kv_tokens, kv);
  options.isa = isa.value_or("");
  options.cpus = std::move(cpus).value_or(std::vector<int>());
  options.nodes = std::move(nodes).value_or(std::vector<int>());
  options.uneven = uneven;
  options.prefix_cache = prefix_cache;
  options.experts.check_records = check_records;
  if (streaming) read_streaming(*streaming, options);
  if (!options.nodes.empty() && options.nodes.size() != static_cast<size_t>(threads)) {
    throw Error(ErrorKind::InvalidRequest, "nodes has " + std::to_string(options.nodes.size()) +
                                               " entries; give one for each of the " +
                                               std::to_string(threads) + " threads");
  }
  std::unique_ptr<Engine> engine;
  {
    nb::gil_scoped_release release;
    engine = std::make_unique<Engine>(
        std::move(file), std::move(spec), options, [&](size_t done, size_t total) {
          nb::gil_scoped_acquire acquire;
          if (PyErr_CheckSignals() != 0) {
            throw Error(ErrorKind::Interrupted, "loading was interrupted");
          }
          if (progress) (*progress)(done, total);
        });
  }
  new (self) BoundEngine;
  self->engine = std::move(engine);
  const auto interval = options.experts.idle_look;
  if (!self->engine->experts() || interval.count() <= 0) return;
  self->watch.emplace(interval, [self] {
    const std::unique_lock guard(self->lock, std::try_to_lock);
    if (guard) self->engine->experts()->adapt();  // else a step does
  });
}

nb::dict describe_weight(const Engine& engine, const graph::WeightRef& ref) {
  nb::dict d;
  d["name"] = ref.name;
  const gguf::TensorInfo* tensor = engine.program().file().find(ref.name);
  if (!tensor) return d;
  nb::list shape;
  for (int i = tensor->n_dims; i-- > 0;) shape.append(tensor->dims[i]);
  const auto* type = gguf::ggml_type(tensor->type);
  // A slice is along the output dimension, which is all that a vector has.
  const auto rows = static_cast<int64_t>(tensor->dims[tensor->n_dims > 1 ? 1 : 0]);
  const int64_t end = ref.row_end < 0 ? rows : ref.row_end;
  d["shape"] = shape;
  d["row_begin"] = ref.row_begin;
  d["row_end"] = end;
  d["format"] = type ? std::string(type->name) : std::to_string(tensor->type);
  d["bytes"] = tensor->bytes * static_cast<uint64_t>(end - ref.row_begin) / rows;
  return d;
}

nb::list describe(BoundEngine& self) {
  const auto op_ns = locked(self, [](const Engine& e) { return e.op_ns(); });
  const Engine& engine = *self.engine;
  const auto& tape = engine.program().tape();
  nb::list ops;
  for (size_t i = 0; i < tape.ops.size(); ++i) {
    const graph::OpSpec& spec = tape.ops[i];
    const auto buffers = [&](const std::vector<int>& list) {
      nb::list out;
      for (const int b : list) {
        nb::dict d;
        d["buffer"] = b;
        d["width"] = tape.widths[b];
        d["offset"] = engine.program().buffers().offsets[b];
        out.append(d);
      }
      return out;
    };
    nb::list weights;
    for (const auto& ref : spec.weights) {
      if (!ref.name.empty()) weights.append(describe_weight(engine, ref));
    }
    const graph::Op& op = *engine.program().ops()[i];
    nb::dict d;
    d["op"] = spec.kind;
    d["inputs"] = buffers(spec.inputs);
    d["outputs"] = buffers(spec.outputs);
    d["weights"] = weights;
    d["shared_scratch"] = op.shared_scratch();
    d["thread_scratch"] = op.private_scratch();
    d["time_us"] = static_cast<double>(op_ns[i]) / 1000.0;
    ops.append(d);
  }
  return ops;
}

nb::dict memory_dict(const graph::Memory& memory) {
  nb::dict d;
  d["weights"] = memory.weights;
  d["buffers"] = memory.buffers;
  d["scratch"] = memory.scratch;
  d["kv_cache"] = memory.kv_cache;
  d["experts"] = memory.experts;
  d["least_experts"] = memory.least_experts;
  return d;
}

nb::tuple plan_weights(std::shared_ptr<gguf::File> file, nb::object tape) {
  graph::Program program(std::move(file), tape_spec(std::move(tape)), graph::EngineOptions());
  nb::list packed;
  for (const graph::DeclaredWeight& w : program.weights().declared()) {
    packed.append(nb::make_tuple(w.name, w.row_begin, w.row_end, w.experts));
  }
  nb::set raw;
  for (const std::string& name : program.weights().used_raw()) raw.add(nb::str(name.c_str()));
  return nb::make_tuple(packed, raw);
}

}  // namespace

void graph(nb::module_& m) {
  m.def(
      "plan_memory",
      [](std::shared_ptr<gguf::File> file, nb::object tape, int threads, size_t context,
         size_t max_batch, size_t kv_tokens, const std::string& kv, bool streaming,
         bool low_copies) {
        graph::EngineOptions options = engine_options(threads, context, max_batch, kv_tokens, kv);
        options.experts.bytes = streaming ? 1 : 0;
        options.experts.low_copies = low_copies;
        const graph::Program program(std::move(file), tape_spec(std::move(tape)), options);
        return memory_dict(program.memory());
      },
      "file"_a, "tape"_a, "threads"_a = 1, "context"_a = 4096, "max_batch"_a = 512,
      "kv_tokens"_a = 0, "kv_type"_a = "f16", "streaming"_a = false, "low_copies"_a = false,
      nb::sig("def plan_memory(file: GgufFile, tape: object, threads: int = 1, context: int = "
              "4096, max_batch: int = 512, kv_tokens: int = 0, kv_type: str = 'f16', streaming: "
              "bool = False, low_copies: bool = False) -> dict[str, int]"),
      "What Engine.memory() would say, without loading: bytes of weights, buffers, scratch and\n"
      "kv_cache; if streaming, the weights without experts, what all experts would take and\n"
      "least_experts, the smallest room for them that works; if low_copies, with what those\n"
      "need. Raises what Engine raises.");
  m.def("plan_weights", &plan_weights, "file"_a, "tape"_a,
        nb::sig("def plan_weights(file: GgufFile, tape: object) -> "
                "tuple[list[tuple[str, int, int, int]], set[str]]"),
        "What a tape uses of a file: the matrices that are packed, as (tensor, first row, end of\n"
        "rows, experts) in the tape's order, and the tensors used as they are. Raises what Engine\n"
        "raises.");
  nb::class_<BoundEngine> engine(
      m, "Engine",
      "A loaded model: packed weights, KV cache and threads. Steps from several "
      "Python threads take turns.");
  engine
      .def("__init__", &make_engine, "file"_a, "tape"_a, "threads"_a = 1, "context"_a = 4096,
           "max_batch"_a = 512, "kv_tokens"_a = 0, "kv_type"_a = "f16", "isa"_a = nb::none(),
           "progress"_a = nb::none(), "cpus"_a = nb::none(), "nodes"_a = nb::none(),
           "uneven"_a = false, "streaming"_a = nb::none(), "prefix_cache"_a = true,
           "check_records"_a = false,
           nb::sig(
               "def __init__(self, file: GgufFile, tape: object, threads: int = 1, context: int = "
               "4096, max_batch: int = 512, kv_tokens: int = 0, kv_type: str = 'f16', isa: str | "
               "None = None, progress: collections.abc.Callable[[int, int], object] | None = "
               "None, cpus: collections.abc.Sequence[int] | None = None, nodes: "
               "collections.abc.Sequence[int] | None = None, uneven: bool = False, streaming: "
               "dict[str, "
               "typing.Any] | None = None, prefix_cache: bool = True, check_records: bool = "
               "False) -> None"),
           "Compile a zerostall.tape.Tape over a model file and pack its weights.\n\n"
           "context: positions of one sequence. max_batch: tokens of one step. kv_tokens:\n"
           "positions of all sequences together (0: context). progress(done, total) is called\n"
           "in bytes while packing. cpus: the CPU that each thread stays on (the first is the\n"
           "caller's, during a step only); None: threads may move. nodes: the NUMA node of each,\n"
           "to which its share of every weight is bound; None: memory is the same to all. uneven:\n"
           "some cores are slower, so threads take work as they finish. streaming: experts are\n"
           "read as they are needed (engine/streaming.py lists the keys). prefix_cache: sequences\n"
           "share full pages of tokens they have in common. check_records: compare the checksum\n"
           "of each record of a converted file. Raises ModelFormatError, UnsupportedModelError,\n"
           "OutOfBudgetError or InvalidRequestError.")
      .def(
          "settle",
          [](BoundEngine& self, double seconds) {
            const auto most = std::chrono::duration<double>(std::clamp(seconds, 0.0, kLongest));
            return locked(self, [&](Engine& e) {
              return e.settle(std::chrono::duration_cast<std::chrono::nanoseconds>(most));
            });
          },
          nb::arg("seconds") = kLongest,
          "Arrange the memory of weights, which steps otherwise do little by little after a load,\n"
          "and of streamed experts, for about so long. Returns whether it is done; measure speed\n"
          "after that.")
      .def(
          "stream_stats",
          [](BoundEngine& self) {
            if (!self.engine->experts()) return nb::dict();
            return stats_dict(locked(self, [](Engine& e) { return e.experts()->stats(); }));
          },
          nb::sig("def stream_stats(self) -> dict[str, int]"),
          "Counters of streamed experts since the load (core/experts/options.h); empty if none "
          "are.")
      .def(
          "adapt_memory",
          [](BoundEngine& self) {
            locked(self, [](Engine& e) {
              if (e.experts()) e.experts()->adapt();
            });
          },
          "Look at how much memory the system leaves, and give slots of experts back if that is\n"
          "too little, or take them again. Steps do so ten times a second, an idle engine once.")
      .def(
          "take_warnings",
          [](BoundEngine& self) {
            if (!self.engine->experts()) return std::vector<std::string>();
            return locked(self, [](Engine& e) { return e.experts()->queue().take_warnings(); });
          },
          "What the user should know of reading experts, such as a mirror that failed, once.")
      .def_prop_ro(
          "stream_reader",
          [](BoundEngine& self) {
            auto* experts = self.engine->experts();
            return experts ? reader_dict(experts->queue()) : nb::dict();
          },
          nb::sig("def stream_reader(self) -> dict[str, typing.Any]"),
          "How streamed experts are read: name, direct, and why (not as asked for, or \"\"); "
          "empty\n"
          "if none are.")
      .def_prop_ro(
          "expert_layers",
          [](BoundEngine& self) {
            nb::list layers;
            if (!self.engine->experts()) return layers;
            for (size_t i = 0; i < self.engine->experts()->layers(); ++i) {
              const auto& layer = self.engine->experts()->layer(i);
              layers.append(nb::make_tuple(layer.experts, layer.used, layer.slot_bytes));
            }
            return layers;
          },
          nb::sig("def expert_layers(self) -> list[tuple[int, int, int]]"),
          "Of each layer whose experts are streamed: experts, how many a token uses, bytes of one.")
      .def(
          "expert_scores",
          [](BoundEngine& self) {
            if (!self.engine->experts()) return std::vector<float>();
            return locked(self, [](Engine& e) { return e.experts()->scores().save(); });
          },
          "How much each streamed expert has been wanted, 0 (never) to 1, layer by layer: the\n"
          "`profile` of a later load.")
      .def(
          "expert_habits",
          [](BoundEngine& self) {
            if (!self.engine->experts()) return std::vector<int32_t>();
            return locked(self, [](Engine& e) { return e.experts()->habits().save(); });
          },
          "What the first layers chose for each token lately: the `habits` of a later load.")
      .def(
          "take_trace",
          [](BoundEngine& self) {
            if (!self.engine->experts()) return nb::list();
            return trace_list(locked(self, [](Engine& e) { return e.experts()->take_trace(); }));
          },
          nb::sig("def take_trace(self) -> list[tuple[int, int, list[int], list[int], str]]"),
          "Demands since the last call, if streaming was told to trace: (step, layer, experts,\n"
          "tokens routed to each, a letter for each: h hit, s shadow, m miss).")
      .def(
          "take_states",
          [](BoundEngine& self) {
            if (!self.engine->states()) return nb::list();
            return states_list(locked(self, [](Engine& e) { return e.states()->take(); }));
          },
          nb::sig("def take_states(self) -> list[dict[str, NDArray[numpy.float32]]]"),
          "What guesses were made of since the last call, if streaming was told to record_states:\n"
          "engine/streaming.py says what.")
      .def("describe", &describe, nb::sig("def describe(self) -> list[dict[str, typing.Any]]"),
           "The operators in order: buffers, weights, scratch bytes and microseconds so far.")
      .def(
          "memory", [](BoundEngine& self) { return memory_dict(self.engine->program().memory()); },
          nb::sig("def memory(self) -> dict[str, int]"),
          "Bytes of weights, buffers, scratch and the reserved KV cache.")
      .def_prop_ro(
          "node_bytes", [](BoundEngine& self) { return self.engine->node_bytes(); },
          "Bytes of weights, slots of experts among them, whose memory was asked of each NUMA "
          "node;\n"
          "empty where it does not matter.")
      .def_prop_ro(
          "steps",
          [](BoundEngine& self) { return locked(self, [](Engine& e) { return e.steps(); }); },
          "Steps run so far.")
      .def_prop_ro(
          "vocab_size", [](BoundEngine& self) { return self.engine->program().vocab(); },
          "Width of a row of logits.")
      .def_prop_ro(
          "width", [](BoundEngine& self) { return self.engine->program().width(); },
          "Width of a hidden state.")
      .def_prop_ro(
          "max_batch", [](BoundEngine& self) { return self.engine->program().options().max_batch; },
          "The most tokens of one step.")
      .def_prop_ro(
          "max_logits", [](BoundEngine& self) { return self.engine->program().max_rows(); },
          "The most rows of logits of one step.")
      .def_prop_ro(
          "context", [](BoundEngine& self) { return self.engine->program().options().context; },
          "The most positions of one sequence.")
      .def_prop_ro(
          "threads", [](BoundEngine& self) { return self.engine->threads(); },
          "Threads that compute, the caller included.")
      .def_prop_ro(
          "cpus", [](BoundEngine& self) { return self.engine->program().options().cpus; },
          "The CPU that each thread stays on; empty if threads may move.")
      .def_prop_ro(
          "isa", [](BoundEngine& self) { return kernels::isa_name(self.engine->isa()); },
          "The instruction set in use.");
  steps(engine);
  sequences(engine);
}

}  // namespace zs::bind
