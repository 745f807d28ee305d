// Prefetching is left to the threads: starting a megabyte of reads takes the kernel hundreds of
// microseconds, which are not the submitter's to spend, and each read under way has a thread.
#include "io/mapped_reader.h"

#include <algorithm>
#include <cerrno>
#include <span>

#include "io/residency.h"

namespace zs::io {

MappedReader::MappedReader(const std::vector<std::string>& paths, unsigned depth,
                           const std::vector<int>& cpus)
    : files_(paths, false), threads_(depth, cpus, [this](const Read& each) { return read(each); }) {
  for (const std::string& path : paths) {
    mappings_.push_back(Mapping::open(path));
    watches_.push_back(std::make_unique<LossWatch>(path, mappings_.back()));
  }
  in_place_ = std::make_unique<std::atomic<bool>[]>(paths.size());
}

int MappedReader::read(const Read& read) {
  const std::span<const uint8_t> file = mappings_[read.file]->bytes();
  if (read.offset + read.needed > file.size()) return kEndOfFile;
  const std::span<const uint8_t> slice =
      file.subspan(read.offset, std::min<uint64_t>(read.bytes, file.size() - read.offset));
  prefetch(slice);
  prefetched_bytes_ += slice.size();
  if (!read.out) {
    in_place_[read.file] = true;
    // What the drive cannot give is better known now than when it is touched.
    if (populate(slice)) return 0;
    return mappings_[read.file]->size_now() < file.size() ? kEndOfFile : EIO;
  }
  const int error = mappings_[read.file]->read(read.offset, {read.out, slice.size()});
  release(read.file, read.offset, slice.size());
  return error;
}

std::optional<Error> MappedReader::take_lost() {
  std::optional<Error> first;
  for (size_t i = 0; i < watches_.size(); ++i) {
    if (!in_place_[i]) continue;
    std::optional<Error> lost = watches_[i]->take_lost();
    if (lost && !first) first = std::move(lost);
  }
  return first;
}

void MappedReader::release(uint32_t file, uint64_t offset, size_t bytes) {
  const std::span<const uint8_t> all = mappings_[file]->bytes();
  if (offset >= all.size()) return;
  io::release(all.subspan(offset, std::min<uint64_t>(bytes, all.size() - offset)));
  released_bytes_ += files_.release(file, offset, bytes);
}

}  // namespace zs::io
