// First fit over lifetimes, in the order of the tape.
#include "graph/planner.h"

#include <algorithm>

#include "base/aligned.h"
#include "base/error.h"

namespace zs::graph {
namespace {

constexpr size_t kNever = static_cast<size_t>(-1);
constexpr int64_t kMaxWidth = int64_t{1} << 32;  // sizes in bytes then stay far below 2^64

struct Life {
  size_t from = kNever;  // the operator that writes it
  size_t to = 0;         // the last operator that touches it
};

[[noreturn]] void fail(size_t op, const OpSpec& spec, const std::string& what) {
  throw Error(ErrorKind::InvalidRequest,
              "operator " + std::to_string(op) + " (" + spec.kind + "): " + what);
}

std::vector<Life> lifetimes(const TapeSpec& tape) {
  std::vector<Life> lives(tape.widths.size());
  for (size_t i = 0; i < tape.ops.size(); ++i) {
    const OpSpec& op = tape.ops[i];
    const auto life = [&](int buffer) -> Life& {
      if (buffer < 0 || static_cast<size_t>(buffer) >= lives.size()) {
        fail(i, op, "buffer " + std::to_string(buffer) + " does not exist");
      }
      return lives[buffer];
    };
    for (const int b : op.inputs) {
      if (life(b).from == kNever) fail(i, op, "reads buffer " + std::to_string(b) + " unwritten");
      life(b).to = i;
    }
    for (const int b : op.outputs) {
      if (life(b).from != kNever) fail(i, op, "writes buffer " + std::to_string(b) + " again");
      if (tape.widths[b] <= 0 || tape.widths[b] > kMaxWidth) {
        fail(i, op,
             "buffer " + std::to_string(b) + " is " + std::to_string(tape.widths[b]) +
                 " wide, expected 1 to " + std::to_string(kMaxWidth));
      }
      life(b) = {i, i};
    }
  }
  return lives;
}

}  // namespace

BufferPlan plan_buffers(const TapeSpec& tape, size_t tokens) {
  const std::vector<Life> lives = lifetimes(tape);
  BufferPlan plan;
  plan.offsets.assign(lives.size(), 0);
  struct Placed {
    size_t begin, end, until;
  };
  std::vector<Placed> placed;  // alive, by offset
  for (size_t i = 0; i < tape.ops.size(); ++i) {
    std::erase_if(placed, [&](const Placed& p) { return p.until < i; });
    for (const int b : tape.ops[i].outputs) {
      const size_t bytes = round_up(size_t(tape.widths[b]) * tokens * sizeof(float), 64);
      size_t at = 0;
      auto slot = placed.begin();
      for (; slot != placed.end() && slot->begin < at + bytes; ++slot) at = std::max(at, slot->end);
      placed.insert(slot, {at, at + bytes, lives[b].to});
      plan.offsets[b] = at;
      plan.bytes = std::max(plan.bytes, at + bytes);
    }
  }
  return plan;
}

}  // namespace zs::graph
