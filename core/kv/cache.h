// Paged key/value cache: pages of 64 absolute positions for every layer, shared by sequences.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/aligned.h"
#include "kernels/table.h"

namespace zs::kv {

struct LayerShape {
  int kv_heads = 0;
  int head_dim = 0;
  int value_dim = 0;
};

class KvCache {
 public:
  // Room for `tokens` positions in all (rounded up to pages), at most `context` in a sequence.
  // Memory is reserved here and committed by the system as pages are first written.
  KvCache(const std::vector<LayerShape>& layers, kernels::KvType type, size_t tokens,
          size_t context);

  int open();
  void close(int sequence);
  // Number of positions stored. Throws InvalidRequest for a sequence that is not open.
  size_t length(int sequence) const { return at(sequence).length; }
  // Forgets positions from `length` on and frees their pages.
  void truncate(int sequence, size_t length);
  // Makes room for positions up to `length`. Throws ContextLength past the context and
  // OutOfBudget when no page is free; either way nothing changes.
  void reserve(int sequence, size_t length);
  // After the step that stored them: positions up to `length` count.
  void commit(int sequence, size_t length) { at(sequence).length = length; }

  const std::vector<int32_t>& pages(int sequence) const { return at(sequence).pages; }
  uint8_t* key_page(size_t layer, int32_t page, int head) {
    return layers_[layer].memory.data() + page * layers_[layer].page_bytes +
           head * layers_[layer].head_bytes;
  }
  uint8_t* value_page(size_t layer, int32_t page, int head) {
    return key_page(layer, page, head) + layers_[layer].key_bytes;
  }

  kernels::KvType type() const { return type_; }
  size_t context() const { return context_; }
  size_t page_count() const { return page_count_; }
  // What a cache of `tokens` positions reserves.
  static size_t bytes_for(const std::vector<LayerShape>& layers, kernels::KvType type,
                          size_t tokens);

 private:
  struct Layer {
    Layer(const LayerShape& shape, kernels::KvType type);
    size_t key_bytes, head_bytes, page_bytes;
    AlignedBuffer memory;
  };
  struct Sequence {
    bool open = false;
    size_t length = 0;
    std::vector<int32_t> pages;
  };
  const Sequence& at(int sequence) const;
  Sequence& at(int sequence) { return const_cast<Sequence&>(std::as_const(*this).at(sequence)); }

  kernels::KvType type_;
  size_t context_;
  size_t page_count_;
  std::vector<Layer> layers_;
  std::vector<Sequence> sequences_;
  std::vector<int32_t> free_pages_;
};

}  // namespace zs::kv
