// Engine: steps over a batch of tokens.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <algorithm>
#include <memory>
#include <mutex>
#include <span>

#include "bind/engine.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace zs::bind {
namespace {

using Indices = nb::ndarray<const int32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Floats = nb::ndarray<nb::numpy, float, nb::ndim<2>>;

std::span<const int32_t> span(const Indices& indices) {
  return {indices.data(), indices.size()};
}

// Python handles signals on its main thread only; elsewhere nothing is worth waiting for the GIL.
bool on_main_thread() {
  const nb::object threading = nb::module_::import_("threading");
  return nb::cast<unsigned long>(threading.attr("main_thread")().attr("ident")) ==
         PyThread_get_thread_ident();
}

bool signal_pending() {
  nb::gil_scoped_acquire acquire;
  return PyErr_CheckSignals() != 0;
}

// Rows of floats that outlive the step they are copied from.
struct Rows {
  size_t count, width;
  std::unique_ptr<float[]> data{new float[count * width + 1]};

  float* row(size_t i) { return data.get() + i * width; }
  Floats give() {
    const nb::capsule owner(data.get(), [](void* p) noexcept { delete[] static_cast<float*>(p); });
    return Floats(data.release(), {count, width}, owner);
  }
};

struct Given {
  Rows logits, hidden;
};

Given run_step(BoundEngine& self, std::span<const int32_t> tokens,
               std::span<const int32_t> sequences, std::span<const int32_t> rows,
               std::span<const int32_t> hidden) {
  const graph::Program& program = self.engine->program();
  const bool signals = on_main_thread();
  Given given{{rows.size(), program.vocab()}, {hidden.size(), program.width()}};
  nb::gil_scoped_release release;
  std::lock_guard guard(self.lock);
  const auto interrupted = [&] {
    return self.interrupted.load(std::memory_order_relaxed) || (signals && signal_pending());
  };
  const struct Forget {
    std::atomic<bool>& flag;
    ~Forget() { flag.store(false, std::memory_order_relaxed); }
  } forget{self.interrupted};
  const float* logits = self.engine->step(tokens, sequences, rows, hidden, interrupted);
  std::copy_n(logits, given.logits.count * given.logits.width, given.logits.row(0));
  for (size_t i = 0; i < hidden.size(); ++i) {
    std::copy_n(self.engine->hidden(hidden[i]), given.hidden.width, given.hidden.row(i));
  }
  return given;
}

Floats step(BoundEngine& self, const Indices& tokens, const Indices& sequences,
            const Indices& rows) {
  return run_step(self, span(tokens), span(sequences), span(rows), {}).logits.give();
}

nb::tuple step_hidden(BoundEngine& self, const Indices& tokens, const Indices& sequences,
                      const Indices& rows, const Indices& hidden) {
  Given given = run_step(self, span(tokens), span(sequences), span(rows), span(hidden));
  return nb::make_tuple(given.logits.give(), given.hidden.give());
}

}  // namespace

void steps(nb::class_<BoundEngine>& engine) {
  engine
      .def("step", &step, "tokens"_a, "sequences"_a, "rows"_a,
           "Run a batch: tokens[i] (int32 [T]) continues sequences[i]; the tokens of a sequence "
           "are\n"
           "neighbours. Returns float32 [len(rows), vocab]: the logits after the batch rows asked\n"
           "for. After an error or a signal every sequence is as before. Raises\n"
           "InvalidRequestError, ContextLengthError, OutOfBudgetError, CancelledError (of\n"
           "interrupt()) or KeyboardInterrupt (of a signal, on the main thread).")
      .def("step_hidden", &step_hidden, "tokens"_a, "sequences"_a, "rows"_a, "hidden"_a,
           nb::sig("def step_hidden(self, tokens: NDArray[numpy.int32], sequences: "
                   "NDArray[numpy.int32], rows: NDArray[numpy.int32], hidden: "
                   "NDArray[numpy.int32]) -> tuple[NDArray[numpy.float32], "
                   "NDArray[numpy.float32]]"),
           "Like step(), and also float32 [len(hidden), width]: the states of these batch rows\n"
           "after the output norm, of which the head makes logits. Any number of rows may be\n"
           "asked for; without rows of logits the head is not run.")
      .def(
          "interrupt",
          [](BoundEngine& self) { self.interrupted.store(true, std::memory_order_relaxed); },
          "Let the step under way in another thread end soon, with CancelledError; if there is\n"
          "none, the next one may.");
}

}  // namespace zs::bind
