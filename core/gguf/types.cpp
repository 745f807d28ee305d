// The table of ggml types, checked against the weight formats that run.
#include "gguf/types.h"

#include <array>

namespace zs::gguf {
namespace {

constexpr std::array kTypes{
#define ZS_GGML_TYPE(id, label, block_values, block_bytes) \
  GgmlType{id, label, block_values, block_bytes},
#include "gguf/ggml_types.inc"
#undef ZS_GGML_TYPE
};

constexpr bool ids_are_indices() {
  for (uint32_t i = 0; i < kTypes.size(); ++i) {
    if (kTypes[i].id != i) return false;
  }
  return true;
}
static_assert(ids_are_indices());

// The weight formats that run (quant/formats.inc) carry the same ids and names.
#define ZS_FORMAT(type, label, id) static_assert(kTypes[id].name == std::string_view(label));
#include "quant/formats.inc"
#undef ZS_FORMAT

}  // namespace

const GgmlType* ggml_type(uint32_t id) {
  return id < kTypes.size() ? &kTypes[id] : nullptr;
}

}  // namespace zs::gguf
