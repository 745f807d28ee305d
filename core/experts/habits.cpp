// Weights fade by a quarter each time that the token comes, so the last few times count.
#include "experts/habits.h"

#include <algorithm>

namespace zs::experts {
namespace {

constexpr int32_t kFree = -1;
constexpr uint16_t kOnce = 1 << 12;  // four times what it is make the most that a weight can be
// What the map takes for a token, about.
constexpr size_t kMapBytes = 64;
// The most tokens; vocabularies are larger, but few tokens make up most of a text.
constexpr size_t kMostTokens = 1 << 16;

}  // namespace

Habits::Habits(const std::vector<Layer>& layers, size_t bytes) {
  for (const Layer& layer : layers) {
    if (used_.size() == kLayers || layer.experts >= kNobody) break;
    used_.push_back(layer.used);
    experts_.push_back(layer.experts);
    begin_.push_back(stride_);
    stride_ += kKept * layer.used;
  }
  const size_t each = stride_ * 2 * sizeof(uint16_t) + sizeof(int32_t) + kMapBytes;
  const size_t count = std::min(bytes / each, kMostTokens);
  tokens_.assign(count, kFree);
  places_.reserve(count);
  ids_.assign(count * stride_, kNobody);
  weights_.assign(count * stride_, 0);
}

size_t Habits::bytes() const {
  return (ids_.size() + weights_.size()) * sizeof(uint16_t) +
         tokens_.size() * (sizeof(int32_t) + kMapBytes);
}

// A place for the token: its own, or that of the one that came first.
uint32_t Habits::place_of(int32_t token) {
  const auto found = places_.find(token);
  if (found != places_.end()) return found->second;
  const uint32_t place = next_;
  next_ = static_cast<uint32_t>((next_ + 1) % tokens_.size());
  if (tokens_[place] != kFree) places_.erase(tokens_[place]);
  tokens_[place] = token;
  places_[token] = place;
  const auto begin = static_cast<ptrdiff_t>(first(place, 0));
  std::fill_n(ids_.begin() + begin, stride_, kNobody);
  std::fill_n(weights_.begin() + begin, stride_, uint16_t{0});
  return place;
}

void Habits::learn(size_t layer, int32_t token, std::span<const int32_t> chosen) {
  if (layer >= layers()) return;
  const size_t begin = first(place_of(token), layer), count = kept(layer);
  uint16_t* ids = ids_.data() + begin;
  uint16_t* weights = weights_.data() + begin;
  for (size_t i = 0; i < count; ++i)
    weights[i] = static_cast<uint16_t>(weights[i] - weights[i] / 4);
  for (const int32_t expert : chosen) {
    const auto id = static_cast<uint16_t>(expert);
    size_t i = static_cast<size_t>(std::find(ids, ids + count, id) - ids);
    if (i == count) {
      i = count - 1;  // the lightest goes
      ids[i] = id;
      weights[i] = 0;
    }
    weights[i] = static_cast<uint16_t>(weights[i] + kOnce);
    for (; i > 0 && weights[i - 1] <= weights[i]; --i) {
      std::swap(ids[i - 1], ids[i]);
      std::swap(weights[i - 1], weights[i]);
    }
  }
}

std::span<const uint16_t> Habits::of(size_t layer, int32_t token) const {
  if (layer >= layers()) return {};
  const auto found = places_.find(token);
  if (found == places_.end()) return {};
  const uint16_t* ids = ids_.data() + first(found->second, layer);
  const auto known = std::find(ids, ids + used_[layer], kNobody) - ids;
  return {ids, static_cast<size_t>(known)};
}

// Each token's id and experts, the one that came first at the front; before them what the layers
// are like. Weights are left out: the order says what matters.
std::vector<int32_t> Habits::save() const {
  if (layers() == 0) return {};
  std::vector<int32_t> all = {static_cast<int32_t>(used_.size())};
  for (const auto* of_layers : {&used_, &experts_}) {
    for (const size_t n : *of_layers) all.push_back(static_cast<int32_t>(n));
  }
  for (size_t i = 0; i < tokens_.size(); ++i) {
    const size_t place = (next_ + i) % tokens_.size();
    if (tokens_[place] == kFree) continue;
    all.push_back(tokens_[place]);
    for (size_t layer = 0; layer < used_.size(); ++layer) {
      for (size_t k = 0; k < used_[layer]; ++k) {
        all.push_back(ids_[first(static_cast<uint32_t>(place), layer) + k]);
      }
    }
  }
  return all;
}

void Habits::restore(std::span<const int32_t> all) {
  if (layers() == 0) return;
  std::vector<int32_t> head = {static_cast<int32_t>(used_.size())};
  size_t each = 1;
  for (const auto* of_layers : {&used_, &experts_}) {
    for (const size_t n : *of_layers) head.push_back(static_cast<int32_t>(n));
  }
  for (const size_t n : used_) each += n;
  if (all.size() < head.size() || !std::equal(head.begin(), head.end(), all.begin())) return;
  std::vector<int32_t> chosen;
  for (size_t at = head.size(); at + each <= all.size(); at += each) {
    if (all[at] < 0) continue;
    const int32_t* next = &all[at + 1];
    for (size_t layer = 0; layer < used_.size(); ++layer) {
      chosen.clear();
      for (size_t k = 0; k < used_[layer]; ++k, ++next) {
        const bool valid = *next >= 0 && static_cast<size_t>(*next) < experts_[layer];
        if (valid) chosen.push_back(*next);
      }
      // The last to be learnt comes first.
      std::reverse(chosen.begin(), chosen.end());
      learn(layer, all[at], chosen);
    }
  }
}

}  // namespace zs::experts
