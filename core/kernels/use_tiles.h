// The tile registers while they are used.
#pragma once

#include <immintrin.h>

#include "cpu/tile_config.h"

namespace zs::kernels {
namespace {

// Tiles have the shapes of `config` while one exists.
template <const cpu::TileConfig& config>
class UseTiles {
 public:
  UseTiles() {
    static_assert(config.valid());
    _tile_loadconfig(&config);
  }
  ~UseTiles() { _tile_release(); }
  UseTiles(const UseTiles&) = delete;
  UseTiles& operator=(const UseTiles&) = delete;
};

}  // namespace
}  // namespace zs::kernels
