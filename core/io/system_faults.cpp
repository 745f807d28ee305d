// Counts calls.
#include "io/system_faults.h"

#include <algorithm>
#include <cstring>

namespace zs::io {

int SystemFaults::enter() {
  const auto& failing = options_.failing_enters;
  const bool fails = std::find(failing.begin(), failing.end(), enters_++) != failing.end();
  return fails ? options_.enter_error : 0;
}

int64_t SystemFaults::answer(int64_t result, uint8_t* out) {
  if (options_.answers.empty() || result < 0) return result;
  const uint64_t number = reads_++;
  if (number % options_.every != 0) return result;
  const auto& answers = options_.answers;
  const int64_t given = std::min(result, answers[number / options_.every % answers.size()]);
  const int64_t kept = std::max<int64_t>(given, 0);
  std::memset(out + kept, 0xa5, static_cast<size_t>(result - kept));
  return given;
}

}  // namespace zs::io
