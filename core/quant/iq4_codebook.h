// The non-linear 4-bit codebook of IQ4_NL and IQ4_XS (values of the GGUF format).
#pragma once

#include "quant/codec.h"

namespace zs::quant {

inline constexpr int8_t kIq4Codebook[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                            1,    13,   25,  38,  53,  69,  89,  113};

struct Iq4Bytes {
  uint8_t as_signed[16], plus_128[16];
};
inline constexpr Iq4Bytes kIq4Bytes = [] {
  Iq4Bytes bytes{};
  for (int i = 0; i < 16; ++i) {
    bytes.as_signed[i] = static_cast<uint8_t>(kIq4Codebook[i]);
    bytes.plus_128[i] = static_cast<uint8_t>(kIq4Codebook[i] + 128);
  }
  return bytes;
}();

namespace {

// What V::signed_bytes would give, in one lookup.
template <class V>
ZS_INLINE typename V::I iq4_lookup(typename V::I index) {
  return V::lookup16(index, V::kSignedBytes ? kIq4Bytes.as_signed : kIq4Bytes.plus_128);
}

}  // namespace
}  // namespace zs::quant
