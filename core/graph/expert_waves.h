// The experts of one layer, run as they come from the drive: those in memory at once, the others
// in waves of what has arrived. Each writes its own results, so the order leaves no trace.
#pragma once

#include <span>

#include "graph/gated_ffn.h"
#include "graph/op.h"

namespace zs::graph {

class ExpertWaves {
 public:
  ExpertWaves() = default;
  // `low`: the layer of the experts' low copies; nullptr: there are none.
  ExpertWaves(size_t layer, const PackedMatrix& gate, const PackedMatrix& up,
              const PackedMatrix& down, const experts::Layer* low);

  size_t layer() const { return layer_; }
  // Formats and shapes of the low copies, nullptr where there are none.
  const GatedFfn::Group* low() const { return has_low_ ? &low_ : nullptr; }
  // Bytes of `memory`.
  size_t shared_scratch() const;

  // Thread 0: says what the layer needs, of which reads have not begun yet. Groups have their
  // tokens and number.
  void demand(Worker& worker, std::span<const GatedFfn::Group> groups, uint8_t* memory) const;
  // All threads, behind a barrier after demand(): starts reading and runs every group once. Ends
  // behind a barrier. If reading fails, or the step is interrupted, it ends early and
  // step.given_up says so.
  void run(Worker& worker, const GatedFfn& ffn, const float* x, std::span<GatedFfn::Group> groups,
           float* results, uint8_t* ffn_memory, uint8_t* memory) const;

 private:
  struct Wave;
  void next(Worker& worker, std::span<GatedFfn::Group> groups, Wave& wave) const;
  void pack(Worker& worker, const Wave& wave) const;

  size_t layer_ = 0;
  // Matrices without data: a slot has it.
  PackedMatrix gate_, up_, down_;
  GatedFfn::Group low_;
  bool has_low_ = false;
};

}  // namespace zs::graph
