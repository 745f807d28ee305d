// Which back end, depth and request size suit a drive: found by reading from it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "io/open_reader.h"

namespace zs::io {

struct DriveTrial {
  ReaderKind kind = ReaderKind::Pread;  // Uring or Pread
  unsigned depth = 16;
  size_t request_bytes = size_t{1} << 20;
  bool direct = true;
  double bytes_per_second = 0;
};

struct DriveProbe {
  DriveTrial choice;  // its rate is 0 if the file is too short to measure
  std::string why;    // why io_uring was not tried, or empty
  std::vector<DriveTrial> trials;
};

// Takes about `seconds`, on slow drives several times as long. Leaves nothing in the page cache.
// Throws Storage.
DriveProbe probe_drive(const std::string& path, double seconds = 0.5);

// A number for the kind of file system that holds a file; 0 if the system does not say.
uint64_t file_system_type(const std::string& path);

// Whether io_uring may be used: 0, or the errno of the refusal.
int uring_error();

}  // namespace zs::io
