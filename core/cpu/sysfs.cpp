// Missing and malformed files are both "not known": no caller can do more about either.
#include "cpu/sysfs.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <iterator>
#include <set>

namespace zs::cpu {
namespace {

constexpr int kMaxCpu = 1 << 16;  // far above the kernel's limit of 8192

std::optional<int64_t> number(std::string_view text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

}  // namespace

std::optional<std::string> read_text(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return std::nullopt;
  std::string text{std::istreambuf_iterator<char>(file), {}};
  if (file.bad()) return std::nullopt;
  text.erase(text.find_last_not_of(" \t\r\n") + 1);
  return text;
}

std::optional<int64_t> leading_number(std::string_view text) {
  text.remove_prefix(std::min(text.size(), text.find_first_not_of(" \t")));
  return number(text.substr(0, text.find_first_of(" \t\r\n")));
}

std::optional<int64_t> read_number(const std::filesystem::path& path) {
  const auto text = read_text(path);
  return text ? number(*text) : std::nullopt;
}

std::optional<CpuList> read_cpu_list(const std::filesystem::path& path) {
  const auto text = read_text(path);
  if (!text) return std::nullopt;
  return parse_cpu_list(*text);
}

std::optional<size_t> read_size(const std::filesystem::path& path) {
  auto text = read_text(path);
  if (!text || text->empty()) return std::nullopt;
  int shift = 0;
  if (text->back() == 'K') shift = 10;
  if (text->back() == 'M') shift = 20;
  if (text->back() == 'G') shift = 30;
  if (shift) text->pop_back();
  const auto value = number(*text);
  if (!value || *value < 0 || *value > (int64_t{1} << 30)) return std::nullopt;
  return static_cast<size_t>(*value) << shift;
}

CpuList parse_cpu_list(std::string_view text) {
  std::set<int> cpus;
  while (!text.empty()) {
    const std::string_view item = text.substr(0, text.find(','));
    text.remove_prefix(std::min(text.size(), item.size() + 1));
    const size_t dash = item.find('-');
    const auto first = number(item.substr(0, dash));
    const auto last = dash == std::string_view::npos ? first : number(item.substr(dash + 1));
    if (!first || !last || *first < 0 || *last >= kMaxCpu) continue;
    for (int64_t cpu = *first; cpu <= *last; ++cpu) cpus.insert(static_cast<int>(cpu));
  }
  return {cpus.begin(), cpus.end()};
}

CpuList intersection(const CpuList& a, const CpuList& b) {
  CpuList both;
  std::set_intersection(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(both));
  return both;
}

bool contains(const CpuList& list, int value) {
  return std::binary_search(list.begin(), list.end(), value);
}

}  // namespace zs::cpu
