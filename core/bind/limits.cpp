// The measured limits of the machine, and products timed without Python in the way.
#include "cpu/limits.h"

#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <string>
#include <vector>

#include "base/aligned.h"
#include "base/error.h"
#include "base/thread_pool.h"
#include "bind/bind.h"
#include "bind/format_names.h"
#include "graph/product.h"
#include "io/read_rate.h"
#include "kernels/select.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace zs::bind {
namespace {

using cpu::ComputeUnit;
using Clock = std::chrono::steady_clock;

constexpr int kMaxThreads = 1024;
constexpr size_t kMaxBytes = size_t{1} << 40;

void check_range(const char* what, double value, double low, double high) {
  if (value >= low && value <= high) return;
  throw Error(ErrorKind::InvalidRequest, std::string(what) + " is " + std::to_string(value) +
                                             "; give " + std::to_string(low) + " to " +
                                             std::to_string(high) + ".");
}

double read_bandwidth(int threads, size_t bytes, double seconds) {
  check_range("threads", threads, 1, kMaxThreads);
  check_range("bytes", static_cast<double>(bytes), 1 << 20, static_cast<double>(kMaxBytes));
  check_range("seconds", seconds, 0, 3600);
  nb::gil_scoped_release release;
  ThreadPool pool(threads);
  return cpu::read_bandwidth(pool, bytes, seconds);
}

std::vector<std::string> compute_units() {
  std::vector<std::string> names;
  for (int unit = 0; unit <= static_cast<int>(ComputeUnit::Amx); ++unit) {
    if (!cpu::has_unit(static_cast<ComputeUnit>(unit))) continue;
    names.emplace_back(cpu::unit_name(static_cast<ComputeUnit>(unit)));
  }
  return names;
}

double compute_peak(const std::string& unit, const std::string& type, int threads, double seconds) {
  check_range("threads", threads, 1, kMaxThreads);
  check_range("seconds", seconds, 0, 3600);
  if (type != "int8" && type != "float32") {
    throw Error(ErrorKind::InvalidRequest, "type is \"" + type + "\"; give int8 or float32.");
  }
  for (int i = 0; i <= static_cast<int>(ComputeUnit::Amx); ++i) {
    const auto each = static_cast<ComputeUnit>(i);
    if (unit != cpu::unit_name(each) || !cpu::has_unit(each)) continue;
    nb::gil_scoped_release release;
    ThreadPool pool(threads);
    return type == "int8" ? cpu::int8_peak(pool, each, seconds)
                          : cpu::float_peak(pool, each, seconds);
  }
  throw Error(ErrorKind::InvalidRequest,
              "unit \"" + unit +
                  "\" is unknown or missing on this CPU; compute_units() lists "
                  "those it has.");
}

double drive_bandwidth(const std::string& path, size_t depth, size_t request_bytes, double seconds,
                       const std::string& kind, size_t memory_bytes, uint64_t first) {
  check_range("depth", static_cast<double>(depth), 1, 256);
  check_range("request_bytes", static_cast<double>(request_bytes), 4096, 1 << 30);
  check_range("seconds", seconds, 0, 3600);
  check_range("memory_bytes", static_cast<double>(memory_bytes), 0, 1e12);
  if (kind != "uring" && kind != "pread") {
    throw Error(ErrorKind::InvalidRequest, "kind is '" + kind + "', expected uring or pread.");
  }
  if (request_bytes % 4096 != 0) {
    throw Error(ErrorKind::InvalidRequest, "request_bytes is not a multiple of 4096.");
  }
  nb::gil_scoped_release release;
  io::RateOptions rate;
  rate.depth = depth;
  rate.request_bytes = request_bytes;
  rate.seconds = seconds;
  rate.memory_bytes = memory_bytes;
  rate.first = first;
  const auto reader = kind == "uring" ? io::ReaderKind::Uring : io::ReaderKind::Pread;
  return io::drive_bandwidth(path, reader, rate);
}

// Random weights of which no scale is infinite or NaN wherever the format keeps its scales: bit
// 14 of every half is the exponent's highest. Floats, and MXFP4's scales of a byte, get exponents
// near zero, so that none is denormal, which would cost time.
void fill_weights(const quant::FormatTraits& t, uint8_t* data, size_t bytes) {
  uint64_t state = 0x9e3779b97f4a7c15;
  const bool floats = t.activations == quant::ActivationKind::F32;
  // Per 16 bits: what may be random, and what is set. F32 and BF16 share their upper half.
  const bool f16 = t.name == "F16";
  const bool mxfp4 = t.name == "MXFP4";
  const uint64_t keep = mxfp4                ? 0x3f3f3f3f3f3f3f3f
                        : !floats            ? 0xbfbfbfbfbfbfbfbf
                        : f16                ? 0x83ff83ff83ff83ff
                        : t.block_bytes == 4 ? 0x807fffff807fffff
                                             : 0x807f807f807f807f;
  const uint64_t set = mxfp4                ? 0x4040404040404040
                       : !floats            ? 0
                       : f16                ? 0x2400240024002400
                       : t.block_bytes == 4 ? 0x3c8000003c800000
                                            : 0x3c803c803c803c80;
  for (size_t i = 0; i + 8 <= bytes; i += 8) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    const uint64_t word = (state & keep) | set;
    std::copy_n(reinterpret_cast<const uint8_t*>(&word), 8, data + i);
  }
}

// One product as the engine runs it: quantised activations, panels shared among threads.
class TimedProduct {
 public:
  TimedProduct(const quant::FormatTraits& t, size_t rows, size_t columns, size_t tokens,
               const kernels::Table& table, int threads)
      : pool_(threads), plan_(columns, tokens), tokens_(tokens) {
    weight_.format = t.format;
    weight_.rows = rows;
    weight_.columns = columns;
    packed_ = AlignedBuffer(weight_.bytes(), "timed weights");
    weight_.data = packed_.data();
    x_ = AlignedBuffer(tokens * columns * sizeof(float), "timed activations");
    out_ = AlignedBuffer(tokens * rows * sizeof(float), "timed results");
    plan_.need(t.format);
    activations_ = AlignedBuffer(plan_.bytes(), "timed activations");
    const size_t each = kernels::matmul_scratch_bytes(kernels::kMaxTokens);
    for (int i = 0; i < threads; ++i) {
      scratch_.emplace_back(each, "timed scratch");
      private_.push_back(scratch_.back().data());
    }
    step_.kernels = &table;
    step_.pool = &pool_;
    step_.tokens = tokens;
    step_.private_ = private_.data();
    step_.counters = counters_;
    fill(t);
  }

  // Seconds of one product; quantising the activations counts, as in the engine.
  double run() {
    counters_[0] = 0;
    const Clock::time_point start = Clock::now();
    pool_.run([&](int thread) {
      graph::Worker worker{step_, thread, pool_.size()};
      if (plan_.quantised()) {
        plan_.fill_shared(worker, x_.floats(), tokens_, activations_.data());
        worker.barrier();
      }
      graph::Product product;
      product.weight = &weight_;
      product.activations = plan_.view(weight_.format, x_.floats(), activations_.data());
      product.tokens = tokens_;
      product.out = out_.floats();
      product.stride = weight_.rows;
      graph::run_products(worker, {&product, 1});
    });
    return std::chrono::duration<double>(Clock::now() - start).count();
  }

 private:
  void fill(const quant::FormatTraits& t) {
    for (size_t i = 0; i < tokens_ * weight_.columns; ++i) {
      x_.floats()[i] = std::sin(static_cast<float>(i));
    }
    const size_t panels = weight_.panels(), bytes = weight_.bytes() / panels;
    pool_.run([&](int thread) {  // touched first where it is used
      const Range r = share(panels, thread, pool_.size());
      for (size_t p = r.begin; p < r.end; ++p) {
        fill_weights(t, packed_.data() + p * bytes, bytes);
      }
    });
  }

  ThreadPool pool_;
  graph::ActivationPlan plan_;
  graph::PackedMatrix weight_;
  size_t tokens_;
  AlignedBuffer packed_, x_, out_, activations_;
  std::vector<AlignedBuffer> scratch_;
  std::vector<uint8_t*> private_;
  std::atomic<uint32_t> counters_[graph::kCountersPerOp] = {};
  graph::Step step_;
};

std::vector<double> time_matmul(const std::string& format, size_t rows, size_t columns,
                                size_t tokens, const std::string& isa, int threads,
                                double seconds) {
  const quant::FormatTraits& t = format_by_name(format);
  const kernels::Table& table = kernels::table_named(isa);
  check_range("rows", static_cast<double>(rows), 1, 1 << 24);
  check_range("columns", static_cast<double>(columns), 1, 1 << 24);
  check_range("tokens", static_cast<double>(tokens), 1, kernels::kMaxTokens);
  check_range("threads", threads, 1, kMaxThreads);
  check_range("seconds", seconds, 0, 3600);
  const size_t unit = t.activations == quant::ActivationKind::Q8_K ? 256 : 32;
  if (columns % unit != 0) {
    throw Error(ErrorKind::InvalidRequest, std::string(t.name) + ": " + std::to_string(columns) +
                                               " columns are not a multiple of " +
                                               std::to_string(unit) + ".");
  }
  nb::gil_scoped_release release;
  TimedProduct product(t, rows, columns, tokens, table, threads);
  std::vector<double> times;
  const double first = product.run();  // not counted: it warms caches and wakes threads
  double spent = first;
  do {
    times.push_back(product.run());
    spent += times.back();
  } while (spent < seconds);
  return times;
}

std::string compiler() {
#if defined(__clang__)
  return "clang " __clang_version__;
#elif defined(__GNUC__)
  return "gcc " __VERSION__;
#else
  return "unknown";
#endif
}

}  // namespace

void limits(nb::module_& m) {
  m.def("compiler", compiler, "The compiler that built this module, with its version.");
  m.def("read_bandwidth", read_bandwidth, "threads"_a, "bytes"_a = size_t{512} << 20,
        "seconds"_a = 0.5,
        "Bytes a second that the threads together read from memory: the best pass over a buffer\n"
        "of `bytes`, which should be several times the last-level cache.\n\n"
        "Raises OutOfBudgetError when the buffer does not fit.");
  m.def("compute_units", compute_units,
        "The arithmetic units whose peaks compute_peak() measures here, slowest first.");
  m.def("compute_peak", compute_peak, "unit"_a, "type"_a, "threads"_a, "seconds"_a = 0.25,
        "Operations a second (a multiply-add is two) of a unit on registers alone, type int8 or\n"
        "float32: what no kernel can exceed.\n\n"
        "Raises InvalidRequestError for a unit that is unknown or missing.");
  m.def("drive_bandwidth", drive_bandwidth, "path"_a, "depth"_a = 8,
        "request_bytes"_a = size_t{1} << 20, "seconds"_a = 0.5, "kind"_a = "pread",
        "memory_bytes"_a = 0, "first"_a = 0,
        "Bytes a second read from a file past the page cache, `depth` requests at once, by kind\n"
        "uring or pread. They go to `memory_bytes`, touched before, one place after the other; by\n"
        "default to as little as holds them, which the processor's cache may hold as well. From\n"
        "another `first` on, other places of the file are read.\n\n"
        "Raises StorageError when the file cannot be read so, OutOfBudgetError when the memory is\n"
        "not there.");
  m.def("time_matmul", time_matmul, "format"_a, "rows"_a, "columns"_a, "tokens"_a, "isa"_a,
        "threads"_a, "seconds"_a = 0.25,
        "Seconds of each of several products with a random weight [rows, columns], run as the\n"
        "engine runs them: at least one, and as many as fit into `seconds`.");
}

}  // namespace zs::bind
