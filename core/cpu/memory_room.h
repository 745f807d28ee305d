// How much more memory this process may take, within its control groups' limits.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <vector>

namespace zs::cpu {

class MemoryRoom {
 public:
  explicit MemoryRoom(const std::filesystem::path& root = "/");

  // Bytes: the least of what the machine has available and what each group's limit leaves, page
  // cache that can be dropped counted as free. Below 0 where a limit was lowered below what is in
  // use: so much must go. Nothing where the system does not say.
  std::optional<int64_t> bytes() const;

  // Microseconds, since some moment, in which all tasks of the group (or the machine, where groups
  // do not say) waited for memory; 0 where the kernel does not say. Its averages go on telling of a
  // wait for many seconds after its end.
  uint64_t waited_us() const;

 private:
  std::filesystem::path root_;
  std::vector<std::filesystem::path> groups_;  // innermost first
};

}  // namespace zs::cpu
