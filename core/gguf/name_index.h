// Finding items of a vector by name: indices sorted by name. Sorted rather than hashed, so that
// hostile names cannot collide.
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <string_view>
#include <vector>

namespace zs::gguf {

template <auto Name, typename T>
std::vector<uint32_t> index_names(const std::vector<T>& items) {
  std::vector<uint32_t> order(items.size());
  std::iota(order.begin(), order.end(), 0u);
  std::sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) {
    const int compared = (items[a].*Name).compare(items[b].*Name);
    return compared != 0 ? compared < 0 : a < b;
  });
  return order;
}

// The later of the first two items of one name, or nullptr.
template <auto Name, typename T>
const T* duplicate_name(const std::vector<T>& items, const std::vector<uint32_t>& order) {
  for (size_t i = 1; i < order.size(); ++i) {
    if (items[order[i]].*Name == items[order[i - 1]].*Name) return &items[order[i]];
  }
  return nullptr;
}

template <auto Name, typename T>
const T* find_name(const std::vector<T>& items, const std::vector<uint32_t>& order,
                   std::string_view name) {
  const auto at =
      std::lower_bound(order.begin(), order.end(), name,
                       [&](uint32_t i, std::string_view n) { return items[i].*Name < n; });
  if (at == order.end() || items[*at].*Name != name) return nullptr;
  return &items[*at];
}

}  // namespace zs::gguf
