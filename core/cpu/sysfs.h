// The small text files of Linux's /sys and /proc, read below any root: recorded trees of other
// machines are read as this one is.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace zs::cpu {

// CPUs (or nodes) by number, ascending, each once.
using CpuList = std::vector<int>;

// The text without its trailing white space; nothing if the file cannot be read.
std::optional<std::string> read_text(const std::filesystem::path& path);
std::optional<int64_t> read_number(const std::filesystem::path& path);
// The number a text begins with, after blanks: "  123 kB". Streams would ask the locale, whose
// facets a program with two C++ libraries in it may not find.
std::optional<int64_t> leading_number(std::string_view text);
std::optional<CpuList> read_cpu_list(const std::filesystem::path& path);
// Bytes of a size as caches write it: "32K", "25600K", "96M".
std::optional<size_t> read_size(const std::filesystem::path& path);

// "0-3,8,10-11"; what is no number is skipped.
CpuList parse_cpu_list(std::string_view text);
CpuList intersection(const CpuList& a, const CpuList& b);
bool contains(const CpuList& list, int value);

}  // namespace zs::cpu
