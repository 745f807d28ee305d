// Which copy of the files to read from: the one that would be done first, going by the speed that
// each has shown. Copy 0 is the model itself, the others are its mirrors.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "io/reader.h"

namespace zs::io {

class Mirrors {
 public:
  explicit Mirrors(size_t copies) : copies_(copies) {}

  size_t size() const { return copies_.size(); }
  // The best copy for a read of `bytes`.
  size_t choose(size_t bytes) const;
  // The copy to try after attempt number `attempts` failed on `copy`.
  size_t after_failure(size_t copy, unsigned attempts) const;
  // Reads nothing more from a mirror. False if that was so already.
  bool give_up(size_t mirror);

  void begin(size_t copy, size_t bytes, Clock::time_point now);
  void end(size_t copy, size_t bytes, bool read, Clock::time_point now);

  // Bytes a second while reads were under way on it; 0 if not known yet.
  double speed(size_t copy) const;
  // Bytes read from it in all.
  uint64_t bytes_read(size_t copy) const { return copies_[copy].total_bytes; }

 private:
  struct Copy {
    bool failed = false;
    uint32_t under_way = 0;
    uint64_t queued_bytes = 0, total_bytes = 0;
    double recent_bytes = 0, busy_s = 0;  // halved now and then
    Clock::time_point counted{};          // busy_s holds the time before it
  };
  std::vector<Copy> copies_;
};

// The paths of all copies, one copy after the other, as Mirrors counts them. Throws
// InvalidRequest if a mirror has not a file for each of `paths`, Storage if one cannot be read, is
// of another size or differs: in the first `heads` bytes of the file (those before its first
// tensor; one number for each of `paths`, or none) or in samples spread over it. All of it is not
// compared, which would take minutes.
std::vector<std::string> all_copies(const std::vector<std::string>& paths,
                                    const std::vector<std::vector<std::string>>& mirrors,
                                    const std::vector<uint64_t>& heads);

}  // namespace zs::io
