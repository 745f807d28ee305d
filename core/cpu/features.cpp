// CPUID and XGETBV, read once at load.
#include "cpu/features.h"

#ifdef ZS_X86
#include <cpuid.h>
#ifdef __linux__
#include <sys/syscall.h>
#include <unistd.h>
#endif
#endif

#include <cstdint>

namespace zs::cpu {

#ifdef ZS_X86
namespace {

struct Registers {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
};

// All zero for a leaf that the processor does not have.
Registers cpuid(unsigned leaf, unsigned subleaf) {
  Registers r;
  __get_cpuid_count(leaf, subleaf, &r.eax, &r.ebx, &r.ecx, &r.edx);
  return r;
}

// XCR0: the register state that the operating system saves.
uint64_t saved_state() {
  uint32_t low, high;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return uint64_t{high} << 32 | low;
}

bool has_all(uint64_t value, uint64_t bits) {
  return (value & bits) == bits;
}
constexpr uint64_t bit(int n) {
  return uint64_t{1} << n;
}

}  // namespace

// Bit numbers: Intel 64 and IA-32 Architectures Software Developer's Manual, CPUID and XCR0.
Features detect_features() {
  Features f;
  const Registers basic = cpuid(1, 0), extended = cpuid(7, 0), more = cpuid(7, 1);
  constexpr uint64_t kOsSaves = bit(27);
  if (!has_all(basic.ecx, kOsSaves)) return f;
  const uint64_t state = saved_state();
  const bool ymm = has_all(state, bit(1) | bit(2));
  const bool zmm = ymm && has_all(state, bit(5) | bit(6) | bit(7));
  const bool tiles = has_all(state, bit(17) | bit(18));

  constexpr uint64_t kFma = bit(12), kAvx = bit(28), kF16c = bit(29);
  f.avx2 = ymm && has_all(basic.ecx, kFma | kAvx | kF16c) && has_all(extended.ebx, bit(5));
  constexpr uint64_t kFoundation = bit(16), kDq = bit(17), kBw = bit(30), kVl = bit(31);
  constexpr uint64_t kVnni = bit(11);
  f.avx512 = f.avx2 && zmm && has_all(extended.ebx, kFoundation | kDq | kBw | kVl) &&
             has_all(extended.ecx, kVnni);
  f.avx_vnni = f.avx2 && has_all(more.eax, bit(4));
  f.avx512_bf16 = f.avx512 && has_all(more.eax, bit(5));
  f.amx_int8 = f.avx512 && tiles && has_all(extended.edx, bit(24) | bit(25));
  f.amx_bf16 = f.avx512_bf16 && f.amx_int8 && has_all(extended.edx, bit(22));
  return f;
}
#else
Features detect_features() {
  return {};
}
#endif

// Documentation/arch/x86/xstate.rst of Linux; other systems grant on first use or never.
bool request_tiles() {
#if defined(ZS_X86) && defined(__linux__)
  constexpr long kRequestPermission = 0x1023, kTileData = 18;
  static const bool granted = syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
  return granted;
#else
  return false;
#endif
}

}  // namespace zs::cpu
