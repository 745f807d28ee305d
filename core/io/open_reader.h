// Chooses a back end.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "io/faulty_reader.h"
#include "io/reader.h"
#include "io/throttled_reader.h"

namespace zs::io {

enum class ReaderKind { Auto, Uring, Pread, Mmap };

struct ReaderOptions {
  std::vector<std::string> paths;
  ReaderKind kind = ReaderKind::Auto;   // Auto: uring, where it is permitted
  unsigned depth = 16;                  // reads under way at once
  bool direct = true;                   // past the page cache where the file system offers that
  std::vector<int> cpus;                // where threads that read may run; empty: anywhere
  size_t call_bytes = size_t{1} << 30;  // the most that one system call asks for
  std::optional<Faults> faults;         // for tests
  std::optional<Throttle> throttle;     // for tests, over the faults
};

struct OpenedReader {
  std::unique_ptr<Reader> reader;
  std::string why;  // not what was asked for, or empty
};

// Throws Storage when a file cannot be opened, InvalidRequest when threads cannot be started or
// an option is out of range.
OpenedReader open_reader(const ReaderOptions& options);

// "auto", "uring", "pread" or "mmap"; throws InvalidRequest.
ReaderKind reader_kind(const std::string& name);

}  // namespace zs::io
