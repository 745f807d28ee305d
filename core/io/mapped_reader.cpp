// Prefetching is left to the threads: starting a megabyte of reads takes the kernel hundreds of
// microseconds, which are not the submitter's to spend, and each read under way has a thread.
#include "io/mapped_reader.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <span>

#include "io/residency.h"

namespace zs::io {

MappedReader::MappedReader(const std::vector<std::string>& paths, unsigned depth,
                           const std::vector<int>& cpus)
    : files_(paths, false),
      paths_(paths),
      threads_(depth, cpus, [this](const Read& each) { return read(each); }) {
  for (const std::string& path : paths) {
    mappings_.push_back(Mapping::open(path));
    watches_.push_back(std::make_unique<LossWatch>(mappings_.back()));
  }
}

int MappedReader::read(const Read& read) {
  const std::span<const uint8_t> file = mappings_[read.file]->bytes();
  if (read.offset + read.needed > file.size()) return kEndOfFile;
  const std::span<const uint8_t> slice =
      file.subspan(read.offset, std::min<uint64_t>(read.bytes, file.size() - read.offset));
  prefetch(slice);
  prefetched_bytes_ += slice.size();
  // What the drive cannot give would end the process if it was touched.
  if (!populate(slice)) return EIO;
  if (!read.out) return 0;
  std::memcpy(read.out, slice.data(), slice.size());
  release(read.file, read.offset, slice.size());
  return 0;
}

void MappedReader::check_mapping() {
  check_lost(watches_, paths_);
}

void MappedReader::release(uint32_t file, uint64_t offset, size_t bytes) {
  const std::span<const uint8_t> all = mappings_[file]->bytes();
  if (offset >= all.size()) return;
  io::release(all.subspan(offset, std::min<uint64_t>(bytes, all.size() - offset)));
  released_bytes_ += files_.release(file, offset, bytes);
}

}  // namespace zs::io
