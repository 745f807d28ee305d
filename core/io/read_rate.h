// How fast a drive reads, measured through the readers that the engine uses.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "io/open_reader.h"

namespace zs::io {

struct RateOptions {
  uint64_t file_bytes = 0;  // of file 0; at least one request
  size_t depth = 8;         // requests under way at once
  size_t request_bytes = size_t{1} << 20;
  double seconds = 0.5;
  uint64_t first = 0;  // the number of the first request; others may have been read before
  // Memory that is read into, a request after the other, all of it touched before. Less than one
  // place for each request under way counts as that; so little stays in the processor's cache.
  size_t memory_bytes = 0;
};

// Where request number `i` reads: scattered, each place once if the file has more.
uint64_t scattered(uint64_t i, uint64_t file_bytes, size_t request_bytes);

// Bytes a second read in requests at scattered offsets, until none is under way after `seconds`.
// Throws Storage, naming `path`, when a read fails.
double read_rate(Reader& reader, const std::string& path, const RateOptions& options);

// Bytes a second read past the page cache, by `kind` (Uring or Pread): the limit of the drive
// beside which a model's speed is shown. Of `rate` all counts but the file's bytes. Throws Storage
// when the file cannot be read so.
double drive_bandwidth(const std::string& path, ReaderKind kind, RateOptions rate);

}  // namespace zs::io
