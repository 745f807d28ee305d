// Page bookkeeping. Pages are handed out lowest first, so that memory once touched is reused.
#include "kv/cache.h"

#include <algorithm>

#include "base/error.h"
#include "kernels/kv_page.h"

namespace zs::kv {
namespace {
constexpr size_t kPage = kernels::kPagePositions;

size_t pages_for(size_t positions) {
  return (positions + kPage - 1) / kPage;
}
}  // namespace

KvCache::Layer::Layer(const LayerShape& shape, kernels::KvType type) {
  key_bytes = kernels::key_page_bytes(type, shape.head_dim);
  head_bytes = key_bytes + kernels::value_page_bytes(type, shape.value_dim);
  page_bytes = head_bytes * shape.kv_heads;
}

KvCache::KvCache(const std::vector<LayerShape>& layers, kernels::KvType type, size_t tokens,
                 size_t context)
    : type_(type), context_(context), page_count_(pages_for(tokens)) {
  layers_.reserve(layers.size());
  for (const LayerShape& shape : layers) {
    Layer& layer = layers_.emplace_back(shape, type);
    layer.memory = AlignedBuffer(layer.page_bytes * page_count_, "the KV cache");
  }
  for (size_t i = page_count_; i-- > 0;) free_pages_.push_back(static_cast<int32_t>(i));
}

size_t KvCache::bytes_for(const std::vector<LayerShape>& layers, kernels::KvType type,
                          size_t tokens) {
  size_t total = 0;
  for (const LayerShape& shape : layers) total += Layer(shape, type).page_bytes * pages_for(tokens);
  return total;
}

int KvCache::open() {
  auto slot =
      std::find_if(sequences_.begin(), sequences_.end(), [](const Sequence& s) { return !s.open; });
  if (slot == sequences_.end()) slot = sequences_.emplace(sequences_.end());
  slot->open = true;
  slot->length = 0;
  return static_cast<int>(slot - sequences_.begin());
}

void KvCache::close(int sequence) {
  truncate(sequence, 0);
  at(sequence).open = false;
}

const KvCache::Sequence& KvCache::at(int sequence) const {
  if (sequence < 0 || static_cast<size_t>(sequence) >= sequences_.size() ||
      !sequences_[sequence].open) {
    throw Error(ErrorKind::InvalidRequest,
                "sequence " + std::to_string(sequence) + " is not open; open_sequence() gives one");
  }
  return sequences_[sequence];
}

void KvCache::truncate(int sequence, size_t length) {
  Sequence& s = at(sequence);
  s.length = std::min(s.length, length);
  while (s.pages.size() > pages_for(s.length)) {
    free_pages_.push_back(s.pages.back());
    s.pages.pop_back();
  }
}

void KvCache::reserve(int sequence, size_t length) {
  Sequence& s = at(sequence);
  if (length > context_) {
    throw Error(ErrorKind::ContextLength,
                std::to_string(length) + " positions do not fit the context of " +
                    std::to_string(context_) + "; shorten the prompt or load with a larger ctx");
  }
  const size_t wanted = pages_for(length);
  if (wanted > s.pages.size() + free_pages_.size()) {
    throw Error(
        ErrorKind::OutOfBudget,
        "the KV cache has no free page: all " + std::to_string(page_count_) +
            " pages of 64 positions are in use; close a sequence or load with a larger ctx");
  }
  while (s.pages.size() < wanted) {
    s.pages.push_back(free_pages_.back());
    free_pages_.pop_back();
  }
}

}  // namespace zs::kv
