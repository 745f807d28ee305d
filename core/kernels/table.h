// The contract between operators and instruction sets: one table of function pointers per
// ISA, filled once by templates over a 16-lane vector class (vec_*.h), so that every ISA
// does the same float operations in the same order and gives the same bits.
#pragma once

#include <cstddef>
#include <cstdint>

#include "quant/format.h"

namespace zs::kernels {

using quant::ActivationKind;
using quant::Format;
using quant::kFormatCount;

// Worst first up to Amx; the others run only by name. Models compute in other instructions what
// their units do, for tests on machines without these. Bf16Dot and its model round otherwise.
enum class Isa : uint8_t {
  Scalar,
  Avx2,
  AvxVnni,
  Avx512,
  Amx,
  Bf16Dot,
  AvxVnniModel,
  AmxModel,
  Bf16DotModel
};
inline constexpr Isa kIsas[] = {Isa::Scalar,       Isa::Avx2,     Isa::AvxVnni,
                                Isa::Avx512,       Isa::Amx,      Isa::Bf16Dot,
                                Isa::AvxVnniModel, Isa::AmxModel, Isa::Bf16DotModel};
inline constexpr bool rounds_to_bf16(Isa isa) {
  return isa == Isa::Bf16Dot || isa == Isa::Bf16DotModel;
}

// Activations of `rows` tokens with `columns` values each, prepared for one ActivationKind.
// Row t starts at: values.. + t * columns (q or f), scales + t * columns / group,
// sums16 + t * columns / 16, sums32 + t * columns / 32.
struct Activations {
  ActivationKind kind = ActivationKind::F32;
  size_t columns = 0;
  const float* f = nullptr;         // F32
  const int8_t* q = nullptr;        // Q8_32 and Q8_K: in -127..127
  const float* scales = nullptr;    // one per 32 (Q8_32) or per 256 (Q8_K) values
  const int16_t* sums16 = nullptr;  // Q8_K: sum of q over each 16 values
  const int16_t* sums32 = nullptr;  // Q8_32 and Q8_K: sum of q over each 32 values
};

// Output of a matrix product: row t goes to data + t * stride, first row of weights first.
// out[i] = result + (bias ? bias[i] : 0) [one float add], for i < rows of weights.

// One job: `tokens` activation rows times the panels [panel_begin, panel_end) of one packed
// weight. `row_index` selects activation rows (nullptr: 0..tokens-1); output row t is for
// activation row row_index[t]. `scratch` has matmul_scratch_bytes(tokens) bytes, 64-aligned,
// private to the thread.
struct MatmulJob {
  const uint8_t* packed = nullptr;  // the whole weight's panels
  size_t weight_rows = 0;           // rows of the weight; the last panel may be partial
  size_t columns = 0;
  const Activations* activations = nullptr;
  const int32_t* row_index = nullptr;
  size_t tokens = 0;
  size_t panel_begin = 0, panel_end = 0;
  float* out = nullptr;  // element (token t, weight row r) at out[t * out_stride + r]
  size_t out_stride = 0;
  const float* bias = nullptr;  // weight_rows floats or nullptr
  uint8_t* scratch = nullptr;
};

inline constexpr size_t kMaxTokens = 4096;  // the most rows of one job
// Two unpacked panel blocks, and float accumulators of 2 x 16 rows for the tokens of one pass.
inline constexpr size_t kPassTokens = 128;
inline constexpr size_t matmul_scratch_bytes(size_t tokens) {
  return 17920 + (tokens < kPassTokens ? tokens : kPassTokens) * 128;
}

enum class Activation : uint8_t { Silu, Gelu, GeluTanh, SwigluOai };
// By the names that tapes give them.
inline constexpr struct {
  Activation kind;
  const char* name;
} kActivations[] = {{Activation::Silu, "silu"},
                    {Activation::Gelu, "gelu"},
                    {Activation::GeluTanh, "gelu_tanh"},
                    {Activation::SwigluOai, "swiglu_oai"}};

// Attention of one tile of queries that share a KV head, over one chunk of keys (graph/ops/
// attention.cpp says how chunks merge). Keys come in pages of 64 absolute positions.
inline constexpr int kPagePositions = 64;
inline constexpr int kMaxHeadDim = 512;
inline constexpr int kQueryTile = 8;

enum class KvType : uint8_t { F32, F16, Int8 };

struct AttentionTile {
  int queries = 0;                      // 1..kQueryTile
  const float* query[kQueryTile] = {};  // head_dim floats each
  int64_t key_begin[kQueryTile] = {};   // visible keys of each query: [begin, end)
  int64_t key_end[kQueryTile] = {};
  int head_dim = 0, value_dim = 0;
  float scale = 1;    // multiplies q.k
  float softcap = 0;  // scores = softcap * tanh(scores / softcap) if > 0
  KvType kv = KvType::F16;
  int64_t first_position = 0;  // of page 0 of this chunk; a multiple of 64
  int pages = 0;
  const uint8_t* const* key_page = nullptr;  // per page, laid out as kv_page.h says
  const uint8_t* const* value_page = nullptr;
  float* maximum[kQueryTile] = {};  // out: running maximum of each query
  float* sum[kQueryTile] = {};      // out: sum of exp(score - maximum)
  float* out[kQueryTile] = {};      // out: value_dim floats, not yet divided by sum
};

struct Table {
  Isa isa = Isa::Scalar;

  // --- matrix products, one per format ------------------------------------------------
  void (*matmul[kFormatCount])(const MatmulJob& job) = {};

  // --- activations ----------------------------------------------------------------------
  // One row of n values to int8: amax over each block, scale = amax / 127,
  // q = round-to-nearest-even(x * (127 / amax)), all zero where amax is 0.
  void (*quantize_q8_k)(const float* x, size_t n, int8_t* q, float* scales, int16_t* sums16,
                        int16_t* sums32) = nullptr;
  void (*quantize_q8_32)(const float* x, size_t n, int8_t* q, float* scales,
                         int16_t* sums32) = nullptr;

  // --- rows of floats (n need not be a multiple of 16) ----------------------------------
  // y = x / sqrt(mean(x^2) + eps) * w; w may be nullptr.
  void (*rms_norm)(const float* x, const float* w, float* y, size_t n, float eps) = nullptr;
  // y = (x - mean) / sqrt(var + eps) * w + b; w and b may be nullptr.
  void (*layer_norm)(const float* x, const float* w, const float* b, float* y, size_t n,
                     float eps) = nullptr;
  void (*add)(const float* a, const float* b, float* y, size_t n,
              float scale) = nullptr;  // a + scale*b
  // y[i] = act(gate[i]) * up[i]; up may be nullptr (y = act(gate)). SwigluOai clamps both, and
  // multiplies with up[i] + 1.
  void (*activate)(Activation kind, const float* gate, const float* up, float* y,
                   size_t n) = nullptr;
  void (*sigmoid)(const float* x, float* y, size_t n) = nullptr;
  // y[i] = x[i] * s
  void (*scale)(const float* x, float s, float* y, size_t n) = nullptr;
  // y[i] = fma(x[i], s, y[i])
  void (*axpy)(const float* x, float s, float* y, size_t n) = nullptr;
  // y[i] = exp(x[i] - max(x)); returns the sum of y.
  float (*exp_sum)(const float* x, float* y, size_t n) = nullptr;
  void (*softcap)(const float* x, float cap, float* y, size_t n) = nullptr;  // cap*tanh(x/cap)
  // Rotates n_rot leading values of one head. table: n_rot/2 pairs (cos, sin).
  void (*rope_neox)(const float* x, const float* table, float* y, size_t head_dim,
                    size_t n_rot) = nullptr;
  void (*rope_normal)(const float* x, const float* table, float* y, size_t head_dim,
                      size_t n_rot) = nullptr;

  // --- attention ------------------------------------------------------------------------
  void (*attention_tile)(const AttentionTile& tile) = nullptr;
  // Stores one position of one KV head into its page slot (position % 64).
  void (*store_kv)(KvType kv, const float* key, const float* value, int head_dim, int value_dim,
                   int slot, uint8_t* key_page, uint8_t* value_page) = nullptr;
};

}  // namespace zs::kernels
