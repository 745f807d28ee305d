// POSIX pread.
#include "io/pread_reader.h"

#include <unistd.h>

#include <cerrno>
#include <utility>

#include "io/progress.h"

namespace zs::io {

PreadReader::PreadReader(SourceFiles files, unsigned depth, const std::vector<int>& cpus,
                         size_t call_bytes, std::shared_ptr<SystemFaults> faults)
    : files_(std::move(files)),
      call_bytes_(call_bytes),
      faults_(std::move(faults)),
      threads_(depth, cpus, [this](const Read& each) { return read(each); }) {}

int PreadReader::read(const Read& read) {
  Progress progress(read);
  int64_t got;
  do {
    got = pread(files_.descriptor(read.file), progress.out(), progress.bytes(call_bytes_),
                static_cast<off_t>(progress.offset()));
    if (got < 0) got = -errno;
    if (faults_) got = faults_->answer(got, progress.out());
  } while (!progress.take(got));
  released_bytes_ += files_.release(read.file, read.offset, read.bytes);
  return progress.error();
}

}  // namespace zs::io
