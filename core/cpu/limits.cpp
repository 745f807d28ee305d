// Loops that do nothing but what they measure: loads from memory, or arithmetic on registers.
#include "cpu/limits.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <vector>

#include "base/aligned.h"
#include "cpu/features.h"
#include "cpu/tile_config.h"

#ifdef ZS_X86
#include <immintrin.h>
#endif

namespace zs::cpu {
namespace {

using Clock = std::chrono::steady_clock;

double since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// A loop's work in whatever unit it counts: bytes or operations.
using Loop = double (*)(size_t rounds);

// The best rate of several runs on all threads within `seconds`, each run long enough
// (about 20 ms) that starting the threads does not count.
double best_rate(ThreadPool& pool, Loop loop, double seconds) {
  std::vector<double> work(static_cast<size_t>(pool.size()));
  const auto timed = [&](size_t rounds) {
    const Clock::time_point start = Clock::now();
    pool.run([&](int thread) { work[static_cast<size_t>(thread)] = loop(rounds); });
    return since(start);
  };
  size_t rounds = 1000;
  while (timed(rounds) < 0.02 && rounds < size_t{1} << 40) rounds *= 2;
  double best = 0;
  const Clock::time_point start = Clock::now();
  do {
    const double spent = timed(rounds);
    double total = 0;
    for (double each : work) total += each;
    best = std::max(best, total / spent);
  } while (since(start) < seconds);
  return best;
}

// --- reading -----------------------------------------------------------------------------------

using Reader = uint64_t (*)(const uint8_t* data, size_t bytes);  // bytes: a multiple of 4096

uint64_t read_plain(const uint8_t* data, size_t bytes) {
  uint64_t sums[8] = {};
  for (size_t i = 0; i < bytes; i += 64) {
    uint64_t line[8];
    std::memcpy(line, data + i, 64);
    for (int k = 0; k < 8; ++k) sums[k] ^= line[k];
  }
  return sums[0] ^ sums[1] ^ sums[2] ^ sums[3] ^ sums[4] ^ sums[5] ^ sums[6] ^ sums[7];
}

#ifdef ZS_X86
// Prefetch 0 leaves it to the hardware, which stops at page ends; some machines read faster when
// told a page ahead.
template <int kPrefetch>
__attribute__((target("avx2"))) uint64_t read_avx2(const uint8_t* data, size_t bytes) {
  __m256i sums[8];
  for (auto& sum : sums) sum = _mm256_setzero_si256();
  for (size_t i = 0; i < bytes; i += 256) {
    for (int k = 0; k < 8; ++k) {
      const uint8_t* at = data + i + 32 * k;
      if (kPrefetch && k % 2 == 0) {
        _mm_prefetch(reinterpret_cast<const char*>(at + kPrefetch), _MM_HINT_T0);
      }
      sums[k] = _mm256_xor_si256(sums[k], _mm256_load_si256(reinterpret_cast<const __m256i*>(at)));
    }
  }
  uint64_t out[4], folded = 0;
  for (const auto& sum : sums) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), sum);
    folded ^= out[0] ^ out[1] ^ out[2] ^ out[3];
  }
  return folded;
}

template <int kPrefetch>
__attribute__((target("avx512f"))) uint64_t read_avx512(const uint8_t* data, size_t bytes) {
  __m512i sums[8];
  for (auto& sum : sums) sum = _mm512_setzero_si512();
  for (size_t i = 0; i < bytes; i += 512) {
    for (int k = 0; k < 8; ++k) {
      const uint8_t* at = data + i + 64 * k;
      if (kPrefetch) _mm_prefetch(reinterpret_cast<const char*>(at + kPrefetch), _MM_HINT_T0);
      sums[k] = _mm512_xor_si512(sums[k], _mm512_load_si512(at));
    }
  }
  uint64_t folded = 0;
  for (const auto& sum : sums) {
    alignas(64) uint64_t out[8];
    _mm512_store_si512(out, sum);
    for (uint64_t each : out) folded ^= each;
  }
  return folded;
}
#endif

std::vector<Reader> readers() {
#ifdef ZS_X86
  const Features features = detect_features();
  if (features.avx512) return {read_avx512<0>, read_avx512<2048>, read_avx512<8192>};
  if (features.avx2) return {read_avx2<0>, read_avx2<2048>, read_avx2<8192>};
#endif
  return {read_plain};
}

// --- arithmetic --------------------------------------------------------------------------------
// `asm volatile` with a register as input and output keeps the compiler from seeing that the
// products are always the same or never used.

double int8_plain(size_t rounds) {
  int8_t a[64], b[64];
  for (int k = 0; k < 64; ++k) a[k] = static_cast<int8_t>(k), b[k] = static_cast<int8_t>(3 * k);
  int32_t sum = 0;
  for (size_t i = 0; i < rounds; ++i) {
    asm volatile("" : : "r"(a), "r"(b) : "memory");
    for (int k = 0; k < 64; ++k) sum += int32_t{a[k]} * b[k];
  }
  asm volatile("" : : "r"(sum));
  return 128.0 * static_cast<double>(rounds);
}

double float_plain(size_t rounds) {
  float a[64], sums[64] = {};
  for (int k = 0; k < 64; ++k) a[k] = 1.0f / static_cast<float>(k + 1);
  for (size_t i = 0; i < rounds; ++i) {
    asm volatile("" : : "r"(a), "r"(sums) : "memory");
    for (int k = 0; k < 64; ++k) sums[k] += a[k] * a[k];
  }
  return 128.0 * static_cast<double>(rounds);
}

#ifdef ZS_X86
constexpr int kChains = 12;  // independent sums: latency of 4 to 6 at 2 a cycle

__attribute__((target("avx2"))) double int8_avx2(size_t rounds) {
  __m256i sums[kChains], a = _mm256_set1_epi8(3), b = _mm256_set1_epi8(5);
  const __m256i ones = _mm256_set1_epi16(1);
  for (auto& sum : sums) sum = _mm256_setzero_si256();
  for (size_t i = 0; i < rounds; ++i) {
    asm volatile("" : "+x"(a), "+x"(b));
    for (auto& sum : sums) {
      asm volatile("" : "+x"(b));
      const __m256i pairs = _mm256_maddubs_epi16(a, b);
      sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, ones));
    }
  }
  for (auto& sum : sums) asm volatile("" : "+x"(sum));
  return 64.0 * kChains * static_cast<double>(rounds);
}

__attribute__((target("avx2,avxvnni"))) double int8_avx_vnni(size_t rounds) {
  __m256i sums[kChains], a = _mm256_set1_epi8(3), b = _mm256_set1_epi8(5);
  for (auto& sum : sums) sum = _mm256_setzero_si256();
  for (size_t i = 0; i < rounds; ++i) {
    for (auto& sum : sums) {
      asm volatile("" : "+x"(b));
      sum = _mm256_dpbusd_avx_epi32(sum, a, b);
    }
  }
  for (auto& sum : sums) asm volatile("" : "+x"(sum));
  return 64.0 * kChains * static_cast<double>(rounds);
}

__attribute__((target("avx512f,avx512vnni"))) double int8_avx512(size_t rounds) {
  __m512i sums[kChains], a = _mm512_set1_epi8(3), b = _mm512_set1_epi8(5);
  for (auto& sum : sums) sum = _mm512_setzero_si512();
  for (size_t i = 0; i < rounds; ++i) {
    for (auto& sum : sums) {
      asm volatile("" : "+v"(b));
      sum = _mm512_dpbusd_epi32(sum, a, b);
    }
  }
  for (auto& sum : sums) asm volatile("" : "+v"(sum));
  return 128.0 * kChains * static_cast<double>(rounds);
}

__attribute__((target("avx2,fma"))) double float_avx2(size_t rounds) {
  __m256 sums[kChains], a = _mm256_set1_ps(0.5f);
  for (auto& sum : sums) sum = _mm256_setzero_ps();
  for (size_t i = 0; i < rounds; ++i) {
    for (auto& sum : sums) {
      sum = _mm256_fmadd_ps(a, a, sum);
      asm volatile("" : "+x"(sum));
    }
  }
  return 16.0 * kChains * static_cast<double>(rounds);
}

__attribute__((target("avx512f"))) double float_avx512(size_t rounds) {
  __m512 sums[kChains], a = _mm512_set1_ps(0.5f);
  for (auto& sum : sums) sum = _mm512_setzero_ps();
  for (size_t i = 0; i < rounds; ++i) {
    for (auto& sum : sums) {
      sum = _mm512_fmadd_ps(a, a, sum);
      asm volatile("" : "+v"(sum));
    }
  }
  return 32.0 * kChains * static_cast<double>(rounds);
}

// Four sums of 16 x 16 from two tiles of each operand, the blocking that hides the latency.
__attribute__((target("amx-tile,amx-int8"))) double int8_amx(size_t rounds) {
  static constexpr TileShape kWhole{16, 64};
  static constexpr TileConfig kConfig{kWhole, kWhole, kWhole, kWhole,
                                      kWhole, kWhole, kWhole, kWhole};
  static_assert(kConfig.valid());
  _tile_loadconfig(&kConfig);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_zero(4);
  _tile_zero(5);
  _tile_zero(6);
  _tile_zero(7);
  for (size_t i = 0; i < rounds; ++i) {
    _tile_dpbusd(0, 4, 6);
    _tile_dpbusd(1, 4, 7);
    _tile_dpbusd(2, 5, 6);
    _tile_dpbusd(3, 5, 7);
  }
  _tile_release();
  return 4.0 * 2 * 16 * 16 * 64 * static_cast<double>(rounds);
}
#endif

}  // namespace

double read_bandwidth(ThreadPool& pool, size_t bytes, double seconds) {
  const auto threads = static_cast<size_t>(pool.size());
  const size_t part = round_up(std::max<size_t>(bytes / threads, 1), 4096);
  AlignedBuffer memory(part * threads + 8192, "measuring the read bandwidth");  // + prefetch
  // Each thread touches its part first, so that on a NUMA machine it lies near.
  pool.run([&](int thread) {
    std::memset(memory.data() + part * static_cast<size_t>(thread), thread + 1, part);
  });
  const std::vector<Reader> all = readers();
  double best = 0;
  const Clock::time_point start = Clock::now();
  size_t pass = 0;
  do {
    const Reader reader = all[pass++ % all.size()];
    const Clock::time_point begin = Clock::now();
    pool.run([&](int thread) {
      const uint64_t sum = reader(memory.data() + part * static_cast<size_t>(thread), part);
      asm volatile("" : : "r"(sum));
    });
    best = std::max(best, static_cast<double>(part * threads) / since(begin));
  } while (pass < all.size() || since(start) < seconds);
  return best;
}

bool has_unit(ComputeUnit unit) {
  const Features f = detect_features();
  switch (unit) {
    case ComputeUnit::Scalar: return true;
    case ComputeUnit::Avx2: return f.avx2;
    case ComputeUnit::AvxVnni: return f.avx_vnni;
    case ComputeUnit::Avx512: return f.avx512;
#ifdef ZS_X86
    case ComputeUnit::Amx: return f.amx_int8 && request_tiles();
#else
    case ComputeUnit::Amx: return false;
#endif
  }
  return false;
}

const char* unit_name(ComputeUnit unit) {
  switch (unit) {
    case ComputeUnit::Scalar: return "scalar";
    case ComputeUnit::Avx2: return "avx2";
    case ComputeUnit::AvxVnni: return "avx_vnni";
    case ComputeUnit::Avx512: return "avx512";
    case ComputeUnit::Amx: return "amx";
  }
  return "";
}

double int8_peak(ThreadPool& pool, ComputeUnit unit, double seconds) {
#ifdef ZS_X86
  if (unit == ComputeUnit::Avx2) return best_rate(pool, int8_avx2, seconds);
  if (unit == ComputeUnit::AvxVnni) return best_rate(pool, int8_avx_vnni, seconds);
  if (unit == ComputeUnit::Avx512) return best_rate(pool, int8_avx512, seconds);
  if (unit == ComputeUnit::Amx) return best_rate(pool, int8_amx, seconds);
#endif
  return best_rate(pool, int8_plain, seconds);
}

double float_peak(ThreadPool& pool, ComputeUnit unit, double seconds) {
#ifdef ZS_X86
  if (unit == ComputeUnit::Avx2 || unit == ComputeUnit::AvxVnni) {
    return best_rate(pool, float_avx2, seconds);
  }
  if (unit >= ComputeUnit::Avx512) return best_rate(pool, float_avx512, seconds);
#endif
  return best_rate(pool, float_plain, seconds);
}

}  // namespace zs::cpu
