// From settings that suit most drives, one parameter after the other: all combinations would take
// several seconds. Rates of one drive differ from one trial to the next, in shared machines
// several times over; so what would replace the settings must win twice.
#include "io/drive_probe.h"

#include <fcntl.h>
#ifdef __linux__
#include <sys/vfs.h>
#endif

#include <algorithm>
#include <filesystem>
#include <optional>
#include <system_error>
#include <utility>

#include "io/read_rate.h"
#include "io/source_files.h"
#include "io/uring.h"

namespace zs::io {
namespace {

constexpr unsigned kDepths[] = {4, 8, 16, 32};
constexpr size_t kSizes[] = {256 << 10, 512 << 10, 1 << 20, 2 << 20};
constexpr double kTrials = 11;
constexpr double kMostTime = 3;  // of what was asked for, on slow drives
constexpr double kClearly = 1.1;
// Through the page cache costs CPU time, which computing needs.
constexpr double kMuchBetter = 1.3;
constexpr double kUnknownRate = 2e9;
constexpr uint64_t kShortest = 16 << 20;

// Opening the file will tell what is wrong with it.
uint64_t size_of(const std::string& path) {
  std::error_code error;
  const uintmax_t size = std::filesystem::file_size(path, error);
  return error ? 0 : size;
}

bool same(const DriveTrial& a, const DriveTrial& b) {
  return a.kind == b.kind && a.depth == b.depth && a.request_bytes == b.request_bytes &&
         a.direct == b.direct;
}

class Prober {
 public:
  Prober(const std::string& path, double seconds)
      : path_(path),
        bytes_(size_of(path)),
        seconds_(seconds / kTrials),
        end_(Clock::now() + std::chrono::duration_cast<Clock::duration>(
                                std::chrono::duration<double>(seconds * kMostTime))) {}

  // The settings to start from. How fast they are is known after this.
  void start(const DriveTrial& settings) {
    best_ = settings;
    // The first reads also load what the file system knows of the file; they do not count.
    DriveTrial first = settings;
    first.depth = kDepths[0];
    first.request_bytes = kSizes[0];
    measure(first);
    fastest_ = 0;
    best_.bytes_per_second = measure(settings).value_or(0);
  }

  // Takes one of `others` for the best if it is faster by `factor`, and still is when what was
  // the best is measured again.
  void challenge(const std::vector<DriveTrial>& others, double factor) {
    DriveTrial winner = best_;
    winner.bytes_per_second *= factor;
    for (DriveTrial other : others) {
      if (same(other, best_)) continue;
      other.bytes_per_second = measure(other).value_or(0);
      if (other.bytes_per_second > winner.bytes_per_second) winner = other;
    }
    if (winner.bytes_per_second <= best_.bytes_per_second * factor) return;
    const auto again = measure(best_);
    if (!again) return;
    best_.bytes_per_second = std::max(best_.bytes_per_second, *again);
    if (winner.bytes_per_second > best_.bytes_per_second * factor) best_ = winner;
  }

  const DriveTrial& best() const { return best_; }
  const std::vector<DriveTrial>& trials() const { return trials_; }
  const std::string& why() const { return opened_.why; }

  Reader& open(ReaderKind kind, bool direct) {
    if (opened_.reader && kind == kind_ && direct == direct_) return *opened_.reader;
    ReaderOptions options;
    options.paths = {path_};
    options.kind = kind_ = kind;
    options.direct = direct_ = direct;
    options.depth = kDepths[std::size(kDepths) - 1];
    opened_ = open_reader(options);
    return *opened_.reader;
  }

 private:
  // Bytes a second; nothing if that would take too long on this drive.
  std::optional<double> measure(DriveTrial trial) {
    const double volume = static_cast<double>(trial.depth * trial.request_bytes);
    if (fastest_ > 0 && (volume > fastest_ * seconds_ * 3 || Clock::now() > end_)) {
      return std::nullopt;
    }
    Reader& reader = open(trial.kind, trial.direct);
    // Enough for what a trial can read: places that others read may be in a cache.
    const double most = 4 * std::max(fastest_, kUnknownRate) * seconds_;
    const uint64_t count = trial.depth + static_cast<uint64_t>(most) / trial.request_bytes;
    if (!trial.direct) drop_cached(count, trial.request_bytes);
    trial.bytes_per_second =
        read_rate(reader, path_, {bytes_, trial.depth, trial.request_bytes, seconds_, next_});
    next_ += count;
    fastest_ = std::max(fastest_, trial.bytes_per_second);
    trials_.push_back(trial);
    return trial.bytes_per_second;
  }

  // What others left in the page cache would make reading through it look fast.
  void drop_cached(uint64_t count, size_t request_bytes) const {
    const SourceFiles file({path_}, false);
    for (uint64_t i = 0; i < count; ++i) {
      file.release(0, scattered(next_ + i, bytes_, request_bytes), request_bytes);
    }
  }

  std::string path_;
  uint64_t bytes_;
  double seconds_;         // of a trial
  Clock::time_point end_;  // no trial begins after it
  uint64_t next_ = 0;      // request
  double fastest_ = 0;
  DriveTrial best_;
  std::vector<DriveTrial> trials_;
  OpenedReader opened_;
  ReaderKind kind_ = ReaderKind::Auto;
  bool direct_ = false;
};

}  // namespace

DriveProbe probe_drive(const std::string& path, double seconds) {
  Prober prober(path, seconds);
  DriveTrial trial;
  trial.direct = prober.open(ReaderKind::Uring, true).direct();
  DriveProbe probe;
  probe.why = prober.why();
  const bool uring = probe.why.empty();
  trial.kind = uring ? ReaderKind::Uring : ReaderKind::Pread;
  if (size_of(path) < kShortest) {
    probe.choice = trial;
    return probe;
  }
  prober.start(trial);
  std::vector<DriveTrial> others;
  for (const unsigned depth : kDepths) {
    others.push_back(prober.best());
    others.back().depth = depth;
  }
  prober.challenge(others, kClearly);
  others.clear();
  for (const size_t size : kSizes) {
    others.push_back(prober.best());
    others.back().request_bytes = size;
  }
  prober.challenge(others, kClearly);
  if (uring) {
    others = {prober.best()};
    others[0].kind = ReaderKind::Pread;
    prober.challenge(others, kClearly);
  }
  if (trial.direct) {
    others = {prober.best()};
    others[0].direct = false;
    prober.challenge(others, kMuchBetter);
  }
  probe.choice = prober.best();
  probe.trials = prober.trials();
  return probe;
}

uint64_t file_system_type(const std::string& path) {
#ifdef __linux__
  struct statfs info;
  if (statfs(path.c_str(), &info) == 0) return static_cast<uint32_t>(info.f_type);
#else
  (void)path;
#endif
  return 0;
}

int uring_error() {
  int error = 0;
  Uring::create(1, &error);
  return error;
}

}  // namespace zs::io
