// Faults and throttles from dicts.
#include "bind/reader_options.h"

#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <cerrno>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "bind/dict_options.h"

namespace nb = nanobind;

namespace zs::bind {
namespace {

io::Throttle::Drive drive_from(DictOptions& options) {
  io::Throttle::Drive drive;
  drive.latency = std::chrono::microseconds(options.get<int64_t>("latency_us", 0));
  drive.bytes_per_second = options.get("bytes_per_second", drive.bytes_per_second);
  if (drive.bytes_per_second > 0) return drive;
  throw Error(ErrorKind::InvalidRequest, "throttle: bytes_per_second is not above 0");
}

}  // namespace

io::Throttle throttle_from(const nb::dict& dict) {
  DictOptions options(dict);
  io::Throttle throttle;
  throttle.simulated = options.get("simulated", false);
  throttle.files_per_drive = options.get<size_t>("files_per_drive", 0);
  for (const nb::dict& each : options.get<std::vector<nb::dict>>("drives", {})) {
    DictOptions drive(each);
    throttle.drives.push_back(drive_from(drive));
    drive.refuse_others("a drive of throttle");
  }
  if (throttle.drives.empty()) throttle.drives.push_back(drive_from(options));
  options.refuse_others("throttle");
  return throttle;
}

io::Faults faults_from(const nb::dict& dict) {
  using Numbers = std::vector<uint64_t>;
  using Places = std::vector<std::pair<uint32_t, uint64_t>>;
  DictOptions options(dict);
  io::Faults faults;
  faults.failing_reads = options.get<Numbers>("failing_reads", {});
  for (const auto& [file, offset] : options.get<Places>("failing_places", {})) {
    faults.failing_places.push_back({file, offset});
  }
  faults.failing_files = options.get<std::vector<uint32_t>>("failing_files", {});
  faults.stalled_reads = options.get<Numbers>("stalled_reads", {});
  faults.stall =
      std::chrono::milliseconds(options.get<int64_t>("stall_ms", int64_t{faults.stall.count()}));
  faults.closing = std::chrono::milliseconds(options.get<int64_t>("closing_ms", 0));
  faults.gone_after = options.get("gone_after", faults.gone_after);
  faults.shuffled = options.get<size_t>("shuffled", 0);
  faults.seed = options.get<uint64_t>("seed", 0);
  io::SystemFaultOptions& system = faults.system;
  system.failing_enters = options.get<Numbers>("failing_enters", {});
  system.enter_error = options.get("enter_error", ENXIO);
  system.answers = options.get<std::vector<int64_t>>("answers", {});
  system.every = options.get("every", system.every);
  system.old_ring = options.get("old_ring", false);
  options.refuse_others("faults");
  return faults;
}

}  // namespace zs::bind
