// Messages about a file that breaks the format: file, field, found, expected, what to do.
#pragma once

#include <string>
#include <string_view>

namespace zs::gguf {

inline constexpr std::string_view kDamaged = "the file is damaged: download or convert it again";

// Text from a file, safe to print: control characters and bytes that are not UTF-8 become \xNN,
// and what is longer than `limit` bytes is cut.
std::string printable(std::string_view text, size_t limit = 80);

bool is_utf8(std::string_view text);

// Throws ModelFormat.
[[noreturn]] void fail_format(std::string_view path, std::string_view field,
                              const std::string& found, const std::string& expected,
                              std::string_view remedy = kDamaged);

}  // namespace zs::gguf
