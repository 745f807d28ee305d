// Every tensor type id that ggml defines, with the sizes needed to list and check a tensor.
#pragma once

#include <cstdint>
#include <string_view>

namespace zs::gguf {

struct GgmlType {
  uint32_t id;
  std::string_view name;
  uint32_t block_values;  // values per block along dims[0]
  uint32_t block_bytes;   // 0: the id was withdrawn from the format
};

// nullptr when the id is not one of ggml's.
const GgmlType* ggml_type(uint32_t id);

}  // namespace zs::gguf
