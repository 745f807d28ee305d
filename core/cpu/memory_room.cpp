// /proc/meminfo, memory.* of the groups and the pressure files (kernel's accounting/psi).
#include "cpu/memory_room.h"

#include <cstdlib>
#include <sstream>
#include <string>
#include <string_view>

#include "cpu/cgroup.h"
#include "cpu/sysfs.h"

namespace zs::cpu {
namespace {

namespace fs = std::filesystem;

// The number behind a name, as in "MemAvailable:  123 kB" or "inactive_file 123".
std::optional<int64_t> field(const fs::path& path, const std::string& name) {
  const auto text = read_text(path);
  if (!text) return std::nullopt;
  std::istringstream words(*text);
  for (std::string word; words >> word;) {
    if (word == name && words >> word) return leading_number(word);
  }
  return std::nullopt;
}

// What the limit of one group leaves; nothing without a limit ("max").
std::optional<int64_t> room_of(const fs::path& group, const char* limit, const char* usage,
                               const char* reclaimable) {
  const auto most = read_number(group / limit), used = read_number(group / usage);
  if (!most || !used) return std::nullopt;
  return *most - *used + field(group / "memory.stat", reclaimable).value_or(0);
}

uint64_t full_of(const std::string& text) {
  constexpr std::string_view kTotal = "total=";
  const size_t line = text.find("full "), total = text.find(kTotal, line);
  if (line == std::string::npos || total == std::string::npos) return 0;
  return std::strtoull(text.c_str() + total + kTotal.size(), nullptr, 10);
}

}  // namespace

MemoryRoom::MemoryRoom(const fs::path& root)
    : root_(root), groups_(cgroup_folders(root, "memory")) {}

std::optional<int64_t> MemoryRoom::bytes() const {
  std::optional<int64_t> least;
  const auto limit = [&least](std::optional<int64_t> bytes) {
    if (bytes && (!least || *bytes < *least)) least = *bytes;
  };
  if (const auto free = field(root_ / "proc/meminfo", "MemAvailable:")) limit(*free * 1024);
  for (const fs::path& group : groups_) {
    limit(room_of(group, "memory.max", "memory.current", "inactive_file"));
    limit(room_of(group, "memory.high", "memory.current", "inactive_file"));
    limit(room_of(group, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"));
  }
  return least;
}

uint64_t MemoryRoom::waited_us() const {
  for (const fs::path& group : groups_) {
    if (const auto text = read_text(group / "memory.pressure")) return full_of(*text);
  }
  const auto text = read_text(root_ / "proc/pressure/memory");
  return text ? full_of(*text) : 0;
}

}  // namespace zs::cpu
