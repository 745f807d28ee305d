// The measured settings of a drive; zerostall.engine.drive keeps them.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include <cstdint>
#include <string>

#include "base/error.h"
#include "bind/bind.h"
#include "bind/file_path.h"
#include "io/drive_probe.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace zs::bind {
namespace {

nb::dict describe(const io::DriveTrial& trial) {
  nb::dict d;
  d["kind"] = trial.kind == io::ReaderKind::Uring ? "uring" : "pread";
  d["depth"] = trial.depth;
  d["request_bytes"] = trial.request_bytes;
  d["direct"] = trial.direct;
  d["bytes_per_second"] = trial.bytes_per_second;
  return d;
}

nb::dict probe_drive(const FilePath& path, double seconds) {
  if (!(seconds >= 0 && seconds <= 60)) {
    throw Error(ErrorKind::InvalidRequest,
                "seconds is " + std::to_string(seconds) + "; give 0 to 60");
  }
  io::DriveProbe probe;
  {
    nb::gil_scoped_release release;
    probe = io::probe_drive(path.text, seconds);
  }
  nb::dict d = describe(probe.choice);
  nb::list trials;
  for (const io::DriveTrial& trial : probe.trials) trials.append(describe(trial));
  d["trials"] = trials;
  d["why"] = probe.why;
  return d;
}

}  // namespace

void drive(nb::module_& m) {
  m.def("probe_drive", probe_drive, "path"_a, "seconds"_a = 0.5,
        nb::sig("def probe_drive(path: str | os.PathLike[str], seconds: float = 0.5) "
                "-> dict[str, typing.Any]"),
        "Reads from a file to find what suits its drive: kind (uring or pread), depth,\n"
        "request_bytes, direct, bytes_per_second (0: the file is too short to measure); also\n"
        "the trials, and in why the reason if io_uring may not be used. Raises StorageError.");
  m.def(
      "file_system_type", [](const FilePath& path) { return io::file_system_type(path.text); },
      "path"_a, "The kind of file system that holds a file, as a number; 0 if not known.");
  m.def("uring_error", io::uring_error,
        "Whether io_uring may be used: 0, or the errno of the refusal.");
}

}  // namespace zs::bind
