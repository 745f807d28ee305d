// What readers are told, from Python: a dict with a key for each option.
#pragma once

#include <nanobind/nanobind.h>

#include "io/faulty_reader.h"
#include "io/throttled_reader.h"

namespace zs::bind {

// {"latency_us": 100, "bytes_per_second": 2e9, "simulated": False}, or with a list of such speeds
// as "drives" and "files_per_drive". Throws InvalidRequest for a key that is not known.
io::Throttle throttle_from(const nanobind::dict& options);

// The fields of io::Faults, "failing_places" as pairs, "stall_ms". Throws InvalidRequest.
io::Faults faults_from(const nanobind::dict& options);

}  // namespace zs::bind
