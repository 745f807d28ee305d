// Scores of one page of 64 f16 keys (head_dim 128): keys transposed in the page, one lane a
// position, against row-major keys with a 16-lane tree at the end of each dot product. The case
// for docs/adr/0004. AVX-512 only:
//
//   g++ -std=c++20 -O3 -ffp-contract=off -fno-math-errno -mavx512f -mavx512bw -mavx512vl \
//       -mavx512dq -mavx512vnni -mavx2 -mfma -mf16c -Icore bench/key_layout.cpp -o build/key_layout
#include <chrono>
#include <cstdio>
#include <vector>

#include "kernels/attention.h"
#include "kernels/vec_avx512.h"

namespace zs::kernels {
namespace {

using V = Avx512Vec;

template <int Q>
void row_major(const AttentionTile& tile, const uint8_t* page, float (*scores)[kPagePositions]) {
  const auto* keys = reinterpret_cast<const uint16_t*>(page);
  for (int j = 0; j < kPagePositions; ++j) {
    V::F acc[Q];
    for (int q = 0; q < Q; ++q) acc[q] = V::zero();
    for (int d = 0; d < tile.head_dim; d += 16) {
      const V::F key = V::load_f16(keys + j * tile.head_dim + d);
      for (int q = 0; q < Q; ++q) acc[q] = V::fma(key, V::load(tile.query[q] + d), acc[q]);
    }
    for (int q = 0; q < Q; ++q) scores[q][j] = V::sum(acc[q]);
  }
}

template <class Fn>
void report(const char* name, int pages, Fn&& score) {
  constexpr int kRounds = 20000;
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < kRounds; ++i) score(i % pages);
  const std::chrono::duration<double, std::nano> took = std::chrono::steady_clock::now() - begin;
  std::printf("%-28s %5d pages  %5.0f ns a page\n", name, pages, took.count() / kRounds);
}

void run() {
  constexpr int kHeadDim = 128, kQueries = 4, kPages = 4096;
  constexpr size_t kPageBytes = size_t{kHeadDim} * kPagePositions * 2;
  std::vector<uint8_t> keys(kPages * kPageBytes, 0x38);
  std::vector<float> queries(kQueries * kHeadDim, 0.1f);
  AttentionTile tile;
  tile.head_dim = kHeadDim;
  for (int q = 0; q < kQueries; ++q) tile.query[q] = &queries[q * kHeadDim];
  alignas(64) static float scores[kQueryTile][kPagePositions];
  std::vector<const uint8_t*> every(kPages);
  const auto page = [&](int i) { return keys.data() + i * kPageBytes; };
  for (int i = 0; i < kPages; ++i) every[i] = page(i);
  tile.key_page = every.data();
  const FloatPages<V, KvType::F16> transposed(tile);
  for (const int pages : {4, kPages}) {  // in L2, and from memory
    report("4 queries, transposed", pages, [&](int i) { transposed.scores<4>(0, i, scores); });
    report("4 queries, row-major + tree", pages,
           [&](int i) { row_major<4>(tile, page(i), scores); });
    report("1 query, transposed", pages, [&](int i) { transposed.scores<1>(0, i, scores); });
    report("1 query, row-major + tree", pages, [&](int i) { row_major<1>(tile, page(i), scores); });
  }
}

}  // namespace
}  // namespace zs::kernels

int main() {
  zs::kernels::run();
}
