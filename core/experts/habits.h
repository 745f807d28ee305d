// Which experts the first layers chose for each token lately. There a token's id says most of what
// its experts will be, so reads can begin as soon as the id is known, before anything is computed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "experts/layout.h"

namespace zs::experts {

class Habits {
 public:
  // Layers that are looked at. In the built-in model 92%, 87% and 86% of what these three chose for
  // a token was what they had chosen most for it before, and 77% in the fourth; the next layer's
  // router on the hidden state foretells 74% (bench/experiments/habits.py).
  static constexpr size_t kLayers = 3;

  Habits() = default;
  // Room for as many tokens as fit into `bytes`; the first to come is the first to go.
  Habits(const std::vector<Layer>& layers, size_t bytes);

  // Layers that are looked at; none where there is no room.
  size_t layers() const { return tokens_.empty() ? 0 : used_.size(); }
  size_t bytes() const;

  // What `layer` chose for `token`.
  void learn(size_t layer, int32_t token, std::span<const int32_t> chosen);
  // What it chose most for it, the likeliest first, as many as a token uses; empty if unknown.
  std::span<const uint16_t> of(size_t layer, int32_t token) const;

  // For a profile that outlives the process. restore() ignores what is not for such layers.
  std::vector<int32_t> save() const;
  void restore(std::span<const int32_t> saved);

 private:
  // Kept for each expert that a token uses: those that come now and then are told from those that
  // came once.
  static constexpr size_t kKept = 2;
  static constexpr uint16_t kNobody = 0xffff;

  uint32_t place_of(int32_t token);
  size_t kept(size_t layer) const { return kKept * used_[layer]; }
  size_t first(uint32_t place, size_t layer) const { return place * stride_ + begin_[layer]; }

  std::vector<size_t> used_, experts_, begin_;  // of each layer; begin_: in what a token has
  size_t stride_ = 0;                           // experts kept of a token
  std::vector<int32_t> tokens_;                 // of each place; kFree
  uint32_t next_ = 0;                           // the place whose token goes next
  std::unordered_map<int32_t, uint32_t> places_;
  std::vector<uint16_t> ids_, weights_;  // the heaviest first
};

}  // namespace zs::experts
