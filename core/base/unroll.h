// Loops whose index is a compile-time constant, for kernels that keep arrays in registers.
#pragma once

#define ZS_INLINE [[gnu::always_inline]] inline
// The same on a lambda: [&](auto i) ZS_INLINE_LAMBDA { ... }.
#define ZS_INLINE_LAMBDA __attribute__((always_inline))

namespace zs {
namespace {

template <int Value>
struct Index {
  static constexpr int value = Value;
  constexpr operator int() const { return Value; }
};

// Calls fn(Index<0>{}), fn(Index<1>{}), ..., fn(Index<Count - 1>{}).
template <int Count, class Fn>
ZS_INLINE void unroll(Fn&& fn) {
  if constexpr (Count > 0) {
    unroll<Count - 1>(fn);
    fn(Index<Count - 1>{});
  }
}

}  // namespace
}  // namespace zs
