// Where keys and values of a page lie, layer by layer and head by head.
#include "kv/cache.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "kernels/kv_page.h"

namespace zs::kv {

KvCache::Layer::Layer(const LayerShape& shape, kernels::KvType type) {
  key_bytes = kernels::key_page_bytes(type, shape.head_dim);
  head_bytes = key_bytes + kernels::value_page_bytes(type, shape.value_dim);
  page_bytes = head_bytes * shape.kv_heads;
}

KvCache::KvCache(const std::vector<LayerShape>& layers, kernels::KvType type, size_t tokens,
                 size_t context, bool share)
    : shapes_(layers),
      type_(type),
      layers_(make_layers(layers, type, pages_for(tokens))),
      sequences_(pages_for(tokens), context, share,
                 [this](int32_t from, int32_t to) { copy_page(from, to); }) {}

std::vector<KvCache::Layer> KvCache::make_layers(const std::vector<LayerShape>& shapes,
                                                 kernels::KvType type, size_t pages) {
  std::vector<Layer> layers;
  layers.reserve(shapes.size());
  for (const LayerShape& shape : shapes) {
    Layer& layer = layers.emplace_back(shape, type);
    layer.memory = AlignedBuffer(layer.page_bytes * pages, "the KV cache");
  }
  return layers;
}

size_t KvCache::bytes_for(const std::vector<LayerShape>& layers, kernels::KvType type,
                          size_t tokens) {
  size_t total = 0;
  for (const LayerShape& shape : layers) total += Layer(shape, type).page_bytes * pages_for(tokens);
  return total;
}

void KvCache::copy_page(int32_t from, int32_t to) {
  for (Layer& layer : layers_) {
    std::memcpy(layer.memory.data() + to * layer.page_bytes,
                layer.memory.data() + from * layer.page_bytes, layer.page_bytes);
  }
}

void KvCache::clear(const kernels::Table& kernels, size_t layer, uint8_t* data,
                    size_t begin) const {
  // As a position of zeros is stored, so that this need not know where its bytes lie.
  const LayerShape& shape = shapes_[layer];
  const std::vector<float> zeros(static_cast<size_t>(std::max(shape.head_dim, shape.value_dim)));
  for (int head = 0; head < shape.kv_heads; ++head) {
    uint8_t* keys = data + head * layers_[layer].head_bytes;
    for (size_t slot = begin; slot < kPage; ++slot) {
      kernels.store_kv(type_, zeros.data(), zeros.data(), shape.head_dim, shape.value_dim,
                       static_cast<int>(slot), keys, keys + layers_[layer].key_bytes);
    }
  }
}

}  // namespace zs::kv
