// Paged key/value cache: pages of 64 absolute positions for every layer. This has their layout and
// addresses; sequences.h says who uses them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/aligned.h"
#include "kernels/table.h"
#include "kv/sequences.h"

namespace zs::kv {

struct LayerShape {
  int kv_heads = 0;
  int head_dim = 0;
  int value_dim = 0;
};

class KvCache {
 public:
  // Room for `tokens` positions in all (rounded up to pages), at most `context` in a sequence.
  // Memory is reserved here and committed by the system as pages are first written. `share`:
  // whether sequences find what others have computed.
  KvCache(const std::vector<LayerShape>& layers, kernels::KvType type, size_t tokens,
          size_t context, bool share);
  KvCache(const KvCache&) = delete;

  Sequences& sequences() { return sequences_; }
  const Sequences& sequences() const { return sequences_; }
  const std::vector<int32_t>& pages(int sequence) const { return sequences_.pages(sequence); }

  uint8_t* key_page(size_t layer, int32_t page, int head) {
    return layers_[layer].memory.data() + page * layers_[layer].page_bytes +
           head * layers_[layer].head_bytes;
  }
  uint8_t* value_page(size_t layer, int32_t page, int head) {
    return key_page(layer, page, head) + layers_[layer].key_bytes;
  }

  // A page of a layer in one piece, all heads.
  uint8_t* page_data(size_t layer, int32_t page) { return key_page(layer, page, 0); }
  size_t page_bytes(size_t layer) const { return layers_[layer].page_bytes; }
  // Clears what positions from `begin` on hold in a copy of a layer's page at `data`.
  void clear(const kernels::Table& kernels, size_t layer, uint8_t* data, size_t begin) const;

  // What is reserved for a layer.
  std::span<uint8_t> memory(size_t layer) {
    return {layers_[layer].memory.data(), layers_[layer].memory.size()};
  }

  const std::vector<LayerShape>& shapes() const { return shapes_; }
  kernels::KvType type() const { return type_; }
  // What a cache of `tokens` positions reserves.
  static size_t bytes_for(const std::vector<LayerShape>& layers, kernels::KvType type,
                          size_t tokens);

 private:
  struct Layer {
    Layer(const LayerShape& shape, kernels::KvType type);
    size_t key_bytes, head_bytes, page_bytes;
    AlignedBuffer memory;
  };
  static std::vector<Layer> make_layers(const std::vector<LayerShape>& shapes, kernels::KvType type,
                                        size_t pages);
  void copy_page(int32_t from, int32_t to);

  std::vector<LayerShape> shapes_;
  kernels::KvType type_;
  std::vector<Layer> layers_;
  Sequences sequences_;
};

}  // namespace zs::kv
