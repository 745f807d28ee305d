// down(act(gate x) * up x) for one dense network or for many experts, each on its own tokens:
// gate, up and activation are one pass over the panels, and all experts are one list of work.
#pragma once

#include <span>

#include "graph/op.h"
#include "graph/product.h"

namespace zs::graph {

class GatedFfn {
 public:
  // One network and the tokens it works on. `pair` numbers the (network, token) results.
  struct Group {
    PackedMatrix gate, up, down;         // gate.data == nullptr: ungated, down(act(up x))
    const int32_t* row_index = nullptr;  // rows of x; nullptr: 0..tokens-1
    size_t tokens = 0;
    size_t first_pair = 0;
    uint32_t number = 0;  // of the network, for whoever made the group
    // One value a row, added to the products; nullptr: none.
    const float *gate_bias = nullptr, *up_bias = nullptr, *down_bias = nullptr;
  };

  GatedFfn() = default;
  // Shapes and formats from `shape`'s matrices; at most `max_pairs` results in a step. `other`: of
  // groups of the same shape in other formats; nullptr: there are none.
  GatedFfn(const Group& shape, const Group* other, kernels::Activation act, size_t max_tokens,
           size_t max_pairs);

  size_t shared_scratch() const { return end_; }
  static size_t private_scratch(size_t max_tokens) {
    return kernels::matmul_scratch_bytes(max_tokens);
  }

  // Quantises x; all threads call it and a barrier must follow before run().
  void prepare(Worker& worker, const float* x, size_t tokens, uint8_t* memory) const {
    if (in_.quantised()) in_.fill_shared(worker, x, tokens, memory);
  }
  // Writes result `pair` to out + pair * d_model. Ends without a barrier. `dynamic`: threads take
  // work as they finish also on several nodes, because one of them comes late.
  void run(Worker& worker, const float* x, std::span<const Group> groups, float* out,
           uint8_t* memory, bool dynamic = false) const;

  size_t d_model() const { return d_model_; }

 private:
  void gate_up(Worker& worker, const float* x, std::span<const Group> groups, uint8_t* memory,
               bool dynamic) const;
  void quantise_hidden(Worker& worker, std::span<const Group> groups, uint8_t* memory) const;

  kernels::Activation act_ = kernels::Activation::Silu;
  size_t d_model_ = 0, d_ff_ = 0;
  ActivationPlan in_, hidden_;
  size_t hidden_memory_ = 0, gate_ = 0, up_ = 0, end_ = 0;  // offsets in the shared scratch
};

kernels::Activation parse_activation(BuildContext& build);

}  // namespace zs::graph
