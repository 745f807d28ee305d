// What the processor and the operating system offer to kernels.
#pragma once

namespace zs::cpu {

// All false on processors other than x86-64. A flag is set only when the operating system also
// saves the registers that its instructions use.
struct Features {
  bool avx2 = false;         // AVX2, FMA and F16C
  bool avx512 = false;       // AVX-512 F, BW, VL, DQ and VNNI, and the above
  bool avx_vnni = false;     // vpdpbusd on 256-bit registers without AVX-512
  bool avx512_bf16 = false;  // BF16 dot products
  bool amx_int8 = false;     // tiles; permission to use them is still to be asked
  bool amx_bf16 = false;     // BF16 dot products on tiles, and the two above; likewise
};

Features detect_features();

// Asks the operating system for the tile registers, for this process and the threads it starts
// from now on; false where it does not grant them.
bool request_tiles();

}  // namespace zs::cpu
