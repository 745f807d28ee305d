// UTF-8 checks and printable text for messages about untrusted files.
#include "gguf/report.h"

#include <cstdint>

#include "base/error.h"

namespace zs::gguf {
namespace {

// Bytes of the UTF-8 sequence at the start of `text`, 0 if there is none. Overlong forms,
// surrogates and values over U+10FFFF are not UTF-8 (Unicode 15, table 3-7).
size_t sequence_length(std::string_view text) {
  const auto at = [&](size_t i) { return i < text.size() ? static_cast<uint8_t>(text[i]) : 0; };
  const auto continues = [&](size_t i, uint8_t low = 0x80, uint8_t high = 0xbf) {
    return at(i) >= low && at(i) <= high;
  };
  const uint8_t lead = at(0);
  if (lead < 0x80) return text.empty() ? 0 : 1;
  if (lead >= 0xc2 && lead <= 0xdf) return continues(1) ? 2 : 0;
  if (lead >= 0xe0 && lead <= 0xef) {
    const bool second = continues(1, lead == 0xe0 ? 0xa0 : 0x80, lead == 0xed ? 0x9f : 0xbf);
    return second && continues(2) ? 3 : 0;
  }
  if (lead >= 0xf0 && lead <= 0xf4) {
    const bool second = continues(1, lead == 0xf0 ? 0x90 : 0x80, lead == 0xf4 ? 0x8f : 0xbf);
    return second && continues(2) && continues(3) ? 4 : 0;
  }
  return 0;
}

}  // namespace

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    const size_t length = sequence_length(text);
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

std::string printable(std::string_view text, size_t limit) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string out;
  while (!text.empty()) {
    if (out.size() >= limit) return out + "...";
    const uint8_t byte = static_cast<uint8_t>(text[0]);
    size_t length = sequence_length(text);
    if (length == 0 || byte < 0x20 || byte == 0x7f) {
      out += {'\\', 'x', kHex[byte >> 4], kHex[byte & 15]};
      length = 1;
    } else {
      out += text.substr(0, length);
    }
    text.remove_prefix(length);
  }
  return out;
}

void fail_format(std::string_view path, std::string_view field, const std::string& found,
                 const std::string& expected, std::string_view remedy) {
  throw Error(ErrorKind::ModelFormat, printable(path, 4096) + ": " + std::string(field) +
                                          ": found " + found + ", expected " + expected + "; " +
                                          std::string(remedy));
}

}  // namespace zs::gguf
